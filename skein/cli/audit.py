"""What `skein audit` prints."""

from collections.abc import Sequence

from schemas.audit import AuditEntry
from skein.cli.terminal.tables import Column, show_items
from skein.cli.terminal.wording import when


def show(found: Sequence[AuditEntry], *, json: bool) -> None:
    show_items(
        found,
        {
            "when": lambda entry: when(entry.at),
            "who": lambda entry: entry.actor or "?",
            Column("credential", optional=True): lambda entry: entry.credential,
            "from": lambda entry: " ".join(filter(None, (entry.door, entry.address))),
            "action": lambda entry: entry.action,
            "decision": lambda entry: f"{entry.decision} {entry.code}".strip(),
            "about": lambda entry: " ".join(filter(None, (entry.subject, *entry.datasets))),
            "times": lambda entry: str(entry.count),
        },
        json=json,
    )
