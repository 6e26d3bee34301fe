"""What version 0.3.0 computed, to the last bit: recorded once, and compared ever after.

`cases` says what is run, `run` runs it, `record` has written outputs.npz, and `compare` compares with it.
"""
