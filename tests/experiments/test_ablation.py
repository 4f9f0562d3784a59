"""Ablations: plans, and real runs of a tiny one that is interrupted, goes on and is changed."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
import yaml

from avis.experiments.plan import Plan, Run, Variant, collect, mean_and_deviation, plan_runs, read_plan

ROOT = Path(__file__).parents[2]
SMALL = {
    "INPUT.MIN_SIZE_TRAIN": "(48,)",
    "INPUT.MIN_SIZE_TEST": "48",
    "INPUT.SAMPLING_FRAME_NUM": "2",
    "MODEL.DEVICE": "cpu",
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": "64",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "2",
}
VARIANTS = {
    "full model": [],
    "silence at test": {"WEIGHTS_OF": "full model", "OPTS": ["INPUT.AUDIO.AT_TEST", "silent"]},
}


def write_plan(folder: Path, **content: object) -> Path:
    plan = {"CONFIG": str(ROOT / "configs/quickstart.yaml"), "SEEDS": [3], "VARIANTS": VARIANTS} | content
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def command(plan: Path, output: Path, data: Path, **overrides: str) -> list:
    """Of tools/ablate.py; in the overrides' names, "__" stands for a dot."""
    keys = SMALL | {f"DATASETS.{key}": f"('{data}/{split}.json',)" for key, split in
                    (("TRAIN", "train"), ("TEST", "val"))}  # fmt: skip
    keys |= {name.replace("__", "."): value for name, value in overrides.items()}
    pairs = [item for pair in keys.items() for item in pair]
    tool = ROOT / "tools/ablate.py"
    return [sys.executable, tool, "--plan", plan, "--output", output, "--jobs", "2", *pairs]


def environment() -> dict[str, str]:
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def ablate(plan: Path, output: Path, data: Path, **overrides: str) -> subprocess.CompletedProcess:
    """Run it to its end."""
    arguments = command(plan, output, data, **overrides)
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=environment())


def count_trainings(output: Path) -> int:
    """How many processes train into a folder below `output`."""
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return sum(" -m avis train " in line and f"OUTPUT_DIR {output}/" in line for line in listed.splitlines())


def read_table(output: Path) -> list[list[str]]:
    return list(csv.reader((output / "ablation.csv").read_text().splitlines()))


@pytest.mark.slow
def test_runs_are_kept_completed_and_told_from_others(synthavis_root: Path, tmp_path: Path):
    plan, output = write_plan(tmp_path), tmp_path / "out put"
    first = ablate(plan, output, synthavis_root)
    assert first.returncode == 0, first.stderr
    rows = read_table(output)
    assert [row[:2] for row in rows] == [["variant", "seed"], *([name, "3"] for name in VARIANTS)]
    assert all(0 <= float(value) <= 100 for row in rows[1:] for value in row[2:])
    assert (output / "ablation.md").read_text() in first.stdout
    assert cv2.imread(str(output / "ablation.png")).std() > 10
    log = (output / "silence_at_test/seed_3/output.txt").read_text()
    assert "Starting training" not in log

    trained = output / "full_model/seed_3/model_final.pth"
    written = trained.stat().st_mtime_ns
    for file in (output / "silence_at_test").rglob("metrics.json"):
        file.unlink()  # as if it had been cut off
    more = VARIANTS | {"fusion on res5 only": ["MODEL.FUSION.IN_FEATURES", "['res5']"]}
    second = ablate(write_plan(tmp_path, VARIANTS=more), output, synthavis_root)
    assert second.returncode == 0, second.stderr
    assert read_table(output)[:3] == rows
    assert read_table(output)[3][:2] == ["fusion on res5 only", "3"]
    assert trained.stat().st_mtime_ns == written

    changed = ablate(plan, output, synthavis_root, SOLVER__BASE_LR="0.5")
    assert changed.returncode == 2
    problem = "holds a run with SOLVER.BASE_LR 0.001, not 0.5: choose another --output, or delete it"
    assert changed.stderr.endswith(f"full_model/seed_3 {problem}\n")


@pytest.mark.slow
def test_a_run_that_fails_does_not_keep_the_others_from_running(synthavis_root: Path, tmp_path: Path):
    variants = {"good": [], "bad": ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "5"]}
    output = tmp_path / "output"
    ended = ablate(write_plan(tmp_path, VARIANTS=variants), output, synthavis_root)
    assert ended.returncode == 1
    assert "failed: bad, seed 3: error: " in ended.stderr and "set it to 6" in ended.stderr
    assert [row[0] for row in read_table(output)[1:]] == ["good"]


@pytest.mark.slow
def test_runs_end_with_the_program(synthavis_root: Path, tmp_path: Path):
    """SIGTERM, as job schedulers send it: what runs is ended, and what waits does not begin."""
    plan, output = write_plan(tmp_path, SEEDS=[1, 2, 3]), tmp_path / "output"
    arguments = command(plan, output, synthavis_root, SOLVER__MAX_ITER="100000")
    program = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment())
    try:
        deadline = time.monotonic() + 120
        while len(list(output.rglob("log.txt"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert count_trainings(output) == 2
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        program.terminate()
    assert count_trainings(output) == 0
    assert len(list(output.rglob("output.txt"))) == 2


def test_runs_of_a_plan():
    full = Variant("full model", Path("model.yaml"), ("A", "1"))
    test = Variant("test: it", Path("other.yaml"), ("B", "2"), "full model")
    plan = Plan("", ("A", "0", "B", "0"), (1, 2), (full, test))
    runs = plan_runs(plan, Path("out"), ["C", "3"])
    assert [(run.variant.name, run.seed) for run in runs] == [
        ("full model", 1), ("test: it", 1), ("full model", 2), ("test: it", 2)
    ]  # fmt: skip
    assert " ".join(runs[0].arguments) == (
        "--resume --config-file model.yaml A 0 B 0 A 1 C 3 SEED 1 OUTPUT_DIR out/full_model/seed_1"
    )
    assert " ".join(runs[-1].arguments) == (
        "--eval-only --resume --config-file other.yaml A 0 B 0 B 2 C 3 SEED 2 OUTPUT_DIR out/test__it/seed_2 "
        "MODEL.WEIGHTS out/full_model/seed_2/model_final.pth"
    )
    assert collect(runs) == {"full model": [], "test: it": []}
    assert runs[0].iteration == 0 and runs[0].metrics is None


def test_a_run_has_ended_when_its_final_weights_are_tested(tmp_path: Path):
    keys = ["DATASETS.TEST", "('a.json',)"]
    plan = read_plan(write_plan(tmp_path, OPTS=keys))
    trained, tested = plan_runs(plan, tmp_path / "out")
    clock = itertools.count(1_000_000_000)

    def write(path: Path, content: str = "{}") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (next(clock),) * 2)

    def evaluate(run: Run, value: int) -> None:
        assert run.metrics is None
        write(run.folder / "inference/a/metrics.json", f'{{"AP": {value}}}')

    evaluate(trained, 1)  # with TEST.EVAL_PERIOD, while it trains
    assert trained.metrics is None
    write(trained.folder / "model_final.pth")
    evaluate(trained, 2)
    evaluate(tested, 3)
    assert (trained.metrics, tested.metrics) == ({"AP": 2}, {"AP": 3})
    write(trained.folder / "model_final.pth")  # trained again
    assert trained.metrics is None and tested.metrics is None


def test_a_run_of_before_there_was_a_key_goes_on(tmp_path: Path):
    (run, *_) = plan_runs(read_plan(write_plan(tmp_path)), tmp_path / "out")
    run.folder.mkdir(parents=True)
    config = run.folder / "config.yaml"
    config.write_text(run.cfg.dump().replace("OVERWRITE_OUTPUT: false\n", ""))
    run.check()
    config.write_text(config.read_text().replace("SEED: 3", "SEED: 4"))
    with pytest.raises(ValueError, match="holds a run with SEED 4, not 3"):
        run.check()


def test_a_plan_has_one_test_set(tmp_path: Path):
    """Of several, the table would show any one."""
    config = ROOT / "configs" / "quickstart.yaml"
    for names in ("()", "('synthavis_val', 'synthavis_test')"):
        run = Run(Variant("full", config), 1, ("DATASETS.TEST", names), tmp_path, tmp_path / "model.pth")
        with pytest.raises(ValueError, match="give one data set to test on, not DATASETS"):
            run.check()


def test_mean_and_deviation():
    assert mean_and_deviation([3.0]) == (3, 0)
    assert mean_and_deviation([1.0, 2.0, 6.0]) == pytest.approx((3, 7**0.5))


@pytest.mark.parametrize(
    "plan", sorted((ROOT / "configs/ablations").glob("*.yaml")), ids=lambda path: path.stem
)
def test_plans_that_come_with_the_project_fit_their_configs(plan: Path):
    runs = plan_runs(read_plan(plan), Path("out"))
    dumps = {run.cfg.dump() for run in runs}
    assert len(dumps) == len(runs)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"CONFIG": "nowhere.yaml"}, "there is no CONFIG .*nowhere.yaml"),
        ({"SEEDS": []}, "SEEDS is a list"),
        ({"SEEDS": [1, 1]}, "different numbers"),
        ({"OPTS": ["SEED"]}, "OPTS is a list KEY, VALUE"),
        ({"SPEED": 1}, "a plan has the keys"),
        ({"VARIANTS": ["a"]}, "VARIANTS has a name and a list"),
        ({"VARIANTS": {"a": "b"}}, "variant 'a' is a list"),
        ({"VARIANTS": {"a": {"WEIGHTS_OF": "b"}}}, "variant 'a': there is no 'b' before it"),
        ({"VARIANTS": {"a b": [], "a_b": []}}, "variant 'a_b' has the folder of another"),
    ],
)
def test_mistakes_in_a_plan_are_named(tmp_path: Path, change: dict, problem: str):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"plan\.yaml: .*{problem}"):
        read_plan(write_plan(tmp_path, **change))


def test_plan_states_what_differs_from_its_base(tmp_path: Path):
    base = write_plan(tmp_path, VARIANTS=VARIANTS | {"no fusion": ["MODEL.FUSION.NAME", ""]})
    plan = tmp_path / "other.yaml"
    changes = {"_BASE_": base.name, "SEEDS": [1, 2], "VARIANTS": {"no fusion": ["A", 0], "another": []}}
    plan.write_text(yaml.safe_dump(changes))
    kept, changed = read_plan(base), read_plan(plan)
    assert changed.seeds == (1, 2)
    assert changed.variants[:2] == kept.variants[:2]
    config = kept.variants[0].config_file
    assert changed.variants[2:] == (Variant("no fusion", config, ("A", "0")), Variant("another", config))


def test_a_variant_may_have_a_config_of_its_own(tmp_path: Path):
    own = ROOT / "configs" / "synthavis_tiny.yaml"
    variants = {"a": [], "b": {"CONFIG": str(own)}, "test of b": {"WEIGHTS_OF": "b"}}
    by_name = {
        variant.name: variant for variant in read_plan(write_plan(tmp_path, VARIANTS=variants)).variants
    }
    assert by_name["b"].config_file == by_name["test of b"].config_file == own
    assert by_name["a"].config_file == ROOT / "configs" / "quickstart.yaml"
    with pytest.raises(FileNotFoundError, match=r"there is no CONFIG .*nowhere\.yaml"):
        read_plan(write_plan(tmp_path, VARIANTS={"a": {"CONFIG": "nowhere.yaml"}}))


@pytest.mark.parametrize(
    "content", ["", "[1", "_BASE_: plan.yaml\nVARIANTS: {full model: {OPTS: []}}", "_BASE_: nowhere.yaml"]
)
def test_file_that_is_no_plan_is_named(tmp_path: Path, content: str):
    write_plan(tmp_path)
    (tmp_path / "other.yaml").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=r"other\.yaml|nowhere\.yaml"):
        read_plan(tmp_path / "other.yaml")
