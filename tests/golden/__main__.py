"""Writes `state_paths.txt` and `defaults.txt`: `python -m tests.golden`."""

from tests.golden import FILES, FOLDER


for name, text in FILES.items():
    (FOLDER / name).write_text(text())
    print(f"wrote {FOLDER / name}")
