"""What `python -m benchmarks.mutation` changes: one expression, which is then another."""

import ast
import difflib
import json
from pathlib import Path

import pytest

from benchmarks import mutation
from benchmarks.mutation import Mutant, modules, mutants_of, readers, record, report, sample, stages
from tests.catalogue import SETTINGS


SOURCE = b'''
def rate(b1: float, b2: float = 0.5, steps: int = 1) -> list:
    """1 - b1, and no more."""
    if not b1:
        raise ValueError(f"{b1 + 1} is below {steps - 1}")
    return chain(ema(b1), square()) if b1 < b2 else jnp.where(-b1, 2, [sign(), ema(jnp.sqrt(b2))])
'''
CHANGES = {
    "0.5 -> 0.25", "1 -> 2", "1 -> 0", "2 -> 3", "2 -> 1", "b1 -> b2", "b2 -> b1", "b1 < b2 -> (b1 <= b2)", 
    "-b1 -> b1", "chain(ema(b1), square()) -> chain(square())", "chain(ema(b1), square()) -> chain(ema(b1))",
    "chain(ema(b1), square()) -> chain(square(), ema(b1))", "jnp.sqrt(b2) -> b2",
    "[sign(), ema(jnp.sqrt(b2))] -> [ema(jnp.sqrt(b2))]", "[sign(), ema(jnp.sqrt(b2))] -> [sign()]",
    "[sign(), ema(jnp.sqrt(b2))] -> [ema(jnp.sqrt(b2)), sign()]",
    "jnp.where(-b1, 2, [sign(), ema(jnp.sqrt(b2))]) -> jnp.where(-b1, [sign(), ema(jnp.sqrt(b2))], 2)",
}  # fmt: skip


def test_the_changes() -> None:
    """Neither of texts nor of messages and what leads to them."""
    found = {f"{m.before} -> {m.after}" for m in mutants_of(SOURCE)}
    branches = {change for change in found if " if " in change}  # the two swapped
    assert found - branches == CHANGES
    assert len(branches) == 1


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.stem)
def test_a_mutant_differs_in_one_place(path: Path) -> None:
    source = path.read_bytes()
    mutants = mutants_of(source)[::20]
    trees = {ast.dump(ast.parse(m.of(source))) for m in mutants}
    assert len(trees) == len(mutants)
    assert ast.dump(ast.parse(source)) not in trees
    for m in mutants:
        assert source[m.start : m.end].decode() == m.before
        lines = difflib.ndiff(source.decode().splitlines(), m.of(source).decode().splitlines())
        changed = [line for line in lines if line[0] in "+-"]
        assert 1 <= sum(line[0] == "-" for line in changed) <= m.before.count("\n") + 1


def test_a_sample_is_drawn_again_and_a_larger_one_goes_on() -> None:
    mutants = sample(3000, 0)
    assert sample(5, 0) == mutants[:5] != sample(5, 1)
    assert len({m.key for m in mutants}) == len(mutants) >= 1000


def test_what_runs_exists() -> None:
    graph, oracles = readers(), {f"{name}-{i}" for name in SETTINGS for i in (0, 1, 2)}
    for m in sample(200, 2):
        for args in stages(m, graph):
            file, _, one = args[0].partition("::")
            assert (mutation.ROOT / file).exists()
            assert not one or {a.partition("[")[2].rstrip("]") for a in args} <= oracles
    assert mutation.methods("sma_length", graph) == ["radam", "ranger"]


def test_the_report_counts() -> None:
    mutant = Mutant("cycles.py", 3, 0, 1, "a", "b", "f")
    results = [{**mutant._asdict(), "status": s, "seconds": 2.0} for s in ("killed", "survived", "timeout", "killed")]
    text = report(results)
    assert "4 mutants, 3 killed (75.0 %), 2.0 s each" in text
    assert "survived  cycles.py:3  a  ->  b" in text


def test_the_record_names_one_test() -> None:
    mutant = Mutant("cycles.py", 3, 0, 1, "a", "b", "f")
    result = {**mutant._asdict(), "status": "killed", "by": "tests/test_a.py -k b", "seconds": 2.0}
    (kept,) = json.loads(record([result]))
    assert kept.pop("by") == "tests/test_a.py"
    assert kept == {k: v for k, v in result.items() if k not in ("start", "end", "by", "seconds")}


def test_the_committed_run() -> None:
    """Nearly all are killed, and of those that are not the README says why."""
    results = json.loads((mutation.ROOT / "benchmarks/results/mutation.json").read_text())
    readme = (mutation.ROOT / "benchmarks/README.md").read_text()
    survivors = [r for r in results if r["status"] == "survived"]
    killed = len(results) - len(survivors)
    assert len(results) >= 300
    assert killed >= 0.97 * len(results)
    assert f"{len(results)} mutants, {killed} killed ({100 * killed / len(results):.1f} %)" in readme
    for r in survivors:
        before, after = (" ".join(r[name].split()) for name in ("before", "after"))
        assert f"| `{r['path']}:{r['line']}` | `{before}` → `{after}` |" in readme
