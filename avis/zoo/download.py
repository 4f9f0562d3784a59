"""Downloads that go on where they were cut off.

What has come so far is in a file of its own, beside it the server's mark of the version (its ETag, or when it
was last changed). A later request names both, so that no two versions are mixed (RFC 9110, If-Range).
"""

import http.client
import json
import logging
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

from tqdm import tqdm

logger = logging.getLogger(__name__)

# Times in a row that nothing comes before one gives up, and the seconds between two tries.
_TRIES, _PAUSES = 5, (1, 2, 5, 10)
_TIMEOUT = 30
_BLOCK = 2**16
_SECONDS_BETWEEN_LINES = 30
# Of a server that may do better later.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_UNSATISFIABLE = 416


class DownloadError(OSError):
    """A file cannot be downloaded; the message names its address and why."""


class _CutOffError(Exception):
    """The connection has ended too early."""


# Of a network that may do better soon; a name that is not found and a refused connection are not.
_PASSING_ERRORS = (
    _CutOffError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ssl.SSLError,
)


def download(address: str, partial: Path) -> bool:
    """Download a file, beginning with what is there of it.

    Args:
        address: of the file, http or https.
        partial: gets the content, and keeps what has come when the download fails or the process is killed.

    Returns:
        Whether it was put together from several connections.

    Raises:
        DownloadError: the server is not reached, has no such file, or breaks off again and again; or the disk
            has no room.
    """
    failures = connections = 0
    while True:
        before = _size(partial)
        try:
            goes_on = _receive(address, partial)
            return goes_on or connections > 0
        except (_CutOffError, http.client.HTTPException, OSError) as error:
            reason = _passing_reason(error, address)
        connections += 1
        failures = 1 if _size(partial) > before else failures + 1
        if failures == _TRIES:
            raise DownloadError(
                f"{address}: {reason}, {_TRIES} times in a row; {_size(partial) / 1e6:.1f} MB have come, the "
                "next try goes on from there"
            )
        logger.info("%s: %s; trying again", address, reason)
        time.sleep(_PAUSES[failures - 1])


def _passing_reason(error: Exception, address: str) -> str:
    """Why a connection has ended, if another may do better.

    Raises:
        DownloadError: none will.
    """
    if isinstance(error, DownloadError):
        raise error
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code not in _PASSING:
            raise DownloadError(f"{address}: the server says {error.code} {error.reason}") from error
        return f"the server says {error.code} {error.reason}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, _PASSING_ERRORS) and not isinstance(cause, ssl.SSLCertVerificationError):
        return str(cause) or type(cause).__name__
    if isinstance(error, urllib.error.URLError):
        raise DownloadError(f"{address} cannot be reached ({cause})") from error
    raise error  # of the disk


def _receive(address: str, partial: Path) -> bool:
    """Append what is missing, or all anew if the server has another version by now; whether it went on."""
    have, mark = _size(partial), _read_mark(partial, address)
    request = urllib.request.Request(address, headers={"User-Agent": "avis", "Accept-Encoding": "identity"})
    if have and mark:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", mark)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != _UNSATISFIABLE:
            raise
        error.close()
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return True  # all of it has come already
        partial.unlink()
        raise _CutOffError("the part that was there does not belong to the file") from error
    with response:
        goes_on = response.status == http.client.PARTIAL_CONTENT
        if response.headers.get_content_type() == "text/html":
            raise DownloadError(f"{address}: the server gives a web page, not a file")
        if not goes_on:
            have = 0
            partial.unlink(missing_ok=True)
            _write_mark(partial, address, response.headers)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _check_room(partial, (total or 0) - have)
        _append(response, partial, have, total, address)
    return goes_on


def _append(
    response: http.client.HTTPResponse, partial: Path, have: int, total: int | None, address: str
) -> None:
    with partial.open("ab") as file, _bar(address, have, total) as bar:
        while block := response.read1(_BLOCK):
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and _size(partial) != total:
        raise _CutOffError(f"the connection ended after {_size(partial) / 1e6:.1f} of {total / 1e6:.1f} MB")


def _bar(address: str, have: int, total: int | None) -> tqdm:
    """How much has come and how long the rest will take: a bar, off a terminal a line every half minute."""
    is_seen = sys.stderr.isatty()
    return tqdm(
        desc=address.rpartition("/")[2][:40],
        initial=have,
        total=total,
        unit="B",
        unit_scale=True,
        delay=1 if is_seen else _SECONDS_BETWEEN_LINES,
        mininterval=0.2 if is_seen else _SECONDS_BETWEEN_LINES,
        bar_format=None if is_seen else "{desc}: {n_fmt} of {total_fmt}, {remaining} left, {rate_fmt}\n",
        leave=False,
    )


def _check_room(partial: Path, wanted: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if wanted > free:
        raise DownloadError(
            f"{partial.parent} has {free / 1e6:.0f} MB free, {wanted / 1e6:.0f} MB are needed: "
            "AVIS_CACHE can name another folder"
        )


def mark_file(partial: Path) -> Path:
    """Where the version of an unfinished file is noted."""
    return partial.with_name(f"{partial.name}.version")


def _write_mark(partial: Path, address: str, headers: Message) -> None:
    tag = headers.get("ETag", "")
    mark = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    mark_file(partial).write_text(json.dumps([address, mark]), encoding="utf-8")


def _read_mark(partial: Path, address: str) -> str:
    """The server's mark of what is there; "" where it is of another address, or cannot be told."""
    try:
        noted = json.loads(mark_file(partial).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return ""
    return noted[1] if isinstance(noted, list) and len(noted) == 2 and noted[0] == address else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
