"""Every command that a page, a config's head or a tool's help shows can be typed as it is printed."""

import argparse
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image, ImageOps

from avis.command_line import training_parser
from avis.command_names import COMMANDS as COMMAND_NAMES
from avis.config import get_avis_cfg
from avis.media.pictures import read_pictures
from avis.media.video import write_video
from avis.modeling import build_model
from tests.docs.examples import ROOT
from tests.docs.markdown import code_blocks
from tests.small_dataset import CATEGORIES, write_split

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "configs/README.md", ROOT / "datasets/README.md"]
CONFIGS = sorted(ROOT.glob("configs/*.yaml"))
TOOLS = sorted(ROOT.glob("tools/*.py"))
INLINE_OPTION = re.compile(r"`(?:tools/\w+\.py )?(--[a-z][a-z-]+)[^`]*`")
OURS = ("avis", "configs", "tests", "tools")


@dataclass(frozen=True)
class Command:
    """The words of a command line after the interpreter, and where it is printed."""

    source: str
    words: tuple[str, ...]

    @property
    def is_tool(self) -> bool:
        return self.words[0].startswith("tools/") and self.words[0].endswith(".py")


def commands_in(source: Path, text: str) -> Iterator[Command]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and words[0] in (
            ".venv/bin/python",
            "python",
            "bash",
            "torchrun",
            "--nproc-per-node",
            "6",
        ):
            words = words[1:]
        if words:
            yield Command(str(source.relative_to(ROOT)), tuple(words))


def bash_of(page: Path) -> str:
    return "\n".join(block.text for block in code_blocks(page) if block.language == "bash")


def head_of(config: Path) -> str:
    """The commands in the comments that a config opens with."""
    head = [line[1:].strip() for line in config.read_text().splitlines() if line.startswith("#")]
    joined = "\n".join(head).replace("\\\n", " ")
    return "\n".join(line for line in joined.splitlines() if line.startswith(("python ", "bash ")))


def command_of(tool: Path) -> SimpleNamespace | ModuleType:
    """What the command defines that a tool is a front of; the set-up's is in the tool itself."""
    if tool.stem not in COMMAND_NAMES:
        return SimpleNamespace(**runpy.run_path(str(tool)))
    return importlib.import_module(f"avis.commands.{COMMAND_NAMES[tool.stem].replace('-', '_')}")


def examples_of(tool: Path) -> str:
    lines = getattr(command_of(tool), "EPILOG", "").replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if re.match(r"  (python|torchrun) ", line))


COMMANDS = [
    *(command for page in PAGES for command in commands_in(page, bash_of(page))),
    *(command for config in CONFIGS for command in commands_in(config, head_of(config))),
    *(command for tool in TOOLS for command in commands_in(tool, examples_of(tool))),
]
TOOL_COMMANDS = [command for command in COMMANDS if command.is_tool]


def name_of(command: Command) -> str:
    return f"{command.source}: {shlex.join(command.words)}"[:100]


def test_commands_are_found_where_they_are_printed():
    sources = {command.source for command in TOOL_COMMANDS}
    assert {"README.md", "docs/metrics.md", "configs/avis_R50.yaml", "tools/predict.py"} <= sources
    assert len([command for command in COMMANDS if command.source == "README.md"]) >= 8


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_files_of_ours_exist(command: Command):
    for word in command.words:
        if word.split("/")[0] in OURS and "/" in word:
            assert (ROOT / word).exists(), word


def parse(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """The arguments of a tool's command line, as the tool reads them."""
    monkeypatch.setattr(sys, "argv", [Path(words[0]).name, *words[1:]])
    if words[0] == "tools/train_net.py":
        return training_parser("", "").parse_args()
    return command_of(ROOT / words[0]).parse()


@pytest.mark.parametrize("command", TOOL_COMMANDS, ids=name_of)
def test_options_and_config_keys_exist(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    args = parse(command.words, monkeypatch)
    given, opts = getattr(args, "config_file", None) or [], list(getattr(args, "opts", None) or [])
    for config_file in [given] if isinstance(given, str) else given:  # where the option may be repeated
        # A page's own modules may add keys: test_extending.py runs those commands.
        if config_file.startswith("configs/") and "IMPORTS" not in opts:
            get_avis_cfg(config_file, opts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_the_text_names_exist(page: Path):
    """In the source of a tool, of the options that tools share, or of a script."""
    sources = [
        *TOOLS,
        *ROOT.glob("tools/*.sh"),
        *ROOT.glob("avis/commands/*.py"),
        ROOT / "avis/command_line.py",
    ]
    known = set(re.findall(r"--[a-z][a-z-]+", " ".join(path.read_text() for path in sources)))
    assert set(INLINE_OPTION.findall(page.read_text())) <= known


# In the place of the paper's; 0.0: an untrained model's scores are low.
SMALL_MODEL = f"""
_BASE_: {ROOT}/configs/quickstart.yaml
MODEL:
  SEM_SEG_HEAD: {{NUM_CLASSES: 2}}
  MASK_FORMER: {{TEST: {{SCORE_THRESHOLD: 0.0}}}}
DATASETS: {{TEST: ["mydata/val.json"]}}
INPUT: {{MIN_SIZE_TEST: 48}}
"""


@pytest.fixture
def users_data(tmp_path: Path) -> Path:
    """A checkout's tools beside data of a user's own and of AVISeg's names, and a model that fits a test."""
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/avis_R50.yaml").write_text(SMALL_MODEL)
    for folder, name in (("mydata", "train"), ("mydata", "val"), ("datasets", "val")):
        write_split(tmp_path / folder, name, num_videos=1)
    for frame in tmp_path.glob("mydata/val/JPEGImages/*/*.png"):  # other videos than those of training
        ImageOps.invert(Image.open(frame)).save(frame)
    results = tmp_path / "output/inference/avis_val/results.json"
    results.parent.mkdir(parents=True)
    results.write_text("[]")
    return tmp_path


@pytest.mark.parametrize("tool", ["tools/validate_dataset.py", "tools/evaluate.py"])
def test_the_readme_s_cheap_commands_run(users_data: Path, tool: str):
    (command,) = (c for c in TOOL_COMMANDS if c.source == "README.md" and c.words[0] == tool)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command.words], cwd=users_data, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "section", "printed"),
    [
        ("README.md", "predict", r"(violin|dog) .*"),
        ("docs/online.md", "streams", r"\d \d+ (violin|dog) .*"),
        ("docs/online.md", "step-by-step", r"\d \d+ (violin|dog) .*|range\(6, 6\) Latency\(seconds=.*"),
        ("docs/install.md", "prediction-in-python", ""),
    ],
)
def test_what_pages_show_of_prediction_in_python_runs(
    users_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    page: str,
    section: str,
    printed: str,
):
    monkeypatch.chdir(users_data)
    blocks = [block for block in code_blocks(ROOT / page) if block.section == section]
    codes = [block.text for block in blocks if block.language == "python"]
    cfg = get_avis_cfg("configs/avis_R50.yaml")
    content = {"model": build_model(cfg).state_dict(), "categories": CATEGORIES, "config": cfg.dump()}
    torch.save(content, "output/model_final.pth")
    frames = read_pictures(sorted(Path("mydata/val/JPEGImages/clip1").iterdir()))
    write_video("concert.mp4", frames, fps=1, audio_from="mydata/val/WAVAudios/clip1.wav")
    for code in codes:
        exec(compile(code, page, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines) > 1 or not printed) and all(re.fullmatch(printed, line) for line in lines)
