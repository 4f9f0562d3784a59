"""What mkdocs.yml needs to make a site of these pages: links as on GitHub, and the index as navigation.

Pages link to files outside docs/, such as ../configs/README.md. On the site these files lie in the folder
`repository/`, as far as links lead there, and links are rewritten to it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
OUTSIDE = "repository"
LINK = re.compile(r"(\]\()([^)\s#:]+)")
INDEX_ENTRY = re.compile(r"^## (?P<section>.+)$|^- \[(?P<title>[^\]]+)\]\((?P<target>[^)]+)\)", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings GitHub's anchors, and take the navigation from index.md."""
    config.mdx_configs["toc"] = {"slugify": github_anchor}
    config.nav = navigation()
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ to which links lead, and those to which these lead."""
    pages, known = list(DOCS.glob("*.md")), set()
    while pages:
        page = pages.pop()
        for path in targets(page):
            if path.is_relative_to(DOCS) or path in known:
                continue
            known.add(path)
            files.append(File.generated(config, uri(path), abs_src_path=str(path)))
            if path.suffix == ".md":
                pages.append(path)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Point the links between pages to where their targets lie on the site."""
    place = page.file.src_uri
    inside, _, rest = place.partition("/")
    folder = (ROOT / rest if inside == OUTSIDE else DOCS / place).parent

    def rewritten(match: re.Match) -> str:
        path = (folder / match[2]).resolve()
        return match[1] + os.path.relpath(uri(path), os.path.dirname(place)) if path.is_file() else match[0]

    return LINK.sub(rewritten, markdown)


def github_anchor(heading: str, separator: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def navigation() -> list[dict[str, object]]:
    """The sections of index.md with their pages."""
    sections: list[dict[str, object]] = [{"Documentation": "index.md"}]
    for entry in INDEX_ENTRY.finditer((DOCS / "index.md").read_text()):
        if entry["section"]:
            sections.append({entry["section"]: (pages := [])})
        elif entry["target"].endswith(".md"):
            pages.append({entry["title"]: uri((DOCS / entry["target"]).resolve())})
    return sections


def targets(page: Path) -> Iterator[Path]:
    """The files of this repository to which a page links."""
    for match in LINK.finditer(page.read_text()):
        path = (page.parent / match[2]).resolve()
        if path.is_file() and path.is_relative_to(ROOT):
            yield path


def uri(path: Path) -> str:
    """Where a file of the repository lies on the site."""
    inside = path.is_relative_to(DOCS)
    return path.relative_to(DOCS).as_posix() if inside else f"{OUTSIDE}/{path.relative_to(ROOT).as_posix()}"
