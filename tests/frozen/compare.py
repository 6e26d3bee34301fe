"""`python -m tests.frozen.compare [-k TEXT …] [--here]`: how far this code is from the recording.

In the instructions of the recording it should be equal to the last bit; with --here, in those of this processor, within
2 ulps but for what cases.WORSE lists. It exits with 1 where it is not.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.frozen import changes, work
from tests.frozen.cases import CASES, WORSE, keys
from tests.frozen.data import RECORDED
from tests.frozen.run import EAGER_STEPS


def chosen(texts: list[str], known: Iterable[str]) -> list[str]:
    """The keys that have all of the texts in them."""
    return [key for key in known if all(text in key for text in texts)]


def limit_of(key: str) -> float:
    """How many ulps apart a key may be in other instructions."""
    meant = changes.limit(key.split("|")[0])
    return meant if meant is not None else WORSE.get(key, (work.LIMIT, ""))[0]


def distance_of(key: str, ours: work.Result, recording: work.Recording) -> work.Distance:
    """An exception in the comparison is a distance, too."""
    case = key.split("|")[0]
    try:
        found = work.apart(key, ours, recording[key], RECORDED, CASES[case].differences)
        jitted = key.replace("|eager", "|jit")
        if jitted == key or found.same or jitted not in recording.keys:
            return found
        few = tuple(step for step in RECORDED if step <= EAGER_STEPS)
        first = recording[jitted].first(len(few))
        return min(
            found, work.apart(key, ours, first, RECORDED, CASES[case].differences), key=lambda d: (not d.same, d.ulps)
        )
    except Exception as error:
        return work.Distance(False, math.inf, 0, f"in the comparison, {type(error).__name__}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", action="append", default=[], help="a part of case|dtype|jit; all of several")
    parser.add_argument("--here", action="store_true", help="in the instructions of this processor")
    parser.add_argument("-j", type=int, default=2, help="processes")
    parser.add_argument("--most", type=int, default=60, help="lines at most of a list")
    parser.add_argument("--json", type=Path, help="write the ulps of all keys that differ")
    args = parser.parse_args()
    start, recording = time.time(), work.Recording()
    now = keys()
    wanted = chosen(args.k, now)
    missing = [k for k in chosen(args.k, recording.keys) if k not in set(now)]
    new = [k for k in wanted if k not in set(recording.keys)]
    distances: dict[str, work.Distance] = {}
    raised: dict[str, str] = {}
    for key, ours in work.results([k for k in wanted if k not in new], args.here, args.j):
        distances[key] = distance_of(key, ours, recording)
        if ours.error and not distances[key].same:
            raised[key] = ours.error
    apart = {k: d for k, d in distances.items() if not d.same and k not in raised}
    meant = {k: d for k, d in apart.items() if changes.limit(k.split("|")[0]) is not None and d.ulps <= limit_of(k)}
    listed = {k: d for k, d in apart.items() if k in WORSE and work.LIMIT < d.ulps <= limit_of(k)}
    near = {k: d for k, d in apart.items() if d.ulps <= work.LIMIT and k not in meant}
    worse = {k: d for k, d in apart.items() if k not in meant | listed | near}
    print(f"{len(distances)} compared in {time.time() - start:.0f} s, with {work.Recording().versions}")
    print(f"{sum(d.same for d in distances.values())} bit by bit")
    print(f"{sum(d.ulps == 0 for d in near.values())} but for the signs of zeros")
    print(f"{sum(d.ulps > 0 for d in near.values())} within {work.LIMIT:g} ulps")
    print(f"{len(meant)} meant to change, {len(listed)} worse and listed")
    lists = {
        "worse": {k: f"{d.ulps:.4g} ulps, step {d.step} {d.what}" for k, d in worse.items()},
        "raising": raised,
        "recorded but not run": dict.fromkeys(missing, ""),
        "not recorded": dict.fromkeys(new, ""),
    }
    if not args.here:
        other = {k: f"{d.ulps:.4g} ulps, step {d.step} {d.what}" for k, d in near.items()}
        lists = {"not the same bits": other} | lists
    for title, lines in lists.items():
        if lines:
            print(f"{len(lines)} {title}:")
            ordered = sorted(lines.items(), key=lambda kv: -distances[kv[0]].ulps if kv[0] in distances else 0)
            for key, text in ordered[: args.most]:
                print(f"  {key}  {text}")
            if len(lines) > args.most:
                print(f"  … and {len(lines) - args.most} more")
    if args.json:
        args.json.write_text(json.dumps({k: (d.ulps, d.step, d.what) for k, d in distances.items() if not d.same}))
    return int(bool(worse or raised or missing))


if __name__ == "__main__":
    sys.exit(main())
