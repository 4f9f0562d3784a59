"""Set-up: what leaves an environment alone, what makes it be mended or made anew, and what is refused."""

import fcntl
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted(ROOT.glob("tools/*.sh")), ROOT / ".ci/run"]
PYTHON_TOOLS = [path for path in sorted(ROOT.glob("tools/*.py")) if path.name != "setup_env.py"]
COPIED = [
    "tools/setup_env.sh",
    "tools/setup_env.py",
    "requirements.txt",
    "requirements-detectron2.txt",
    "setup.py",
    "pyproject.toml",
]


def load_setup_env(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", root / "tools" / "setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_distribution(site: Path, name: str) -> Path:
    """Install a package of one file, as a wheel is: with a RECORD of its files."""
    (site / f"{name}.py").write_text("answer = 42\n")
    dist_info = site / f"{name}-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    records = [f"{name}.py,sha256=x,12", f"{dist_info.name}/METADATA,,", f"{dist_info.name}/RECORD,,"]
    (dist_info / "RECORD").write_text("\n".join(records) + "\n")
    return dist_info


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder with a space, whose environment is complete but for its size."""
    root = tmp_path / "a project"
    (root / "tools").mkdir(parents=True)
    for name in COPIED:
        shutil.copy(ROOT / name, root / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    setup_env = load_setup_env(root)
    add_distribution(setup_env.site_packages(), "timm")
    setup_env.write_ready()
    return root


def run_setup(root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", root / "tools" / "setup_env.sh"],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def snapshot(root: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


def test_complete_environment_is_left_alone(project):
    before = snapshot(project)
    result = run_setup(project)
    assert (result.returncode, result.stdout) == (0, f"{project}/.venv is up to date\n"), result.stderr
    assert snapshot(project) == before


@pytest.mark.parametrize(
    "source",
    ["requirements.txt", "requirements-detectron2.txt", "setup.py", "pyproject.toml", "tools/setup_env.py"],
)
def test_environment_is_outdated_once_a_source_changes(project, source):
    setup_env = load_setup_env(project)
    assert setup_env.is_up_to_date()
    with (project / source).open("a") as file:
        file.write("# changed\n")
    assert not setup_env.is_up_to_date()


def remove_module(site: Path) -> None:
    (site / "timm.py").unlink()


def truncate_module(site: Path) -> None:
    (site / "timm.py").write_text("answer")


def remove_record(site: Path) -> None:
    (site / "timm-1.0.dist-info" / "RECORD").unlink()


@pytest.mark.parametrize("damage", [remove_module, truncate_module, remove_record])
def test_damaged_package_is_found_and_given_back_to_pip(project, damage):
    setup_env = load_setup_env(project)
    site = setup_env.site_packages()
    whole = add_distribution(site, "whole")
    damage(site)
    assert not setup_env.is_up_to_date()
    setup_env.forget_damaged(site)
    assert list(site.glob("*.dist-info")) == [whole]


def test_uninstalled_package_is_missed(project):
    setup_env = load_setup_env(project)
    shutil.rmtree(setup_env.site_packages() / "timm-1.0.dist-info")
    assert not setup_env.is_up_to_date()


def test_leftovers_of_an_interrupted_run_are_removed(project):
    setup_env = load_setup_env(project)
    site = setup_env.site_packages()
    (site / "~imm").mkdir()
    (setup_env.VENV / ".downloads-x").mkdir()
    setup_env.forget_damaged(site)
    assert not (site / "~imm").exists()
    assert not (setup_env.VENV / ".downloads-x").exists()
    assert setup_env.is_up_to_date()


def test_moved_project_gets_a_new_environment(project):
    moved = project.rename(project.parent / "moved")
    setup_env = load_setup_env(moved)
    assert setup_env.why_unusable() == f"it was made as {project}/.venv"
    assert not setup_env.is_up_to_date()


def test_environment_of_another_project_is_not_emptied(project, tmp_path):
    other = tmp_path / "other"
    (other / "tools").mkdir(parents=True)
    for name in COPIED:
        shutil.copy(ROOT / name, other / name)
    (other / ".venv").symlink_to(project / ".venv")
    before = snapshot(project)
    result = run_setup(other)
    assert result.returncode == 1
    assert f"{other}/.venv is a link, and what it leads to would be emptied" in result.stderr
    assert snapshot(project) == before


def test_vanished_interpreter_is_noticed(project):
    setup_env = load_setup_env(project)
    setup_env.PYTHON.unlink()
    setup_env.PYTHON.symlink_to("/nowhere/python3")
    assert setup_env.why_unusable() == "its Python does not run"


def test_packages_of_another_python_version_are_noticed(project):
    setup_env = load_setup_env(project)
    library = setup_env.site_packages().parent
    library.rename(library.with_name("python3.10"))
    assert "another Python version" in setup_env.why_unusable()


def test_environment_without_its_settings_is_noticed(project):
    setup_env = load_setup_env(project)
    (setup_env.VENV / "pyvenv.cfg").unlink()
    assert "pyvenv.cfg" in setup_env.why_unusable()


def test_second_set_up_waits_for_the_first(project):
    setup_env = load_setup_env(project)
    setup_env.READY.rename(project / "ready")
    with (project / "tools" / "setup_env.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            ["bash", project / "tools" / "setup_env.sh"],
            env={**os.environ, "PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            text=True,
        )
        with second:
            assert second.stdout.readline() == "waiting for another set-up of this folder\n"
            (project / "ready").rename(setup_env.READY)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.stdout.read() == f"{project}/.venv is up to date\n"
    assert second.returncode == 0


def test_unsupported_python_is_refused(project, tmp_path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo Python 3.10.13; else exit 1; fi\n')
    old.chmod(0o755)
    result = run_setup(project, PYTHON=str(old))
    assert result.returncode == 1
    assert "Python 3.11, 3.12 or 3.13" in result.stderr
    assert f"{old}: Python 3.10.13" in result.stderr


def test_python_that_does_not_run_is_refused(project):
    result = run_setup(project, PYTHON="/nowhere/python3.12")
    assert result.returncode == 1
    assert "/nowhere/python3.12: does not run" in result.stderr


@pytest.mark.parametrize("tool", PYTHON_TOOLS, ids=lambda path: path.name)
def test_without_detectron2_a_tool_says_how_to_get_it(tool):
    code = f"import runpy, sys; sys.modules['detectron2'] = None; runpy.run_path({str(tool)!r})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: avis needs the package detectron2")
    assert "bash tools/setup_env.sh" in last_line
    assert "git+https://github.com/facebookresearch/detectron2" in last_line


def read_requirements(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def test_every_requirement_is_pinned():
    for line in read_requirements(ROOT / "requirements.txt"):
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line)
    (detectron2,) = read_requirements(ROOT / "requirements-detectron2.txt")
    assert re.fullmatch(r"sal-detectron2==[\d.]+ --hash=sha256:[0-9a-f]{64}", detectron2)


def test_pins_satisfy_what_the_package_declares(tmp_path):
    pins = dict(line.lower().split("==") for line in read_requirements(ROOT / "requirements.txt"))
    command = [sys.executable, "-W", "ignore", "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True)
    content = (tmp_path / "avis.egg-info" / "requires.txt").read_text()
    declared = content.partition("\n[")[0].split()  # without extras, which are not part of the set-up
    assert len(declared) > 20
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(pins[requirement.name])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_valid_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", sorted(ROOT.glob("tools/*.sh")), ids=lambda path: path.name)
def test_script_has_help(script, tmp_path):
    result = subprocess.run(["bash", script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"usage: bash tools/{script.name}" in result.stdout or f"usage: {script.name}" in result.stdout


@pytest.mark.parametrize("tool", PYTHON_TOOLS, ids=lambda path: path.name)
def test_tool_has_help(tool, monkeypatch, capsys):
    # In this process, which has imported torch already: a process for each would take a minute in all.
    monkeypatch.setattr(sys, "argv", [str(tool), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name="__main__")
    assert end.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_a_tool_starts_from_anywhere_without_warnings(tmp_path):
    command = [sys.executable, ROOT / "tools" / "train_net.py", "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr


def test_the_pages_packages_are_pinned_beside_the_others():
    lines = (ROOT / "requirements-app.txt").read_text().splitlines()
    page = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    others = [line.split("#")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()]
    names = {Requirement(line).name.lower() for line in others if line.strip()}
    assert "gradio" in {each.name for each in page}
    assert all(len(each.specifier) == 1 and str(each.specifier).startswith("==") for each in page)
    assert not {each.name.lower() for each in page} & names
