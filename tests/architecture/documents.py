"""The documentation as the tests see it: pages, headings, links, blocks of code."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(```+|~~~+)(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_CODE_SPAN = re.compile(r"`[^`\n]*`")


def pages() -> list[Path]:
    """Every page there is, the ones at the top of the repository included."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of the blocks of code, in order."""
    return [(match.group(2), match.group(3)) for match in _FENCE.finditer(page.read_text())]


def headings(page: Path) -> list[str]:
    """The headings as they are written, in order."""
    return [match.group(2) for match in _HEADING.finditer(prose(page))]


def sections(page: Path) -> dict[str, str]:
    """The text below each heading, up to the next one of any level."""
    parts = _HEADING.split(prose(page))[1:]  # level, heading, text, level, heading, text, ...
    return dict(zip(parts[1::3], parts[2::3], strict=True))


def anchors(page: Path) -> set[str]:
    """What links can name within a page, by the rule of GitHub."""
    found: set[str] = set()
    for heading in headings(page):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(next(one for one in _numbered(anchor) if one not in found))
    return found


def links(page: Path) -> list[str]:
    """The targets of links and pictures, outside of code."""
    text = _CODE_SPAN.sub("``", prose(page))
    return [match.group(1) or match.group(2) for match in _LINK.finditer(text)]


def _numbered(anchor: str) -> Iterator[str]:
    yield anchor
    number = 0
    while True:
        number += 1
        yield f"{anchor}-{number}"
