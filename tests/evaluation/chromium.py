"""A headless Chromium to look at pages with: the system's own, driven by playwright."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def what_lacks() -> str:
    if importlib.util.find_spec("playwright") is None:
        return "there is no playwright (bash tools/setup_env.sh)"
    return "" if find_chromium() else "there is no Chromium (apt-get install chromium)"


needs_chromium = pytest.mark.skipif(bool(what_lacks()), reason=what_lacks())


class Visit(NamedTuple):
    """A tab; what its console and the browser's log have said, and the addresses that it has asked for."""

    page: Page
    messages: list[str]
    requests: list[str]


@contextmanager
def open_browser(width: int, dark: bool = False) -> Iterator[Visit]:
    """Start Chromium with an empty profile and a window of that width, and end it."""
    from playwright.sync_api import sync_playwright

    flags = ["--disable-gpu", "--disable-dev-shm-usage"]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=find_chromium(), args=flags) as browser,
    ):
        page = browser.new_page(
            viewport={"width": width, "height": 900},
            is_mobile=width < 600,
            color_scheme="dark" if dark else "light",
        )
        page.set_default_timeout(120_000)
        visit = Visit(page, [], [])
        page.on("console", lambda message: visit.messages.append(message.text))
        page.on("pageerror", lambda error: visit.messages.append(str(error)))
        page.on("request", lambda request: visit.requests.append(request.url))
        yield visit
