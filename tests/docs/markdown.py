"""Reading the Markdown pages as their readers do: sections, code blocks, tables, links."""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code and the anchor of the section that it is in."""

    section: str
    language: str
    text: str

    @property
    def path(self) -> str | None:
        """The file that the first line of a module names."""
        match = re.match(r"# (\S+\.(?:py|yaml))\n", self.text)
        return match[1] if match else None


def code_blocks(page: Path) -> list[Block]:
    text = page.read_text()
    headings = [(match.start(), anchor) for match, anchor in _headings(text)]
    return [Block(_section_at(match.start(), headings), match[1], match[2]) for match in FENCE.finditer(text)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {anchor for _, anchor in _headings(page.read_text())}


def links(page: Path) -> list[str]:
    """The targets of all links and pictures; code is none."""
    return LINK.findall(INLINE_CODE.sub("", FENCE.sub("", page.read_text())))


def table_below(page: Path, heading: str) -> list[dict[str, str]]:
    """The rows of the first table of a section, by column."""
    section = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _headings(text: str) -> list[tuple[re.Match, str]]:
    code = [match.span() for match in FENCE.finditer(text)]
    found, used = [], {}
    for match in HEADING.finditer(text):
        if any(start <= match.start() < end for start, end in code):
            continue
        anchor = re.sub(r"[^\w\- ]", "", match[1].lower()).replace(" ", "-")
        number = used[anchor] = used.get(anchor, -1) + 1
        found.append((match, f"{anchor}-{number}" if number else anchor))
    return found


def _section_at(position: int, headings: list[tuple[int, str]]) -> str:
    return [anchor for start, anchor in headings if start < position][-1]
