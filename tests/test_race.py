"""The race runs to the end, twice with the same numbers, and refuses what it cannot do in one line."""

import json
import runpy
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import race, standings, training
from benchmarks.problems import batches, patches, problem
from gdo_optax import get


TINY = ["--data", "wine", "--optimizer", "adafactor", "sgd", "--steps", "21", "--seeds", "2"]


def run(out: Path, *argv: str) -> tuple[int, dict]:
    """The exit code, and the file without what differs from run to run."""
    code = race.main([*argv, "--out", str(out)])
    found = json.loads((out / "race.json").read_text())
    assert found.pop("timing").keys() == {"total_seconds", "seconds"}
    return code, found


def refusal(capsys, *argv: str) -> str:
    """The one line that says why not."""
    with pytest.raises(SystemExit) as stop:
        race.main(list(argv))
    streams = capsys.readouterr()
    assert stop.value.code == 2
    assert streams.out == ""
    assert streams.err.endswith("\n")
    assert streams.err.count("\n") == 1
    return streams.err


def test_the_same_numbers_twice(tmp_path, capsys):
    code, first = run(tmp_path / "a" / "first", *TINY)
    again, second = run(tmp_path / "second", *TINY)
    assert (code, again) == (0, 0)
    assert first == second
    for name in ("curves.png", "sensitivity.png"):
        assert (tmp_path / "second" / name).read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "second").iterdir()} == {"race.json", "curves.png", "sensitivity.png"}

    assert first["settings"]["model"] == "mlp"
    assert first["settings"]["evaluated_after"] == [*range(2, 21, 2), 21]
    assert {row["optimizer"] for row in first["rows"]} == {"adafactor", "sgd"}
    accuracy = np.array(first["curves"]["adafactor"]["test_accuracy"])
    assert accuracy.shape == (7, 2, 11)
    best = first["rows"][0]
    assert best["median"] == max(row["median"] for row in first["rows"]) > 0.9

    table = capsys.readouterr().out
    for row in first["rows"]:
        assert row["optimizer"] in table
    assert "schedule (x " in table
    assert "…" not in table


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--optimizer", "adamm"], "nothing is called 'adamm'; did you mean adam?"),
        (["--data", "mnist"], "invalid choice: 'mnist'"),
        (["--data", "wine", "--model", "conv"], "wine has none: --model mlp"),
        (["--steps", "0"], "'0' is not a whole number of at least 1"),
        (["--seeds", "many"], "'many' is not a whole number of at least 1"),
        (["--data", "wine", "--batch-size", "1000"], "more than the 133 training examples"),
        (["--speed", "7"], "unrecognized arguments: --speed 7"),
    ],
)
def test_bad_arguments(tmp_path, capsys, argv, complaint):
    assert complaint in refusal(capsys, *argv, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write to" in refusal(capsys, "--data", "wine", "--out", str(tmp_path / "file" / "out"))


def test_the_weights_to_evaluate_with():
    """Until Lookahead's first synchronisation its slow weights, and so its accuracies, are those it began with."""
    made = problem("wine", "mlp", seeds=1)
    runs = training.train(get("lookahead"), made, batches(133, steps=5, size=64, seeds=1))
    start = (made.logits(jax.tree.map(lambda leaf: leaf[0], made.params), made.data.test_x).argmax(-1)).tolist()
    assert runs.accuracy[-1, 0, :4] == pytest.approx(np.mean(start == made.data.test_y), abs=1e-6)
    assert runs.accuracy[-1, 0, 4] > runs.accuracy[-1, 0, 3]


def test_a_disk_that_fills_up(tmp_path, monkeypatch, capsys):
    """The table is shown all the same."""

    def full(path, document):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(standings, "save", full)
    assert race.main(["--data", "wine", "--optimizer", "sgd", "--quick", "--out", str(tmp_path)]) == 2
    streams = capsys.readouterr()
    assert "sgd" in streams.out
    assert streams.err.endswith("No space left on device\n")


def test_a_missing_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(race.__file__)
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'the race needs rich, which is not installed: pip install -e ".[race]"\n'


def test_an_interrupt_keeps_what_has_finished(tmp_path, monkeypatch, capsys):
    train, handler = race.train, signal.getsignal(signal.SIGINT)

    def interrupted(entry, *args):
        signal.raise_signal(signal.SIGINT)
        return train(entry, *args)

    monkeypatch.setattr(race, "train", interrupted)
    code, found = run(tmp_path, "--data", "wine", "--optimizer", "sgd", "lookahead", "--quick")
    assert code == 130
    assert [row["optimizer"] for row in found["rows"]] == ["sgd"]
    assert "interrupted: 1 of 2 methods had finished" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_huge_learning_rate_diverges(monkeypatch, tmp_path, capsys):
    huge = tuple(1e30 * factor for factor in training.FACTORS)
    for module in (training, standings, race, race.plots):
        monkeypatch.setattr(module, "FACTORS", huge)
    code, found = run(tmp_path, "--data", "wine", "--optimizer", "sgd", "--quick", "--steps", "10", "--seeds", "2")
    assert code == 0
    assert [(row["diverged"], row["median"]) for row in found["rows"]] == [(14, None)]
    assert "diverged" in capsys.readouterr().out


def test_what_diverged_means():
    """Slow is not diverged; dead, where a smaller rate learns, and blown up are."""
    labels = np.arange(100) % 10
    slow, learns, dead, blown, broken = (np.full(10, value) for value in (2.29, 0.1, 2.31, 40.0, np.nan))
    slow[0] = learns[0] = dead[0] = blown[0] = 2.4
    losses = np.stack([slow, learns, dead, blown, broken, learns])[:, None]
    finite = np.array([True, True, True, True, True, False])[:, None]
    assert training.diverged(losses, finite, labels).ravel().tolist() == [False, False, True, True, True, True]


def test_a_row():
    """The best rate, ties going to the lower loss, and how far the good ones reach, in decades."""
    median = np.array([0.5, 0.9, 0.96, 0.96, 0.94, 0.5, 0.1])
    accuracy = np.stack([median - 0.05, median, median + 0.01], axis=1)[..., None] * [0.5, 1]
    loss = np.broadcast_to(np.array([3, 2, 1, 0.5, 1, 2, 3.0])[:, None, None], accuracy.shape)
    failed = np.zeros((7, 3), bool)
    failed[3, 0] = failed[6] = True
    row = standings.row(get("adam"), training.Runs(loss, accuracy, failed, 1.0, 1.0), np.array([10, 20]))
    assert row.learning_rate == pytest.approx(10**0.5 * 1e-3)
    assert (row.median, row.least, row.most, row.training_loss) == (0.96, None, 0.97, 0.5)
    assert (row.steps_to_goal, row.diverged, row.words) == (20, 4, 2)
    assert row.decades == pytest.approx(0.5 * (1 / 6 + 1 + 1 / 2))


def test_all_rates_and_seeds_start_alike():
    """Every seed has its own start and order; an epoch shows every example once."""
    drawn = batches(10, steps=4, size=5, seeds=2)
    assert drawn.shape == (2, 4, 5)
    for epoch in drawn.reshape(2, 2, 10):
        assert np.array_equal(np.sort(epoch), np.broadcast_to(np.arange(10), (2, 10)))
    assert not np.array_equal(drawn[0], drawn[1])
    for leaf in jax.tree.leaves(problem("wine", "mlp", seeds=2).params):
        assert leaf.ndim == 2 or not np.array_equal(leaf[0], leaf[1])


def test_patches_are_a_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert jnp.allclose(patches(x) @ kernel.reshape(27, 4), expected, atol=1e-5)
