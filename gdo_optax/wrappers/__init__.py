"""Around a whole optimizer: what decides when it is run, on which rows, with which state, and on which gradient."""
