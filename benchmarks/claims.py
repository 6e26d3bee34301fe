"""`python -m benchmarks.claims`: what the papers claim beside what came out here, as the executed notebooks hold it."""

import json
import sys
from pathlib import Path


FOLDER = Path(__file__).parent.parent / "notebooks"
HEADER = "| claim | expected | here |"


def claims(path: Path) -> list[str]:
    """The rows of every such table among the outputs of a notebook."""
    outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
    texts = ["".join(out.get("data", {}).get("text/markdown", "")).splitlines() for out in outputs]
    return [row for lines in texts if HEADER in lines for row in lines[lines.index(HEADER) + 2 :] if row]


def table() -> str:
    """All of them as one table, the notebook before the claim."""
    found = [(path, row) for path in sorted(FOLDER.glob("*.ipynb")) for row in claims(path)]
    rows = [f"| [{path.stem[:2]}](../notebooks/{path.name}) {row}" for path, row in found]
    return "\n".join([f"| notebook {HEADER}", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(table())
    sys.exit(0)
