"""What the commands about backups show."""

from collections.abc import Iterator
from contextlib import contextmanager

from skein.backup import Advance, Backup
from skein.cli.terminal.bars import bytes_bar
from skein.cli.terminal.wording import size


@contextmanager
def copying(description: str) -> Iterator[Advance]:
    with bytes_bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def summary(backup: Backup) -> str:
    datasets = f"{backup.datasets} dataset{'' if backup.datasets == 1 else 's'}"
    held = f"{datasets}, {backup.rows:,} rows in {backup.files} files, {size(backup.size_bytes)}"
    return held if backup.catalog else f"{held}; the catalog is elsewhere (SKEIN_CATALOG_URL)"
