"""The pages make a site without warnings, and its links lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.examples import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs pip install 'mkdocs>=1.6,<2'"
)
HREF = re.compile(r'(?:href|src)="([^"#:]+)(?:#[^"]*)?"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_and_the_pages_outside_docs(site: Path):
    pages = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.name for path in site.glob("*.html")}
    outside = ("index.html", "configs/index.html", "datasets/index.html", "avis/config/keys.py")
    assert all((site / "repository" / name).is_file() for name in outside)


def test_links_lead_to_files_of_the_site(site: Path):
    broken = []
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its addresses are absolute
            continue
        for link in HREF.findall(page.read_text()):
            if link != "." and not (page.parent / link).exists():
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_the_navigation_is_the_index(site: Path):
    page = (site / "faq.html").read_text()
    assert {"Prepare data", "Evaluate and compare", "Streams"} <= set(re.findall(r">\s*([^<>]+?)\s*<", page))
    assert 'id="what-is-the-difference-between-feataudios-and-wavaudios"' in page
