"""Other people's numbers: the methods that differ from ours, each again a list of pieces under the same names.

`torch`, `keras` and `optax` reproduce those libraries, `paper` what a paper prints, `authors` what its authors' code
runs, `ruder` the survey of S. Ruder (2016), arXiv:1609.04747. A method that is missing in one of them is ours there.

>>> from gdo_optax import like
>>> like.torch.adagrad(0.1, learning_rate_decay=0.01)
like.torch.adagrad(0.1, learning_rate_decay=0.01)
"""

from gdo_optax.like import authors, keras, optax, paper, ruder, torch


__all__ = ["authors", "keras", "optax", "paper", "ruder", "torch"]
