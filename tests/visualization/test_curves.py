"""Pictures of metrics, by what is drawn in them, and the tool that writes them."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from avis.formats.run_curves import Curve
from avis.visualization.curves import draw_curves, panels_of

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "plot_metrics.py"


def curves(value: float = 1.0, *names: str) -> dict[str, Curve]:
    return {name: Curve([0, 10], [value, value + 1]) for name in names or ("total_loss", "lr", "avis/AP")}


def shown(figure) -> dict[str, list[tuple[str, list[float]]]]:
    """Label and values of each line by the title of its diagram."""
    return {
        axes.get_title(loc="left"): [(line.get_label(), [*line.get_ydata()]) for line in axes.get_lines()]
        for axes in figure.axes
        if axes.get_title(loc="left")
    }


def test_two_runs_are_in_one_diagram_under_their_names():
    runs = {"deaf": curves(1.0), "hearing": curves(5.0)}
    drawn = shown(draw_curves(runs, panels_of([], runs)))
    assert list(drawn) == ["total loss", "learning rate", "AP"]
    assert drawn["AP"] == [("deaf", [1, 2]), ("hearing", [5, 6])]


def test_smoothing_is_drawn_over_what_changes_from_step_to_step():
    runs = {"run": curves(0.0)}
    drawn = shown(draw_curves(runs, panels_of([], runs), smoothing=0.5))
    (_, raw), (_, smooth) = drawn["total loss"]
    assert raw == [0, 1] and smooth == pytest.approx([0, 0.5 / 0.75])
    assert len(drawn["AP"]) == len(drawn["learning rate"]) == 1


def test_patterns_make_diagrams():
    runs = {"run": {**curves(1.0, "loss_a", "loss_b"), "gone": Curve([1], [math.nan])}}
    drawn = shown(draw_curves(runs, panels_of(["loss_*", "loss_b"], runs)))
    assert {title: [label for label, _ in lines] for title, lines in drawn.items()} == {
        "loss_*": ["loss_a", "loss_b"], "loss_b": ["_"]
    }  # fmt: skip
    for pattern in ("gone", "absent"):
        with pytest.raises(ValueError, match=rf"--metrics {pattern}: .*there are loss_a, loss_b"):
            panels_of([pattern], runs)
    with pytest.raises(ValueError, match="no number in the metrics is finite"):
        panels_of([], {"run": {"gone": Curve([1], [math.nan])}})


def test_many_names_stand_below_their_diagram():
    runs = {"run": curves(1.0, *(f"loss_{i}" for i in range(30)))}
    figure = draw_curves(runs, panels_of(["loss_*"], runs))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend, box = axes.get_legend().get_window_extent(), axes.get_window_extent()
    padding = 2  # of the legend, which has nothing in it
    assert legend.y1 < box.y0 and legend.y0 > -padding and box.height > 150


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    lines = [{"iteration": i, "total_loss": 9.0 - i, "lr": 0.1, "avis/AP": 50} for i in range(5)]
    (folder / "training_metrics.json").write_text("\n".join(map(json.dumps, lines)) + '\n{"iter')
    return folder


@pytest.mark.parametrize("suffix", [".png", ".PDF", ".svg"])
def test_the_suffix_says_the_format(trained: Path, tmp_path: Path, suffix: str):
    output = tmp_path / "new" / f"curves{suffix}"
    done = run(trained, "--output", output, "--smooth", 0.5)
    assert done.returncode == 0 and str(output) in done.stderr and "Traceback" not in done.stderr
    start = {".png": b"\x89PNG", ".PDF": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert output.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(output) as picture:
            assert picture.width > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--output", "curves.gif"], "--output curves.gif ends in none of .png, .svg, .pdf"),
        (["{run}", "--labels", "a", "b"], "1 runs cannot have 2 --labels"),
        (["{run}", "{run}"], "a run is given twice"),
        (["{run}", "{run}/..", "--labels", "a", "a"], "two runs have one name"),
        (["{run}/.."], "is no run"),
        (["{run}/absent"], "there is no run"),
        (["{run}", "--metrics", "nothing"], "there are avis/AP, lr, total_loss"),
        (["{run}", "--smooth", "1"], "'1' must be a number of 0 or more"),
        (["{run}", "--smooth", "nan"], "'nan' must be a number of 0 or more"),
        ([], "required: RUN"),
    ],
)
def test_mistakes_are_named(trained: Path, arguments: list[str], message: str):
    done = run(*(argument.format(run=trained) for argument in arguments))
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and "Traceback" not in done.stderr
