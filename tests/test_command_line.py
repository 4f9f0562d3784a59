"""How programs end on bad input."""

import pytest
import torch

from avis.command_line import exit_on_bad_input


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
