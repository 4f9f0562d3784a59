"""A server of files on this machine, which can do what servers and lines do wrong."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Files:
    """What is served, and what was asked for.

    Attributes:
        content: by path, such as "/a.pth".
        tag: of the version that is served.
        cut_after: bytes after which a connection ends; each answer takes one, an empty list none.
        failures: of the next answers, their status.
        seconds: that each block of an answer takes.
        content_type: of the answers.
        requests: the headers of each.
    """

    content: dict[str, bytes]
    tag: str = '"one"'
    cut_after: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    seconds: float = 0.0
    content_type: str = "application/octet-stream"
    requests: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    files: Files

    def do_GET(self) -> None:
        files = self.files
        files.requests.append({"path": self.path, **self.headers})
        content = files.content.get(self.path)
        if files.failures or content is None:
            self.send_error(files.failures.pop(0) if files.failures else 404)
            return
        begin = self._begin()
        if begin >= len(content) > 0 and begin:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Type", files.content_type)
        self.send_header("Content-Length", str(len(content) - begin))
        if files.tag:
            self.send_header("ETag", files.tag)
        self.end_headers()
        self._send(content[begin:], files.cut_after.pop(0) if files.cut_after else len(content))

    def _begin(self) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(wanted[1]) if wanted and self.headers.get("If-Range") == self.files.tag else 0

    def _send(self, content: bytes, number: int) -> None:
        try:
            for start in range(0, min(number, len(content)), 4096):
                self.wfile.write(content[start : min(start + 4096, number)])
                self.wfile.flush()
                time.sleep(self.files.seconds)
        except (BrokenPipeError, ConnectionResetError):  # who asked has ended
            pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Be silent."""


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[Files]:
    files = Files(content)
    handler = type("Handler", (_Handler,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    files.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_zoo(path: Path, address: str, **files: dict) -> Path:
    """A zoo file of one group; each file needs no more than its "file"."""
    lines = [f"own:\n  address: {address}/\n  files:"]
    for name, keys in files.items():
        keys = {"what": "a test", "config": "avis_R50.yaml", **keys}
        lines += [f"    {name}:", *(f'      {key}: "{value}"' for key, value in keys.items())]
    path.write_text("\n".join(lines))
    return path
