"""What the zoo holds, and zoo files of users' own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from avis.zoo import find, place_of, read_zoo
from tests.zoo.server import write_zoo

ROOT = Path(__file__).parents[2]


def test_every_entry_has_a_config_and_an_address():
    for entry in read_zoo().values():
        assert (ROOT / "configs" / entry.config).is_file(), entry
        assert entry.address.startswith("https://") and entry.what and entry.page.startswith("https://")
        assert bool(entry.algorithm) == bool(entry.digest)
    assert len(read_zoo()) >= 40


def test_digests_are_those_in_the_names_of_the_files():
    """Mask2Former's names hold the first digits of an MD5, those of PyTorch's hub of a SHA-256."""
    checked = 0
    for entry in read_zoo().values():
        named = re.search(r"[-_]([0-9a-f]{6}|[0-9a-f]{8})\.(pth|pkl)$", entry.address)
        if named:
            assert entry.digest.startswith(named[1]), entry
            assert entry.algorithm == ("md5" if len(named[1]) == 6 else "sha256")
            checked += 1
        elif not entry.by_hand:
            assert entry.name.startswith("swin_") and not entry.digest
    assert checked == 4 + 2 + 6 + 12


def test_a_wrong_name_lists_the_nearest_first():
    with pytest.raises(ValueError, match=r"zoo://Resnet-50: .*; nearest: resnet50, .*; it also has .*vggish"):
        find("zoo://Resnet-50")
    with pytest.raises(ValueError, match=r"no such weights; it also has acvis_R50"):
        find("qqqq")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"AVIS_CACHE": "/a", "FVCORE_CACHE": "/b", "TORCH_HOME": "/c"}, "/a"),
        ({"FVCORE_CACHE": "/b", "TORCH_HOME": "/c"}, "/b/avis"),
        ({"TORCH_HOME": "/c", "XDG_CACHE_HOME": "/d"}, "/c/avis"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/torch/avis"),
        ({"HOME": "/home/me"}, "/home/me/.cache/torch/avis"),
    ],
)
def test_the_folder_of_the_cache(variables: dict, folder: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AVIS_CACHE", "FVCORE_CACHE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(place_of(find("vggish"))) == f"{folder}/vggish.pth"


def test_own_zoos_add_names_and_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = write_zoo(tmp_path / "one.yaml", "https://a.org", ours={"file": "x.pth"}, vggish={"file": "v.pth"})
    two = write_zoo(tmp_path / "two.yaml", "https://b.org", ours={"file": "y.pth"})
    monkeypatch.setenv("AVIS_ZOO", f"{one}:{two}")
    assert find("ours").address == "https://b.org/y.pth"
    assert find("vggish").address == "https://a.org/v.pth" and find("resnet50").digest == "0676ba61"


def test_a_name_of_digits_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own.yaml").write_text("g: {files: {12: {file: https://x/y, config: c, what: w}}}")
    monkeypatch.setenv("AVIS_ZOO", str(tmp_path / "own.yaml"))
    assert find("12").name == "12" and "12" in read_zoo()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "is no YAML"),
        ("- a", "it is list, not a mapping"),
        ("g: {page: x}", "g: 'files' is missing"),
        ("g: {files: {n: {file: https://x/y, config: c}}}", "g, n: 'what' is missing"),
        ("g: {files: {n: {file: y, config: c, what: w}}}", "y is no address"),
        ("g: {files: {n: {file: https://x/y, config: c, what: w, sha: 1}}}", "'sha' is none of"),
        ("g: {files: {n: {file: https://x/y, config: c, what: w, md5: 965185}}}", "md5 is 965185, not"),
        ("g: {files: {n: {file: https://x/y, config: c, what: w, md5: ''}}}", "md5 is '', not"),
        (f"g: {{files: {{n: {{file: https://x/y, config: c, what: w, md5: {'a' * 33}}}}}}}", "not 1 to 32"),
        ("g: {files: {n: {file: https://x/y, config: c, what: w, megabytes: x}}}", "megabytes is 'x', not"),
        ("g: {files: {n: {file: https://x/y, config: , what: w}}}", "config is None, not a text"),
        (
            "g: {files: {1: {file: https://x/y, config: c, what: w}}}\n"
            "h: {files: {'1': {file: https://x/y, config: c, what: w}}}",
            "h, 1: the name is there twice",
        ),
        ("g: {files: {a/b: {file: https://x/y, config: c, what: w}}}", "is the name of a file"),
        (None, "there is no file"),
    ],
)
def test_malformed_zoos_are_named(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("AVIS_ZOO", str(path))
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as raised:
        read_zoo()
    assert str(path) in str(raised.value)


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools/zoo.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_command_lists_and_shows():
    listed = run()
    assert listed.returncode == 0 and all(name in listed.stdout for name in read_zoo())
    shown = run("show", "mask2former_R50_coco", "avism_R50").stdout
    assert "md5 3c8ec9" in shown and "CC BY-NC 4.0" in shown and "configs/avis_R50.yaml" in shown
    assert "not published; noted at first download" in shown and "by hand, in a browser" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "vgish"], "error: zoo://vgish: the zoo has no such weights; nearest: vggish"),
        (["show"], "show takes at least one name"),
        (["list", "vggish"], "list takes no names"),
        (["get", "vggish"], "invalid choice: 'get'"),
    ],
)
def test_bad_command_lines_end_in_one_line(arguments: list[str], message: str):
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
