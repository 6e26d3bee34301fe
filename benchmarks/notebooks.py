"""`python -m benchmarks.notebooks`: runs every notebook from top to bottom, two at a time, each in a kernel of its own.

`--write` keeps the new output.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


FOLDER = Path(__file__).parent.parent / "notebooks"


def run(path: Path, *, write: bool) -> bool:
    """Whether the notebook runs; its error, if any, goes to stderr."""
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    try:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    except CellExecutionError as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return False
    if write:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)
    print(f"{path.name}: {len(notebook.cells)} cells, {time.perf_counter() - start:.0f} s")
    return True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebooks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the executed notebooks back")
    args = parser.parse_args(argv)
    with ThreadPoolExecutor(max_workers=2) as pool:
        ran = list(pool.map(lambda path: run(path, write=args.write), sorted(FOLDER.glob("*.ipynb"))))
    return 0 if all(ran) else 1


if __name__ == "__main__":
    sys.exit(main())
