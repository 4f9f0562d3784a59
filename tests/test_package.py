"""What `pip install .` installs works without the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("avis", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_sdist('.'); print(build_meta.build_wheel('.'))"
USE = """
import avis.configs, avis.evaluation.report.page
from avis.config import get_avis_cfg
print(avis.__file__, avis.configs.get("avis_R50"), get_avis_cfg("avis_R50").MODEL.FUSION.NAME, sep="\\n")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def run(site: Path, cwd: Path, *words: object) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_folder(built: Path, tmp_path: Path):
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    shutil.rmtree(built / "avis")  # nothing may lean on the sources
    package, config, fusion = run(site, tmp_path, "-c", USE).split()
    assert package == str(site / "avis" / "__init__.py")
    assert Path(config).is_relative_to(site) and fusion == "TPAVI"
    assert (site / "avis" / "py.typed").is_file()
    names = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    files = site / "avis" / "configs" / "files"
    assert {path.relative_to(files) for path in files.rglob("*.yaml")} == names
    (about,) = site.glob("avis-*.dist-info")
    assert "avis = avis.__main__:main" in (about / "entry_points.txt").read_text()
    metadata = (about / "METADATA").read_text()
    assert "Requires-Dist: torch>=" in metadata and 'extra == "app"' in metadata
    plan = run(site, tmp_path, "-m", "avis", "plan-scale", "--config-file", "quickstart", "--gpus", 2)
    assert "parameters" in plan


@pytest.mark.slow
def test_the_source_distribution_has_what_the_wheel_is_made_of(built: Path):
    (archive,) = built.glob("*.tar.gz")
    listed = subprocess.run(["tar", "tzf", archive], capture_output=True, text=True, check=True).stdout
    names = {name.partition("/")[2] for name in listed.splitlines()}
    assert {"configs/avis_R50.yaml", "configs/ablations/tiny.yaml", "setup.py", "avis/py.typed"} <= names
