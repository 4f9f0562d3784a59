from pathlib import Path

import pytest
import torch
import yaml

from avis.command_line import exit_on_bad_input
from avis.config import ConfigError, load_cfg


def write_yaml(path: Path, content: object) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_file_and_overrides_are_merged_in_order(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"VERSION": 2, "SOLVER": {"MAX_ITER": 10, "BASE_LR": 0.5}})
    cfg = load_cfg(path, ["SOLVER.MAX_ITER", "20"])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (20, 0.5)


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
        load_cfg("", [key, "1"])


def test_unknown_key_in_a_file_is_named_with_the_file(tmp_path: Path):
    path = write_yaml(tmp_path / "c.yaml", {"VERSION": 2, "MODEL": {"MASKFORMER": {"NHEADS": 1}}})
    message = r"c\.yaml: there is no config key 'MODEL\.MASKFORMER'; did you mean 'MODEL\.MASK_FORMER'\?$"
    with pytest.raises(ConfigError, match=message):
        load_cfg(path)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["XYZZY", "1"], r"there is no config key 'XYZZY'$"),
        (["--num-gpus", "2"], r"'--num-gpus'; options come before the KEY VALUE pairs"),
        (["SOLVER.MAX_ITER"], r"odd length"),
        (["SOLVER.MAX_ITER", "many"], r"SOLVER\.MAX_ITER cannot be many: its type is int"),
        (["SOLVER", "3"], r"SOLVER cannot be 3: its type is CfgNode$"),
    ],
)
def test_mistakes_on_the_command_line(opts: list[str], message: str):
    with pytest.raises(ConfigError, match=f"^command line: .*{message}"):
        load_cfg("", opts)


@pytest.mark.parametrize(
    "content", ["", "SOLVER: [1", "- 1", "_BASE_: absent.yaml", "VERSION: 9", "SOLVER: 3"]
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, content: str):
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_cfg(write_yaml(tmp_path / "c.yaml", content))


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"config file not found: absent\.yaml"):
        load_cfg("absent.yaml")


@pytest.mark.parametrize("error", [ValueError("bad clip 7"), KeyError("bad clip 7"), OSError("bad clip 7")])
def test_bad_input_ends_with_one_line_and_code_2(error: Exception, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended, exit_on_bad_input():
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: bad clip 7\n"


def test_errors_of_a_loaders_worker_show_their_message_alone(capsys: pytest.CaptureFixture):
    class Broken(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> None:
            raise ValueError("video 7 frame 3: a.jpg cannot be read")

    with pytest.raises(SystemExit), exit_on_bad_input():
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))
    assert capsys.readouterr().err == "error: video 7 frame 3: a.jpg cannot be read\n"


def test_mistakes_of_the_program_keep_their_traceback():
    with pytest.raises(AttributeError), exit_on_bad_input():
        raise AttributeError
