"""The pieces that methods are lists of: each one line of a paper, usable alone in an `optax.chain`."""
