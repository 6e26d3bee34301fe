"""`python -m tests.frozen.record [--to FILE]`: write what there is to compare with."""

import argparse
import time
from pathlib import Path

import jax
import jaxlib
import numpy as np
import optax

from tests.frozen import work
from tests.frozen.cases import keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=work.OUTPUTS)
    parser.add_argument("-j", type=int, default=2, help="processes")
    args = parser.parse_args()
    start = time.time()
    found = dict(work.results(keys(), processes=args.j))
    versions = {m.__name__: m.__version__ for m in (jax, jaxlib, np, optax)}
    work.write(found, versions, args.to)
    for key, result in found.items():
        if result.error:
            print(key, result.error)
    print(f"{len(found)} recorded in {time.time() - start:.0f} s, {args.to.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
