"""IMPORTS: modules of the user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from avis.config import ConfigError, get_avis_cfg

ROOT = Path(__file__).resolve().parents[2]
FUSION = """
from torch import nn

from avis.modeling import AV_FUSION_REGISTRY

print("imported")


@AV_FUSION_REGISTRY.register()
class MyFusion(nn.Module):
    def __init__(self, *arguments):
        raise ValueError("MyFusion is built")


def add_config(cfg):
    cfg.MODEL.FUSION.MY_SCALE = 1.0
"""
READ_TWICE = """
from avis.config import get_avis_cfg
first, second = get_avis_cfg("x.yaml"), get_avis_cfg("x.yaml", ["MODEL.FUSION.MY_SCALE", 3.0])
print(first.MODEL.FUSION.MY_SCALE, second.MODEL.FUSION.MY_SCALE)
"""


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        (folder / f"{name}.py").write_text(content)


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run Python in a folder that is not on sys.path, as with any tool."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a package and a config that uses it by way of its base."""
    package = tmp_path / "my_package"
    package.mkdir()
    write(package, __init__="", my_fusion=FUSION)
    base = {"_BASE_": f"{ROOT}/configs/quickstart.yaml", "IMPORTS": ["my_package.my_fusion"]}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    config = {"_BASE_": "base.yaml", "MODEL": {"FUSION": {"NAME": "MyFusion", "MY_SCALE": 2.0}}}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_module_is_imported_once_and_its_keys_are_in_each_config(project: Path):
    process = run(project, "-c", READ_TWICE)
    assert process.stdout.split("\n") == ["imported", "2.0 3.0", ""], process.stderr


def test_a_tool_builds_the_users_part_in_the_users_folder(project: Path):
    process = run(project, ROOT / "tools/train_net.py", "--config-file", "x.yaml", "OUTPUT_DIR", "out")
    assert process.returncode == 2
    assert process.stderr.startswith("error: MyFusion is built")
    dumped = yaml.safe_load((project / "out/config.yaml").read_text())
    assert (dumped["IMPORTS"], dumped["MODEL"]["FUSION"]["MY_SCALE"]) == (["my_package.my_fusion"], 2.0)


def test_the_dumped_config_names_the_modules(project: Path, monkeypatch: pytest.MonkeyPatch):
    write(project, dumped_keys="def add_config(cfg):\n    cfg.MINE = 0\n")
    monkeypatch.chdir(project)
    cfg = get_avis_cfg(opts=["IMPORTS", "['dumped_keys']", "MINE", "5"])
    (project / "config.yaml").write_text(cfg.dump())
    again = get_avis_cfg("config.yaml")
    assert (again.IMPORTS, again.MINE) == (["dumped_keys"], 5)


def test_the_command_line_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, of_file="raise AssertionError", of_command="def add_config(cfg):\n    cfg.MINE = 0\n")
    (tmp_path / "c.yaml").write_text("IMPORTS: [of_file]\nMINE: 3\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    cfg = get_avis_cfg("c.yaml", ["IMPORTS", ["of_command"]])
    assert (cfg.MINE, cfg.IMPORTS) == (3, ["of_command"])
    assert sys.path == before


def test_an_installed_module_wins_over_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "installed").mkdir()
    write(tmp_path, in_both="raise AssertionError")
    write(tmp_path / "installed", in_both="def add_config(cfg):\n    cfg.MINE = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    assert get_avis_cfg(opts=["IMPORTS", ["in_both"]]).MINE == 7


def test_a_package_needs_no_init_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bare_folder").mkdir()
    write(tmp_path / "bare_folder", keys="def add_config(cfg):\n    cfg.MINE = 7\n")
    monkeypatch.chdir(tmp_path)
    assert get_avis_cfg(opts=["IMPORTS", ["bare_folder.keys"]]).MINE == 7


@pytest.mark.parametrize("name", ["nowhere_at_all", "my_package.nowhere", "nowhere.my_fusion", "os.nowhere"])
def test_a_missing_module_is_named_with_where_it_was_looked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.chdir(project)
    message = (
        rf"^command line: IMPORTS: there is no module '{name}', neither .* PYTHONPATH, nor in {project}$"
    )
    with pytest.raises(ConfigError, match=message):
        get_avis_cfg(opts=["IMPORTS", [name]])


@pytest.mark.parametrize(
    ("content", "problem", "cause"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", ZeroDivisionError),
        (
            "import nowhere_at_all",
            "ModuleNotFoundError: No module named 'nowhere_at_all'",
            ModuleNotFoundError,
        ),
        ("def (", "SyntaxError: ", SyntaxError),
        ("def add_config(cfg):\n    cfg.SOLVR.X = 1", "AttributeError: SOLVR", AttributeError),
    ],
)
def test_a_module_that_fails_is_named_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, problem: str, cause: type
):
    write(tmp_path, failing=content)
    (tmp_path / "c.yaml").write_text("IMPORTS: [failing]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "failing", raising=False)
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=rf"^c\.yaml: IMPORTS: module 'failing' raises {problem}"
        ) as caught:
            get_avis_cfg("c.yaml")
        assert type(caught.value.__cause__) is cause
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("my_fusion", "IMPORTS cannot be my_fusion: its type is list"),
        ([3], "IMPORTS is a list of names"),
        (None, "IMPORTS is"),
    ],
)
def test_what_is_no_list_of_names_is_refused(value: object, problem: str):
    with pytest.raises(ConfigError, match=f"^command line: {problem}"):
        get_avis_cfg(opts=["IMPORTS", value])
