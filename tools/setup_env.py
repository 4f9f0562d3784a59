"""Make .venv in the project's folder, with every dependency as pinned and avis installed editable.

Needs nothing but Python's standard library. An environment that is complete is left alone; one that is
half-made or damaged is completed. `.venv/.ready` is written last: a fingerprint of what the environment
was made from, and the distributions in it, whose files are compared with their own records on each run.
"""

import argparse
import contextlib
import csv
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = [(3, 11), (3, 12), (3, 13)]
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"
REQUIREMENTS = ROOT / "requirements.txt"
APP_REQUIREMENTS = ROOT / "requirements-app.txt"
DETECTRON2_WHEEL = ROOT / "requirements-detectron2.txt"
DETECTRON2_UPSTREAM = "git+https://github.com/facebookresearch/detectron2"
IMPORTS = "avis, detectron2.engine, torchvision, torchaudio, timm, scipy, pycocotools.mask, shapely, cv2, av"
DISK_NEEDED = 10e9  # bytes: 6.7 GB stay, 3.3 GB of downloads are deleted


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="setup_env.sh",
        description="Make .venv with every dependency, or bring it up to date: about 2 minutes and 7 GB the "
        "first time, nothing the second. PYTHON=/path/to/python chooses the interpreter (3.11 to 3.13).",
    )
    parser.add_argument(
        "--detectron2",
        choices=["wheel", "upstream"],
        help="install Detectron2 anew: the pinned wheel (what a new environment gets: Python files only) or "
        "upstream's newest from GitHub (builds its compiled ops: needs a C++ compiler)",
    )
    parser.add_argument(
        "--app", action="store_true", help="also install Gradio, for the web page of tools/app.py (200 MB)"
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: take the running pip along
    try:
        set_up(args.detectron2)
        if args.app:
            install_app()
    except SetupError as error:
        sys.exit(f"setup_env.sh: {error}")
    except KeyboardInterrupt:
        sys.exit("\nsetup_env.sh: interrupted; run it again to go on")


def set_up(detectron2: str | None = None) -> None:
    """Bring `.venv` up to date; `detectron2` ("wheel" or "upstream") replaces the Detectron2 in it."""
    if detectron2 is None and is_up_to_date():
        print(f"{VENV} is up to date", flush=True)
        return
    with only_one_process():
        if detectron2 is None and is_up_to_date():  # made by another process while this one waited
            print(f"{VENV} is up to date", flush=True)
            return
        start = time.monotonic()
        if reason := why_unusable():
            make_venv(reason)
        READY.unlink(missing_ok=True)
        install_everything(detectron2)
        write_ready()
        print(f"{VENV} is ready ({time.monotonic() - start:.0f} s)", flush=True)


def install_app() -> None:
    """Install what the web page needs into `.venv`, which is complete."""
    with only_one_process(), tempfile.TemporaryDirectory(prefix=".downloads-", dir=VENV) as downloads:
        print("Installing requirements-app.txt", flush=True)
        # Without dependencies: all are listed, and Gradio asks for an older Pillow than it needs.
        pip_install("--no-deps", "--requirement", APP_REQUIREMENTS, downloads=downloads)
        run(PYTHON, "-W", "ignore", "-c", "import gradio")
        write_ready()


def is_up_to_date() -> bool:
    """Whether `.venv` was completed from the present pins, with this folder, and is whole since."""
    if not READY.is_file() or why_unusable():
        return False
    fingerprint, *distributions = READY.read_text().splitlines()
    site = site_packages()
    return fingerprint == make_fingerprint() and all(is_intact(site / name) for name in distributions)


def why_unusable() -> str | None:
    """What is wrong with `.venv` such that it has to be made anew; None if it can be kept."""
    if not VENV.exists():
        return "there is none yet"
    probe = "import sys; print(*sys.version_info[:2])"
    try:
        run = subprocess.run([PYTHON, "-I", "-c", probe], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "its Python does not run"
    version = tuple(int(number) for number in run.stdout.split())
    if version not in SUPPORTED or (os.environ.get("PYTHON") and version != sys.version_info[:2]):
        return f"it has Python {version[0]}.{version[1]}"
    if [folder.name for folder in VENV.glob("lib/python*")] != [f"python{version[0]}.{version[1]}"]:
        return "its packages are of another Python version than its Python"
    if not (VENV / "pyvenv.cfg").is_file():
        return "its pyvenv.cfg is missing"  # without it, its Python is the one it was made with
    settings = (VENV / "pyvenv.cfg").read_text()
    made_as = re.search(r"^command = .* -m venv (?:--\S+ )*(.+)$", settings, re.MULTILINE)
    if made_as and made_as[1] != str(VENV):
        return f"it was made as {made_as[1]}"  # the scripts in it name that folder
    return None


def site_packages() -> Path:
    (folder,) = VENV.glob("lib/python3.*/site-packages")
    return folder


def make_fingerprint() -> str:
    sources = [REQUIREMENTS, DETECTRON2_WHEEL, ROOT / "pyproject.toml", ROOT / "setup.py", Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def is_intact(dist_info: Path) -> bool:
    """Whether every file that a distribution's RECORD lists is there, in its recorded size."""
    try:
        with (dist_info / "RECORD").open(newline="") as record:
            return all(
                not size or os.stat(f"{dist_info.parent}/{path}").st_size == int(size)
                for path, _, size in csv.reader(record)
            )
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def only_one_process() -> Iterator[None]:
    """Wait until no other set-up of this folder is under way."""
    with open(__file__) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this folder", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems
            print(f"this file system has no locks ({error}): do not start a second set-up", flush=True)
        yield


def make_venv(reason: str) -> None:
    if VENV.is_symlink():
        raise SetupError(
            f"{VENV} is a link, and what it leads to would be emptied ({reason}); remove the link"
        )
    version = ".".join(str(number) for number in sys.version_info[:3])
    print(f"[1/4] Making {VENV} with Python {version} ({reason})", flush=True)
    free = shutil.disk_usage(ROOT).free
    if not VENV.exists() and free < DISK_NEEDED:
        raise SetupError(f"{ROOT} has {free / 1e9:.1f} GB free, {DISK_NEEDED / 1e9:.0f} GB are needed")
    run(sys.executable, "-m", "venv", "--clear", VENV)


def install_everything(detectron2: str | None) -> None:
    site = site_packages()
    forget_damaged(site)
    if not any(site.glob("pip-*.dist-info")):
        run(PYTHON, "-m", "ensurepip")
    keep_detectron2 = detectron2 is None and any(site.glob("detectron2-*.dist-info"))  # upstream's
    if not keep_detectron2:
        run(PYTHON, "-m", "pip", "uninstall", "-qq", "--yes", "detectron2", "sal-detectron2")
    with tempfile.TemporaryDirectory(prefix=".downloads-", dir=VENV) as downloads:  # /tmp may be too small
        print("[2/4] Installing requirements.txt (in all 3.3 GB to download, 6.7 GB on disk)", flush=True)
        # Some come as sources: they are built with the pinned setuptools, not with whichever is newest.
        pip_install("--constraint", REQUIREMENTS, "setuptools", downloads=downloads)
        pip_install("--no-build-isolation", "--requirement", REQUIREMENTS, downloads=downloads)
        print("[3/4] Installing detectron2 and avis", flush=True)
        if not keep_detectron2:
            install_detectron2(site, detectron2 or "wheel", downloads)
        pip_install("--no-build-isolation", "--no-deps", "--editable", ROOT, downloads=downloads)
    print("[4/4] Importing everything once", flush=True)
    run(PYTHON, "-W", "ignore", "-c", f"import {IMPORTS}")


def forget_damaged(site: Path) -> None:
    """Delete the metadata of damaged distributions, whereupon pip takes them for missing."""
    for dist_info in site.glob("*.dist-info"):
        if not is_intact(dist_info):
            print(f"repairing {dist_info.stem}", flush=True)
            shutil.rmtree(dist_info)
    for leftover in [*site.glob("~*"), *VENV.glob(".downloads-*")]:  # of an interrupted run
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def install_detectron2(site: Path, choice: str, downloads: str) -> None:
    if choice == "upstream":
        pip_install("--no-build-isolation", "--no-deps", DETECTRON2_UPSTREAM, downloads=downloads)
        return
    # The wheel is tagged for CPython 3.10 for the sake of one extension module, which goes.
    platform = ["--python-version", "3.10", "--implementation", "cp", "--abi", "none", "--platform", "any"]
    target = ["--no-deps", "--only-binary", ":all:", *platform, "--upgrade", "--target", site]
    pip_install(*target, "--require-hashes", "--requirement", DETECTRON2_WHEEL, downloads=downloads)
    drop_unused_files(site)


def drop_unused_files(site: Path) -> None:
    """Delete the wheel's extension module and its top-level `tools`, which would hide a project's own."""
    (record,) = site.glob("sal_detectron2-*.dist-info/RECORD")
    unused = re.compile(r"tools/|detectron2/_C\.")
    lines = record.read_text().splitlines(keepends=True)
    shutil.rmtree(site / "tools")
    for extension in site.glob("detectron2/_C.*"):
        extension.unlink()
    record.write_text("".join(line for line in lines if not unused.match(line)))


def pip_install(*arguments: str | Path, downloads: str) -> None:
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    run(PYTHON, "-m", "pip", "install", *quiet, *arguments, TMPDIR=downloads)


def run(*command: str | Path, **environment: str) -> None:
    """Run a command free of the caller's Python and pip settings that would lead packages elsewhere."""
    misleading = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_HASHES"}
    inherited = {key: value for key, value in os.environ.items() if key not in misleading}
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    try:
        subprocess.run(command, env=inherited | settings | environment, check=True)
    except subprocess.CalledProcessError as error:
        name = " ".join(str(part) for part in command)
        raise SetupError(f"this failed, see above; run again to go on:\n  {name}") from error


def write_ready() -> None:
    site = site_packages()
    intact = sorted(path.name for path in site.glob("*.dist-info") if is_intact(path))
    partial = READY.with_suffix(".partial")
    partial.write_text("\n".join([make_fingerprint(), *intact]) + "\n")
    os.replace(partial, READY)


if __name__ == "__main__":
    main()
