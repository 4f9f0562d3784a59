"""YAML files that include others."""

import re
from pathlib import Path

import pytest

from avis.config import ConfigError, get_avis_cfg
from avis.config.yaml_files import read_yaml, read_yaml_files
from avis.experiments.plan import read_plan


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        (folder / f"{name}.yaml").write_text(content)


def test_a_file_wins_over_its_bases_and_a_later_base_over_an_earlier(tmp_path: Path):
    write(tmp_path, a="S: {X: 1, Y: 1, Z: 1}", b="S: {Y: 2, Z: 2}", c="_BASE_: [a.yaml, b.yaml]\nS: {Z: 3}")
    assert read_yaml(tmp_path / "c.yaml") == {"S": {"X": 1, "Y": 2, "Z": 3}}


def test_bases_are_relative_to_the_file_that_names_them(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, base="A: 1")
    write(tmp_path / "sub", c="_BASE_: ../base.yaml\nB: 2", d=f"_BASE_: {tmp_path}/base.yaml")
    assert read_yaml(tmp_path / "sub" / "c.yaml") == {"A": 1, "B": 2}
    assert read_yaml(tmp_path / "sub" / "d.yaml") == {"A": 1}


def test_two_bases_may_share_a_base(tmp_path: Path):
    write(tmp_path, a="A: 1", b="_BASE_: a.yaml", c="_BASE_: a.yaml", d="_BASE_: [b.yaml, c.yaml]\nB: 2")
    assert read_yaml(tmp_path / "d.yaml") == {"A": 1, "B": 2}
    assert [Path(path).name for path, _ in read_yaml_files(tmp_path / "d.yaml")] == [
        *("a.yaml", "b.yaml", "a.yaml", "c.yaml"),
        "d.yaml",
    ]


@pytest.mark.parametrize("read", [get_avis_cfg, read_plan])
def test_a_file_that_includes_itself_is_named_with_the_circle(tmp_path: Path, read):
    write(tmp_path, x="_BASE_: a.yaml", a="_BASE_: ./b.yaml", b="_BASE_: a.yaml", c="_BASE_: c.yaml")
    circle = rf"^{tmp_path}/a\.yaml includes itself through _BASE_ \(\S+a\.yaml → \S+b\.yaml → \S+a\.yaml\)$"
    with pytest.raises(ConfigError, match=circle):
        read(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=r"c\.yaml includes itself through _BASE_ \(\S+ → \S+c\.yaml\)$"):
        read(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it has no KEY: VALUE lines"),
        ("- 1", "it has no KEY: VALUE lines"),
        ("A: [1", "it cannot be read as YAML: while parsing a flow sequence"),
        ('A: !!int ""', "it cannot be read as YAML"),
        ("A: " + "[" * 5000, "it is nested too deep"),
        ("_BASE_: 3", "_BASE_ is a file or a list of files, not 3"),
        ("_BASE_: nowhere.yaml", "there is no _BASE_ "),
        ("_BASE_: base.yaml\nS: {X: {Y: 1}}", "X is a section here, but not in _BASE_"),
    ],
)
def test_mistakes_have_one_line_that_names_the_file(tmp_path: Path, content: str, problem: str):
    write(tmp_path, base="S: {X: 1}", c=content)
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/c.yaml: {problem}")) as caught:
        read_yaml(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "c.yaml").write_bytes(b"\x80\x81")
    with pytest.raises(ConfigError, match=r"c\.yaml: it cannot be read as YAML"):
        read_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="it cannot be read as YAML"):
        read_yaml(tmp_path)


def test_a_value_nested_too_deep_for_a_config_is_named(tmp_path: Path):
    write(tmp_path, c="SOLVER:\n  STEPS: &loop\n    A: *loop\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: SOLVER\.STEPS is nested too deep$"):
        get_avis_cfg(tmp_path / "c.yaml")
