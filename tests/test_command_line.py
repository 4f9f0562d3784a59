"""How programs end on bad input, and when they are told to end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

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


WRITER = """
import sys, time
from avis.command_line import exit_on_bad_input
from avis.files import replacing

@exit_on_bad_input()
def main():
    with replacing(sys.argv[1]) as unfinished:
        unfinished.write_text("half")
        try:
            print("begun", flush=True)
            time.sleep(60)
        finally:
            time.sleep(0.5)  # cleaning up may take its time, and be asked for again
            print("cleaned up", flush=True)

main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_ended_programs_leave_nothing_half_written(tmp_path: Path, number: signal.Signals, times: int):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "a.json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        if times == 2:
            time.sleep(0.1)
            process.send_signal(number)
        assert process.stdout.readline() == "cleaned up\n"
        assert process.wait(timeout=20) == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_others_stay():
    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with exit_on_bad_input():
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    with exit_on_bad_input():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
