"""Configs by name, and configs from what checkpoints hold."""

from pathlib import Path

import pytest

from avis import configs
from avis.config import ConfigError, get_avis_cfg, get_recorded_cfg

ROOT = Path(__file__).parents[2]
MODELS = [name for name in configs.names() if "/" not in name]


def test_a_name_stands_for_its_file():
    assert configs.get("avis_R50") == configs.get("avis_R50.yaml") == ROOT / "configs" / "avis_R50.yaml"
    assert configs.get("ablations/tiny") == ROOT / "configs" / "ablations" / "tiny.yaml"
    assert {"quickstart", "Base-AVIS", "ablations/family"} <= set(configs.names())
    assert get_avis_cfg("avis_R50") == get_avis_cfg(ROOT / "configs/avis_R50.yaml")


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(FileNotFoundError, match=r"no config 'avis_R5'; did you mean 'avis_R50'"):
        configs.get("avis_R5")
    with pytest.raises(FileNotFoundError, match=r"no config 'zzz'; avis\.configs\.names\(\) lists all"):
        configs.get("zzz")
    for path in ("avis_r50.yaml", "elsewhere/avis_R50.yaml"):
        with pytest.raises(ConfigError, match=rf"not found: {path}; did you mean 'avis_R50', which comes"):
            get_avis_cfg(path)


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "avis_R50").write_text("SEED: 7")
    assert get_avis_cfg("avis_R50").SEED == 7
    assert configs.find("avis_R101") == str(ROOT / "configs" / "avis_R101.yaml")


@pytest.mark.parametrize("name", MODELS)
def test_a_config_is_the_same_again_from_its_own_text(name: str):
    cfg = get_avis_cfg(name, ["SEED", 3])
    again = get_recorded_cfg(cfg.dump(), "w.pth")
    # Detectron2's tuples in a tuple come back as lists; no model of ours has this part.
    again.MODEL.ROI_BOX_CASCADE_HEAD = cfg.MODEL.ROI_BOX_CASCADE_HEAD
    assert again == cfg
    assert get_recorded_cfg(cfg.dump(), "w.pth", ["SEED", 4]).SEED == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- 1", "no KEY: VALUE"),
        ("a: [", "cannot be read"),
        ("A: 1", "no config key 'A'"),
        ("_BASE_: /etc/passwd", "can only be used in files"),
    ],
)
def test_a_text_that_is_no_config_is_named(text: str, problem: str):
    with pytest.raises(ConfigError, match=rf"w\.pth: .*{problem}"):
        get_recorded_cfg(text, "w.pth")
