"""Tables on standard output: cut to the terminal, in full where the output goes elsewhere."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from skein.cli.remote.failures import printable
from skein.cli.terminal.wording import as_json

# Columns of the terminal.
_MAX_CELL = 60
_GAP = 3

_MORE = "…"

Row = Sequence[str | None]
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Column:
    """`type` goes below the name; numbers stand to the right. One that is `optional` is left out where
    there is nothing in it. One with a `least` width is cut to no less where a table does not fit."""

    name: str
    type: str = ""
    right: bool = False
    optional: bool = False
    least: int | None = None


@dataclass(frozen=True, slots=True)
class _Filled:
    """A column with what is to be seen of it."""

    head: Text
    cells: Sequence[Text]
    right: bool = False
    least: int | None = None

    @property
    def width(self) -> int:
        lines = (line for text in (self.head, *self.cells) for line in text.plain.split("\n"))
        return max(map(cell_len, lines)) + _GAP

    def cut(self, more: int = 0) -> "_Filled":
        """To its least width, and so much more."""
        if self.least is None:
            return self
        width = self.least + more
        cells = [Text(_cut(cell.plain, width), cell.style) for cell in self.cells]
        return replace(self, cells=cells)


def show_table(columns: Sequence[Column], rows: Iterable[Row], *, null: str = "") -> int:
    """Print them, with `null` for None; returns how many columns in the middle did not fit."""
    console = Console(highlight=False)
    limit = _MAX_CELL if console.is_terminal else None
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    filled = [
        _Filled(
            _head(column, limit), [_cell(value, limit, null) for value in cells], column.right, column.least
        )
        for column, cells in zip(columns, values, strict=True)
        if any(cells) or not column.optional
    ]
    front, back = _fitting(filled, console.width + _GAP) if console.is_terminal else (filled, [])
    hidden = len(filled) - len(front) - len(back)
    more = [_Filled(Text(_MORE), [Text(_MORE)] * len(filled[0].cells))] if hidden else []
    shown = [*front, *more, *back]
    console.width = sum(column.width for column in shown)
    with console.capture() as printed:
        console.print(_table(shown))
    for line in printed.get().splitlines():
        typer.echo(line.rstrip())
    return hidden


def show_items(
    items: Sequence[Item], cells: Mapping[str | Column, Callable[[Item], str]], *, json: bool = False
) -> None:
    """A row an item, with what `cells` makes of it below the names of columns; or JSON, as the API has it."""
    if json:
        typer.echo(as_json(items))
        return
    columns = [name if isinstance(name, Column) else Column(name) for name in cells]
    show_table(columns, [[cell(item) for cell in cells.values()] for item in items])


def number(name: str) -> Column:
    """A column of numbers, which stand to the right."""
    return Column(name, right=True)


def _fitting(columns: Sequence[_Filled], room: int) -> tuple[list[_Filled], list[_Filled]]:
    """As many of the first and of the last columns as there is room for, but one at least. Where the next one
    of a side does not fit, the other side goes on."""
    if sum(column.width for column in columns) <= room:
        return list(columns), []
    front: list[_Filled] = [columns[0]]
    back: list[_Filled] = []
    rest = deque(columns)
    room -= rest.popleft().width + cell_len(_MORE) + _GAP
    while rest:
        first, last = rest[0].cut().width, rest[-1].cut().width
        if last <= room and not (first <= room and len(front) <= len(back)):
            back.append(rest.pop())
            room -= last
        elif first <= room:
            front.append(rest.popleft())
            room -= first
        else:
            break
    return [column.cut(room) for column in front], [column.cut(room) for column in reversed(back)]


def _table(columns: Sequence[_Filled]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column.head, justify="right" if column.right else "left", no_wrap=True)
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table


def _head(column: Column, limit: int | None) -> Text:
    name = Text(_cut(printable(column.name), limit), style="bold")
    return Text.assemble(name, "\n", (_cut(column.type, limit), "dim not bold")) if column.type else name


def _cell(value: str | None, limit: int | None, null: str) -> Text:
    return Text(null, style="dim") if value is None else Text(_cut(printable(value), limit))


def _cut(text: str, limit: int | None) -> str:
    if limit is None or cell_len(text) <= limit:
        return text
    return set_cell_size(text, limit - 1).rstrip() + _MORE
