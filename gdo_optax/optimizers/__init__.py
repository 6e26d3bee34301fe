"""The methods, each a list of pieces: one line of code for one line of the paper."""
