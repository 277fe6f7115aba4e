"""Progress bars, on standard error, and only where that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column


def bytes_bar(*more: ProgressColumn) -> Progress:
    """A bar that counts bytes; `more` columns come after the count."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        DownloadColumn(table_column=Column(no_wrap=True)),
        *more,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        expand=True,
    )


@contextmanager
def transfer_bar(description: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Call what it yields with the bytes that are done."""
    with bytes_bar(TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(description, total=total_bytes)
        yield lambda done_bytes: progress.update(task, completed=done_bytes)
