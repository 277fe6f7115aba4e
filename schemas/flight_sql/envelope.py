"""Flight SQL messages travel inside a google.protobuf.Any, under a type URL of their own."""

from typing import TypeVar

from google.protobuf.any_pb2 import Any as Envelope
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from schemas.flight_sql import sql_pb2

M = TypeVar("M", bound=Message)

_PREFIX = "arrow.flight.protocol.sql."
_TYPE_URL = f"type.googleapis.com/{_PREFIX}"
_CLASSES: dict[str, type[Message]] = {
    name: GetMessageClass(descriptor) for name, descriptor in sql_pb2.DESCRIPTOR.message_types_by_name.items()
}


class MalformedMessage(ValueError):
    """Bytes that say they are Flight SQL and are not."""


def pack(message: Message) -> bytes:
    """`message` as clients expect it: serialised, inside an Any."""
    url = _TYPE_URL + type(message).DESCRIPTOR.name
    return Envelope(type_url=url, value=message.SerializeToString()).SerializeToString()


def unpack(data: bytes) -> Message | None:
    """The message in an Any; None if `data` is not an Any of Flight SQL at all.

    Raises:
        MalformedMessage: a Flight SQL type that does not exist, or a body that cannot be decoded.
    """
    envelope = Envelope()
    try:
        envelope.ParseFromString(data)
    except DecodeError:
        return None
    name = envelope.type_url.rpartition("/")[2]
    if not name.startswith(_PREFIX):
        return None
    kind = _CLASSES.get(name.removeprefix(_PREFIX))
    if kind is None:
        raise MalformedMessage(f"'{name[:100]}' is not a Flight SQL message this server knows")
    return decode(kind, envelope.value)


def given(message: Message, name: str) -> str | None:
    """An optional field; None if it was left out."""
    return getattr(message, name) if message.HasField(name) else None


def decode(kind: type[M], data: bytes) -> M:
    """A bare message, as the bodies of Flight's own actions are.

    Raises:
        MalformedMessage: `data` cannot be decoded.
    """
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise MalformedMessage(f"{len(data)} bytes that do not decode as {name}") from None
    return message
