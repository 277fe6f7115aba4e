"""Flight tickets: all that is needed to run, sealed, so that any replica with the key can serve them.

    magic "SKT" | version 1 byte | HMAC-SHA256 32 bytes | header length 4 bytes | header JSON | attachment

The seal covers everything but itself. Numbers are big-endian. The attachment holds Arrow IPC: the
parameters of a query (one row), or the whole result of an inline ticket.
"""

import hashlib
import hmac
import json
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

MAGIC = b"SKT"
VERSION = 1

_SEAL_BYTES = hashlib.sha256().digest_size
_PREFIX_BYTES = len(MAGIC) + 1
_LENGTH = struct.Struct(">I")


class BadTicket(ValueError):
    """Not a ticket, damaged, sealed with another key, or out of date; the text says which."""


@dataclass(frozen=True, slots=True)
class QueryTicket:
    """A read at exact dataset versions: `pins` maps a dataset's key to its id and version."""

    query_id: str
    sql: str
    parameters: bytes = b""
    pins: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    row_limit: int | None = None
    narrow_decimals: bool = False
    part: tuple[int, int] | None = None  # index and count


@dataclass(frozen=True, slots=True)
class InlineTicket:
    """The result itself, of a statement that ran when it was planned: an Arrow IPC stream."""

    result: bytes


Ticket = QueryTicket | InlineTicket


class TicketSealer:
    """Seals tickets and opens them again. Whoever has the key can do both."""

    def __init__(self, key: bytes, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now

    def seal(self, ticket: Ticket, *, expires_at: int) -> bytes:
        """`expires_at` in seconds since 1970 UTC. Equal tickets give equal bytes."""
        header, attachment = _parts(ticket)
        text = json.dumps(
            {**header, "expires_at": expires_at}, sort_keys=True, separators=(",", ":")
        ).encode()
        body = _LENGTH.pack(len(text)) + text + attachment
        prefix = MAGIC + bytes([VERSION])
        return prefix + self._seal_of(prefix, body) + body

    def open(self, data: bytes) -> Ticket:
        """
        Raises:
            BadTicket
        """
        prefix, seal = data[:_PREFIX_BYTES], data[_PREFIX_BYTES : _PREFIX_BYTES + _SEAL_BYTES]
        body = data[_PREFIX_BYTES + _SEAL_BYTES :]
        if not prefix.startswith(MAGIC):
            raise BadTicket("this is not a ticket of this server")
        if prefix[len(MAGIC) :] != bytes([VERSION]):
            raise BadTicket("the ticket was made by another version of Skein")
        if not hmac.compare_digest(seal, self._seal_of(prefix, body)):
            raise BadTicket("the ticket was changed, cut short, or made by a server with another key")
        (length,) = _LENGTH.unpack_from(body)
        header = json.loads(body[_LENGTH.size : _LENGTH.size + length])
        if header["expires_at"] < self._now():
            raise BadTicket("the ticket has expired")
        return _ticket(header, body[_LENGTH.size + length :])

    def _seal_of(self, prefix: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, prefix + body, "sha256")


def _parts(ticket: Ticket) -> tuple[dict[str, Any], bytes]:
    match ticket:
        case QueryTicket(query_id, sql, parameters, pins, row_limit, narrow_decimals, part):
            header: dict[str, Any] = {"kind": "query", "query_id": query_id, "sql": sql, "pins": dict(pins)}
            if narrow_decimals:  # left out otherwise: tickets of earlier releases keep their bytes
                header["narrow_decimals"] = True
            if part is not None:
                header["part"] = list(part)
            return {**header, "row_limit": row_limit}, parameters
        case InlineTicket(result):
            return {"kind": "inline"}, result
        case _:
            assert_never(ticket)


def _ticket(header: dict[str, Any], attachment: bytes) -> Ticket:
    """Of a header whose seal was checked: its shape is the one `_parts` made."""
    if header["kind"] == "inline":
        return InlineTicket(attachment)
    pins = {key: (dataset_id, version) for key, (dataset_id, version) in header["pins"].items()}
    return QueryTicket(
        header["query_id"],
        header["sql"],
        attachment,
        pins,
        header["row_limit"],
        header.get("narrow_decimals", False),
        tuple(header["part"]) if "part" in header else None,
    )
