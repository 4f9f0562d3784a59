"""Serving the page on this machine: without telemetry, and without asking anybody else for anything."""

import importlib.util
import logging
import os
import re
import socket
import threading
from typing import Any

from avis.app.service import PredictionService

logger = logging.getLogger(__name__)

_INSTALL = "bash tools/setup_env.sh --app, or pip install 'avis[app]'"


def require_gradio() -> None:
    """Make sure that Gradio is there.

    Raises:
        ValueError: it is not; the message says how to get it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ValueError(f"the page needs Gradio, which is not installed: {_INSTALL}")


def free_port(host: str, port: int) -> int:
    """Make sure that a port can be listened on; 0 stands for any.

    Raises:
        OSError: it is in use, or this machine has no such address.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = f"{host}:{port} cannot be listened on ({error.strerror})"
            raise OSError(f"{reason}: give another --port or --host") from error
        return probe.getsockname()[1]


class NoForeignFiles:
    """Refuses to fetch files of other servers, which Gradio would do for whoever asks. An ASGI middleware."""

    def __init__(self, app: Any) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if re.search(r"/(file|proxy)=\w+:/", scope.get("path", "")):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"not allowed"})
        else:
            await self._app(scope, receive, send)


def serve(service: PredictionService, host: str, port: int, threshold: float) -> None:
    """Show the page until the program is ended.

    Args:
        service: that does its work.
        host: address to listen on; of this machine alone, "127.0.0.1".
        port: that is free.
        threshold: of the score, at first.
    """
    # Gradio reads these when it is imported. Its uploads go to the workspace, and nothing else is served.
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": str(service.workspace.folder),
        "GRADIO_EXAMPLES_CACHE": str(service.workspace.folder),
    }
    from starlette.middleware import Middleware

    from avis.app.page import CSS, build_page, look

    page = build_page(service, threshold)
    page.launch(
        server_name=host, server_port=port, share=False, inline=False, quiet=True, show_error=False,
        prevent_thread_lock=True, ssr_mode=False, pwa=False, enable_monitoring=False, run_history=False,
        max_file_size=service.limits.max_bytes, footer_links=[], theme=look(), css=CSS,
        app_kwargs={"middleware": [Middleware(NoForeignFiles)], "openapi_url": None},
    )  # fmt: skip
    try:
        logger.info("The page is at http://%s:%d; Ctrl-C ends it", f"[{host}]" if ":" in host else host, port)
        threading.Event().wait()
    finally:
        page.close(verbose=False)
