"""The page's files: each session has its own, and they go with it."""

import os
import subprocess
import sys
import time

import pytest

from avis.app import Workspace


def test_only_its_owner_may_look_into_the_folder(workspace):
    assert workspace.folder.stat().st_mode & 0o077 == 0


def test_files_go_with_their_session(workspace, upload):
    one, other = workspace.session("one"), workspace.session("other")
    assert workspace.session("one") is one and one.folder != other.folder
    workspace.add_upload(one, upload(content=b"x"))
    (one.new_folder() / "overlay.mp4").write_bytes(b"x")
    workspace.close("one")
    assert one.stop.is_set()
    assert list(workspace.folder.iterdir()) == [other.folder]
    workspace.remove()
    assert not workspace.folder.exists()


def test_an_upload_of_two_sessions_goes_with_the_last(workspace, upload):
    file = upload(content=b"x")
    for key in ("one", "other"):
        workspace.add_upload(workspace.session(key), file)
    workspace.close("one")
    assert file.exists()
    workspace.close("other")
    assert not file.parent.exists()


def test_old_uploads_that_nobody_uses_go(workspace, upload):
    used, unused, new = (upload(content=b"x", folder=name) for name in ("used", "unused", "new"))
    workspace.add_upload(workspace.session("one"), used)
    for file in (used, unused):
        os.utime(file.parent, (time.time() - 7200,) * 2)
    workspace.session("other")
    assert used.exists() and new.exists() and not unused.exists()


def test_only_uploads_are_taken(workspace, tmp_path):
    (tmp_path / "private.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match="is no upload"):
        workspace.add_upload(workspace.session("one"), tmp_path / "private.mp4")
    link = workspace.folder / "digest" / "link.mp4"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "private.mp4")
    with pytest.raises(ValueError, match="is no upload"):
        workspace.add_upload(workspace.session("one"), link)


def test_a_second_prediction_replaces_the_first(workspace):
    session = workspace.session("one")
    first, second = session.new_folder(), session.new_folder()
    assert not first.exists() and second.exists()


def test_what_a_killed_program_has_left_goes(workspace, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    dead = tmp_path / f"avis-app-{int(ended.stdout)}-x"
    alive = tmp_path / f"avis-app-{os.getppid()}-x"
    foreign = tmp_path / "avis-app-notes"
    for folder in (dead, alive, foreign):
        (folder / "session").mkdir(parents=True)
    Workspace().remove()
    assert not dead.exists() and alive.exists() and foreign.exists()
