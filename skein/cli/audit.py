"""What `skein audit` prints."""

from collections.abc import Sequence

import typer

from schemas.audit import AuditEntry
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, when


def show(found: Sequence[AuditEntry], *, json: bool) -> None:
    if json:
        typer.echo(as_json(found))
        return
    titles = ("when", "who", "credential", "from", "action", "decision", "about", "times")
    show_table(
        [Column(title) for title in titles],
        [
            (
                when(each.at),
                each.actor or "?",
                each.credential,
                " ".join(filter(None, (each.door, each.address))),
                each.action,
                f"{each.decision} {each.code}".strip(),
                " ".join(filter(None, (each.subject, *each.datasets))),
                str(each.count),
            )
            for each in found
        ],
    )
