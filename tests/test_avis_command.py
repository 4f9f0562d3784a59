"""The console command `avis`: its commands are those of tools/, it is quick, and speaks as it is typed."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from avis.__main__ import main
from avis.command_names import TOOLS, as_typed, invocation, program_name
from avis.engine.signals import resume_command

ROOT = Path(__file__).parents[1]
NO_COMMANDS = {"__init__", "making_splits"}
QUICK = """
import sys
from avis.__main__ import main
main(["--help"])
print("imported:", *sorted({"torch", "detectron2", "numpy", "argparse"} & sys.modules.keys()))
"""


def avis(*words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "error", "-m", "avis", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", list(words))


def test_every_module_is_a_command_and_every_tool_runs_one():
    modules = {path.stem for path in (ROOT / "avis/commands").glob("*.py")} - NO_COMMANDS
    assert modules == {name.replace("-", "_") for name in TOOLS}
    tools = {path.stem for path in (ROOT / "tools").glob("*.py")} - {"setup_env"}
    assert tools == set(TOOLS.values())


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_a_front_of_its_command(name: str):
    command = importlib.import_module(f"avis.commands.{name.replace('-', '_')}")
    assert runpy.run_path(str(ROOT / f"tools/{TOOLS[name]}.py"))["main"] is command.main


def test_the_list_of_commands_comes_at_once():
    done = subprocess.run([sys.executable, "-c", QUICK], cwd=ROOT, capture_output=True, text=True, check=True)
    *listed, imported = done.stdout.splitlines()
    assert imported == "imported:"
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == list(TOOLS)
    assert "  train              Train or evaluate a model, on GPUs or on the CPU." in listed


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean 'train'?"),
        ("train_net", "did you mean 'train'?"),
        ("validate_dataset", "did you mean 'validate'?"),
        ("make_synthetic", "did you mean 'make-synthetic'?"),
        ("zzz", "`avis --help` lists all"),
        ("--config-file", "`avis --help` lists all"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(word: str, hint: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end:
        main([word, "--config-file", "x.yaml"])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: avis has no command {word!r}; {hint}\n"


def test_without_a_command_it_says_which_there_are(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end:
        main([])
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (2, "")
    assert captured.err.startswith("usage: avis COMMAND")


def test_help_names_what_was_typed():
    done = avis("train", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: avis train ")
    assert "  avis train --config-file quickstart\n" in done.stdout
    assert "  torchrun --nproc-per-node 6 -m avis train --config-file avis_R50\n" in done.stdout
    assert "tools/" not in done.stdout and "configs/" not in done.stdout
    tool = [sys.executable, "tools/train_net.py", "--help"]
    by_path = subprocess.run(tool, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "  python tools/train_net.py --config-file configs/quickstart.yaml\n" in by_path


def test_it_runs_a_command_and_hands_on_how_it_ends(tmp_path: Path):
    size = ("--train", 1, "--val", 0, "--test", 0, "--seconds", 1, "--width", 64, "--height", 48)
    made = avis("make-synthetic", "--output", "data", "--preset", "quickstart", *size, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "data" / "train.json").is_file()
    refused = avis("evaluate", "--gt", "none.json", "--predictions", "x.json", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith("error: ")


def test_how_it_was_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(sys, "executable", "python")
    text = "make them with tools/prepare_audio.py, or tools/none.py; see configs/avis_R50.yaml"
    for script in ("/usr/bin/avis", "/lib/site-packages/avis/__main__.py"):
        typed(monkeypatch, script, "train", "--overwrite", "OUTPUT_DIR", "out")
        assert program_name() == "avis train"
        assert invocation() == (["-m", "avis", "train"], ["--overwrite", "OUTPUT_DIR", "out"])
        assert resume_command() == "python -m avis train --resume OUTPUT_DIR out"
        assert as_typed(text) == "make them with avis prepare-audio, or tools/none.py; see avis_R50"
    for script in ("tools/train_net.py", "/lib/site-packages/pytest/__main__.py"):
        typed(monkeypatch, script, "train")
        assert invocation() == ([script], ["train"])
        assert as_typed(text) == text
