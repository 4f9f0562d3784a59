"""The commit of the checkout that runs, and what in it is not committed."""

import os
import subprocess
from pathlib import Path
from typing import Any

import avis

_SECONDS = 30
# Names of files that are listed.
_LISTED = 100


def git_state(folder: Path | None = None) -> tuple[dict[str, Any], bytes]:
    """Find out which code runs.

    Args:
        folder: in the checkout, None: that of this package.

    Returns:
        "commit", whether it is "dirty", and the names of "untracked" files; of code that is not in git,
        commit None and "reason". And what git shows as the difference to the commit.
    """
    folder = folder or Path(avis.__file__).parent
    try:
        # A repository around an installed package is not the package's.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        root = Path(os.fsdecode(_git(folder, "rev-parse", "--show-toplevel")).strip())
        commit = _git(root, "rev-parse", "HEAD").decode().strip()
        difference = _git(root, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
        untracked = os.fsdecode(_git(root, "ls-files", "--others", "--exclude-standard", "-z")).split("\0")
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "dirty": None, "reason": _why(error)}, b""
    names = [name for name in untracked if name][:_LISTED]
    return {"commit": commit, "dirty": bool(difference), "untracked": names}, difference


def _git(folder: Path, *words: str) -> bytes:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS, env=environment)
    return done.stdout


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no git"
    if isinstance(error, subprocess.CalledProcessError):
        told = error.stderr.decode(errors="replace").strip().splitlines()
        return told[0] if told else str(error)
    return str(error)
