"""run.json: what it says, when it grows, and what it never holds."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from avis.config import CfgNode, get_avis_cfg, read_run
from avis.engine import record_start
from avis.engine.git_state import git_state
from avis.engine.reproduction import check_inputs, report_differences
from avis.engine.surroundings import relevant_variables
from tests.small_dataset import write_split

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    weights = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1)}, weights)
    json_file = str(write_split(tmp_path))
    opts = [
        "OUTPUT_DIR",
        str(tmp_path / "run"),
        "MODEL.WEIGHTS",
        str(weights),
        "MODEL.DEVICE",
        "cpu",
        "SEED",
        3,
    ]
    return get_avis_cfg(opts=[*opts, "DATASETS.TRAIN", (json_file,), "DATASETS.TEST", (json_file,)])


def test_entry_says_what_a_run_depends_on(cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("AVIS_API_KEY", "hush")
    monkeypatch.setenv("HOME_OF_SOMEBODY", "hush")
    start = record_start(cfg, resume=False)
    text = (tmp_path / "run" / "run.json").read_text()
    assert json.loads(text) == {"starts": [start]}
    assert "hush" not in text
    assert start["environment"]["OMP_NUM_THREADS"] == "1"
    assert start["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "torchvision", "torchaudio", "detectron2", "cuda", "cudnn", "driver"} <= start[
        "versions"
    ].keys()
    assert start["directory"] == os.getcwd() and start["command"]
    assert start["config"]["SEED"] == 3
    assert list(start["data"]) == [cfg.DATASETS.TRAIN[0]]
    assert len(start["weights"]["MODEL.WEIGHTS"]["sha256"]) == 64
    assert [process["device"][:3] for process in start["processes"]] == ["cpu"]
    assert not list((tmp_path / "run").glob(".unfinished*"))


def test_a_start_that_resumes_is_added_and_a_new_run_begins_anew(cfg: CfgNode, tmp_path: Path):
    starts = [record_start(cfg, resume=False)]
    Path(cfg.MODEL.WEIGHTS).unlink()  # which a run that goes on does not need
    starts.append(record_start(cfg, resume=True))
    assert starts[1]["weights"]["MODEL.WEIGHTS"]["sha256"] is None
    file = tmp_path / "run" / "run.json"
    assert json.loads(file.read_text())["starts"] == starts
    assert [start["resumed"] for start in starts] == [False, True]
    cfg.MODEL.WEIGHTS = ""
    record_start(cfg, resume=False)
    assert len(json.loads(file.read_text())["starts"]) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_does_not_stop_a_run(
    cfg: CfgNode, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    record_start(cfg, resume=True)
    assert "run.json cannot be read" in caplog.text
    assert read_run(str(tmp_path / "run")).start["resumed"]


def test_secrets_and_foreign_variables_stay_out():
    names = [
        "CUDA_VISIBLE_DEVICES",
        "SLURM_JOB_ID",
        "NCCL_DEBUG",
        "TORCH_LOGS",
        "DETECTRON2_DATASETS",
        "AVIS_X",
    ]
    secret = [
        "SLURM_JWT",
        "AVIS_TOKEN",
        "TORCH_HUB_password",
        "NCCL_Secret",
        "HOME",
        "WANDB_API_KEY",
        "XOMP_A",
    ]
    assert list(relevant_variables(dict.fromkeys([*names, *secret], "v"))) == sorted(names)


def git(folder: Path, *words: str) -> None:
    subprocess.run([*GIT, "-C", folder, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "checkout" / "avis"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    git(package.parent, "init")
    git(package.parent, "add", "-A")
    git(package.parent, "commit", "-m", "one")
    return package


def test_commit_and_what_is_not_committed(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    state, difference = git_state(checkout)
    assert (state["dirty"], state["untracked"], difference) == (False, [], b"")
    assert len(state["commit"]) == 40
    (checkout / "__init__.py").write_text("a = 2\n")
    (checkout.parent / "new.py").touch()
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    changed, difference = git_state(checkout)
    assert changed == {"commit": state["commit"], "dirty": True, "untracked": ["new.py"]}
    assert b"\n-a = 1\n+a = 2\n" in difference
    git(checkout, "checkout", ".")
    subprocess.run(["git", "-C", checkout.parent, "apply"], input=difference, check=True)
    assert (checkout / "__init__.py").read_text() == "a = 2\n"


def test_code_that_is_not_in_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installed = checkout.parent / "site-packages" / "avis"  # in a folder that a repository has around it
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    for folder in (installed, tmp_path):
        state, difference = git_state(folder)
        assert (state["commit"], state["dirty"], difference) == (None, None, b"")
        assert state["reason"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout)[0] == {"commit": None, "dirty": None, "reason": "there is no git"}


def test_nothing_differs_of_the_same(cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    record_start(cfg, resume=False)
    run = read_run(str(tmp_path / "run"))
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    report_differences(run, record_start(cfg, resume=False))
    assert caplog.messages == []
    assert run.options([])[-1] == str(tmp_path / "run_reproduced")
    again = get_avis_cfg(opts=[*run.options(["OUTPUT_DIR", cfg.OUTPUT_DIR])])
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


def test_everything_that_differs_is_named(cfg: CfgNode, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    record_start(cfg, resume=False)
    cfg.SOLVER.BASE_LR = 0.5
    record_start(cfg, resume=True)
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    first = content["starts"][0]
    first["versions"]["torch"] = "1.0"
    first["git"] = {"commit": "abc", "dirty": True, "difference": "uncommitted.diff", "sha256": "x"}
    first["processes"] *= 2
    first["threads"] = 99
    first["config"]["SOLVER"]["MAX_ITER"] = 17
    file.write_text(json.dumps(content))
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    torch.save({"a": torch.ones(1)}, cfg.MODEL.WEIGHTS)
    json_file = Path(cfg.DATASETS.TRAIN[0])
    json_file.write_text(json_file.read_text() + " ")
    (tmp_path / "train" / "WAVAudios" / "clip1.wav").unlink()
    report_differences(read_run(str(file)), record_start(cfg, resume=False))
    told = [message.removeprefix(f"Not as in {file}: ") for message in caplog.messages]
    assert told[0] == f"torch: 1.0 then, {first['versions'] and torch.__version__.partition('+')[0]} now"
    for part in (
        "git commit: abc then",
        "uncommitted changes: there were some, see uncommitted.diff",
        f"the annotations of {json_file} ({json_file}) are others",
        f"frames or sounds of {json_file} have other names or sizes",
        "SHA-256 of MODEL.WEIGHTS: ",
        "processes: 2 then, 1 now",
        "devices: 2 x cpu, ",
        "threads: 99 then",
        "SOLVER.MAX_ITER: 17 then, 40000 now",
        "SOLVER.BASE_LR: 0.001 then, 0.5 now",
        "the run was resumed with another SOLVER.BASE_LR: 0.001 first, 0.5 later",
    ):
        assert any(message.startswith(part) for message in told), (part, told)


def test_missing_data_and_weights_are_named(cfg: CfgNode, tmp_path: Path):
    record_start(cfg, resume=False)
    run, data, weights = read_run(str(tmp_path / "run")), Path(cfg.DATASETS.TRAIN[0]), Path(cfg.MODEL.WEIGHTS)
    with pytest.raises(ValueError, match="is that of the run itself"):
        check_inputs(run, cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    check_inputs(run, cfg)
    weights.rename(tmp_path / "x.pth")
    with pytest.raises(
        FileNotFoundError, match=r"MODEL\.WEIGHTS .*w\.pth is missing, from which the run started"
    ):
        check_inputs(run, cfg)
    data.unlink()
    with pytest.raises(FileNotFoundError, match=rf"data set {data} is missing; the run had its .* in {data}"):
        check_inputs(run, cfg)


def test_relative_paths_are_those_of_the_run(cfg: CfgNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cfg.MODEL.WEIGHTS, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = "w.pth", ("train.json",), ()
    record_start(cfg, resume=False)
    run = read_run("run")
    assert run.settings()["MODEL.WEIGHTS"] == "w.pth"
    monkeypatch.chdir("/")
    assert run.settings()["MODEL.WEIGHTS"] == str(tmp_path / "w.pth")
    assert run.settings()["DATASETS.TRAIN"] == (str(tmp_path / "train.json"),)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"starts": []}', '{"starts": [{"config": {}}]}', '{"starts": 3}']
)
def test_another_file_is_no_record(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is no record of a run"):
        read_run(str(tmp_path))
