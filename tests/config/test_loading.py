"""Reading files and overrides, and what is refused."""

import math
from pathlib import Path

import pytest
import yaml

from avis.config import CfgNode, ConfigError, get_avis_cfg

QUERY = "MODEL.MASK_FORMER.AUDIO_QUERY"


def write_yaml(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_file_and_overrides_are_merged_in_order(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"VERSION": 2, "SOLVER": {"MAX_ITER": 10, "BASE_LR": 0.5}})
    cfg = get_avis_cfg(path, ["SOLVER.MAX_ITER", "20"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (20, 0.5)


def test_a_whole_number_is_a_float_where_one_is_wanted(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"VERSION": 2, "INPUT": {"FPS": 2}, "SOLVER": {"GAMMA": 1}})
    cfg = get_avis_cfg(path, ["SOLVER.BASE_LR", "1", "SOLVER.WEIGHT_DECAY", 0])
    values = (cfg.INPUT.FPS, cfg.SOLVER.GAMMA, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY)
    assert values == (2.0, 1.0, 1.0, 0.0)
    assert {type(value) for value in values} == {float}


@pytest.mark.parametrize("value", ["True", True, "(1,)"])
def test_other_values_are_no_floats(value: object):
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR cannot be .*: its type is float$"):
        get_avis_cfg("", ["SOLVER.BASE_LR", value])


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("SOLVER.MAX_ITERS", "SOLVER.MAX_ITER"),
        ("MODEL.MASK_FORMER.NUM_OBJECT_QUERYS", "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"),
        ("model.audio.name", "MODEL.AUDIO.NAME"),
        ("MODEL.MASKFORMER.NHEADS", "MODEL.MASK_FORMER.NHEADS"),
    ],
)
def test_unknown_key_suggests_the_right_one(key: str, right: str):
    message = rf"^command line: there is no config key '{key}'; did you mean '{right}'\?$"
    with pytest.raises(ConfigError, match=message):
        get_avis_cfg("", [key, "1"])


def test_unknown_key_in_a_file_is_named_with_the_file(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"VERSION": 2, "MODEL": {"MASKFORMER": {"NHEADS": 1}}})
    message = r"^\S+c\.yaml: there is no config key 'MODEL\.MASKFORMER'; did you mean 'MODEL\.MASK_FORMER'\?$"
    with pytest.raises(ConfigError, match=message):
        get_avis_cfg(path)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["XYZZY", "1"], r"there is no config key 'XYZZY'$"),
        (["MODEL.XX", "1"], r"there is no config key 'MODEL\.XX'$"),
        (["--num-gpus", "2"], r"'--num-gpus'; options come before the KEY VALUE pairs"),
        (["SOLVER.MAX_ITER"], r"odd length"),
        (["SOLVER.MAX_ITER", "many"], r"SOLVER\.MAX_ITER cannot be many: its type is int"),
        (["SOLVER", "3"], r"SOLVER cannot be 3: its type is CfgNode$"),
    ],
)
def test_mistakes_on_the_command_line(opts: list[str], message: str):
    with pytest.raises(ConfigError, match=f"^command line: .*{message}"):
        get_avis_cfg("", opts)


@pytest.mark.parametrize(
    "content", ["", "SOLVER: [1", "- 1", "_BASE_: absent.yaml", "VERSION: 9", "SOLVER: 3"]
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, content: str):
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        get_avis_cfg(write_yaml(tmp_path / "c.yaml", content))


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"^config file not found: absent\.yaml$"):
        get_avis_cfg("absent.yaml")


def test_no_file_means_the_defaults():
    assert get_avis_cfg("") == get_avis_cfg() == get_avis_cfg(None, [])


def test_a_config_cannot_run_code(tmp_path: Path):
    planted = tmp_path / "planted"
    path = write_yaml(tmp_path / "c.yaml", f'MODEL: !!python/object/apply:os.mkdir ["{planted}"]\n')
    with pytest.raises(ConfigError, match=r"c\.yaml.*python/object/apply"):
        get_avis_cfg(path)
    assert not planted.exists()


def test_all_mistakes_are_named_at_once_and_once(tmp_path: Path):
    write_yaml(tmp_path / "base.yaml", {"SOLVER": {"MAX_ITER": "many"}})
    content = {
        "_BASE_": "base.yaml",
        "SOLVR": {"MAX_ITER": 1, "STEPS": [1]},
        "TEST": {"PRECISE_BN": {"ENABLED": True}},
    }
    path = write_yaml(tmp_path / "c.yaml", content)
    with pytest.raises(ConfigError) as caught:
        get_avis_cfg(path, ["XYZZY", "1", "XYZZY", "2", "TEST.AUG.ENABLED", "True"])
    lines = str(caught.value).split("\n")
    beginnings = (
        f"{tmp_path}/base.yaml: SOLVER.MAX_ITER cannot be many",
        f"{path}: there is no config key 'SOLVR'; did you mean 'SOLVER'?",
        "command line: there is no config key 'XYZZY'",
        "command line: TEST.AUG.ENABLED is True, but nothing reads it",
        f"{path}: TEST.PRECISE_BN.ENABLED is True, but nothing reads it",
    )
    assert len(lines) == len(beginnings)
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)


def test_a_mistake_with_line_breaks_has_one_line(tmp_path: Path):
    content = {"SOLVER": {"MAX_ITER": {"A": 1, "B": {"C": 2}}, "STEPS": math.inf}}
    with pytest.raises(ConfigError) as caught:
        get_avis_cfg(write_yaml(tmp_path / "c.yaml", content))
    lines = str(caught.value).split("\n")
    assert [line.split(": ")[1].split()[0] for line in lines] == ["SOLVER.MAX_ITER", "SOLVER.STEPS"]


def test_a_dict_on_the_command_line_keeps_the_rest_of_its_section():
    cfg = get_avis_cfg(opts=["SOLVER", {"MAX_ITER": 3}])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.OPTIMIZER) == (3, "ADAMW")
    with pytest.raises(ConfigError, match=r"^command line: there is no config key 'SOLVER\.MAXITER'"):
        get_avis_cfg(opts=["SOLVER", {"MAXITER": 3}])


@pytest.mark.parametrize(("old", "new"), [(True, "mean"), (False, ""), ("mean", "mean"), ("", "")])
def test_audio_query_may_be_true_or_false(tmp_path: Path, old: bool | str, new: str):
    path = write_yaml(tmp_path / "c.yaml", {"MODEL": {"MASK_FORMER": {"AUDIO_QUERY": old}}})
    for cfg in (get_avis_cfg(path), get_avis_cfg(opts=[QUERY, old]), get_avis_cfg(opts=[QUERY, str(old)])):
        assert new == cfg.MODEL.MASK_FORMER.AUDIO_QUERY


def test_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_yaml(tmp_path / "base.yaml", {"OUTPUT_DIR": "~/out", "DATASETS": {"TEST": ["~/val.json", "a~"]}})
    write_yaml(tmp_path / "c.yaml", {"_BASE_": "~/base.yaml", "MODEL": {"WEIGHTS": "~/w.pth"}})
    audio = ["MODEL.AUDIO.WEIGHTS", "~/a.pth", "MODEL.AUDIO.PCA_WEIGHTS", "~/pca.npz"]
    cfg = get_avis_cfg("~/c.yaml", [*audio, "DATASETS.TRAIN", "('~/train.json',)"])
    assert f"{tmp_path}/out" == cfg.OUTPUT_DIR
    assert (f"{tmp_path}/w.pth", f"{tmp_path}/a.pth") == (cfg.MODEL.WEIGHTS, cfg.MODEL.AUDIO.WEIGHTS)
    assert f"{tmp_path}/pca.npz" == cfg.MODEL.AUDIO.PCA_WEIGHTS
    assert (f"{tmp_path}/train.json",) == cfg.DATASETS.TRAIN
    assert (f"{tmp_path}/val.json", "a~") == cfg.DATASETS.TEST


@pytest.mark.parametrize("weights", ["detectron2://R-50.pkl", "https://host/~me/w.pth", None])
def test_what_is_no_path_of_the_home_folder_stays(weights: str | None):
    assert weights == get_avis_cfg(opts=["MODEL.WEIGHTS", weights]).MODEL.WEIGHTS


def test_the_dumped_config_reads_back_the_same(tmp_path: Path):
    cfg = get_avis_cfg("configs/avis_SwinL.yaml", ["TEST.EVAL_PERIOD", 7])
    again = get_avis_cfg(write_yaml(tmp_path / "config.yaml", cfg.dump()))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


def test_a_section_without_fixed_keys_takes_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "open_section.py").write_text(
        "from detectron2.config import CfgNode\n\n\n"
        "def add_config(cfg):\n    cfg.MODEL.MINE = CfgNode(new_allowed=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = write_yaml(tmp_path / "c.yaml", {"IMPORTS": ["open_section"], "MODEL": {"MINE": {"A": {"B": 1}}}})
    assert CfgNode({"A": {"B": 1}}) == get_avis_cfg(path).MODEL.MINE


def test_a_key_that_was_renamed_is_read(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"MODEL": {"AUDIO": {"SYNC_BN": True}}})
    assert get_avis_cfg(path).MODEL.SYNC_BN
    assert not get_avis_cfg(path, ["MODEL.AUDIO.SYNC_BN", "False"]).MODEL.SYNC_BN
