"""Sending files to the server, in parts: a connection that breaks is taken up again where it broke."""

import base64
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

import typer

from flight_core.domain.errors import InvalidSource, UnreadableData
from schemas.uploads import Upload
from skein.cli.arguments import STANDARD_INPUT
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.failures import INTERRUPTED, CliError
from skein.cli.terminal.bars import transfer_bar

_PART_BYTES = 8 << 20
_PATIENCE_S = 60.0  # without a single byte that arrives
_LONGEST_PAUSE_S = 5.0
# Worth another try; the rest is not going to change.
_PASSING = frozenset(
    {"server_unreachable", "offset_mismatch", "checksum_mismatch", "deadline_exceeded", "cancelled"}
)

Show = Callable[[int], None]


def are_files(sources: Sequence[str]) -> bool:
    """Whether all of them are here, on this machine."""
    return all(source == STANDARD_INPUT or Path(source).expanduser().is_file() for source in sources)


def uploaded(api: Api, sources: Sequence[str]) -> list[str]:
    """The ids that the files have once they have been sent. Ctrl-C forgets what was sent.

    Raises:
        InvalidSource: one is not a file.
        UnreadableData: one is empty.
        CliError: the server refuses it, or was not there for a minute.
        typer.Exit: it was interrupted.
    """
    begun: list[str] = []
    try:
        for source in sources:
            _send(api, source, begun)
    except BaseException as error:
        for upload_id in begun:
            with suppress(CliError):
                api.delete(path_of("uploads", upload_id))
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
        raise
    return begun


def _send(api: Api, source: str, begun: list[str]) -> None:
    with ExitStack() as stack:
        name, size_bytes, file = "standard input", None, sys.stdin.buffer
        if source != STANDARD_INPUT:
            path = Path(source).expanduser()
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise InvalidSource(f"'{source}' cannot be sent: {error.strerror}; name a file") from None
            name, size_bytes = path.name, path.stat().st_size
        first = file.read(_PART_BYTES)
        if not first:
            raise UnreadableData(f"{name} is empty")
        query = urlencode({"name": name.replace("\\", "_")[:200]})
        length = {} if size_bytes is None else {"Upload-Length": str(size_bytes)}
        headers = {"Upload-Complete": "?0", **length}
        upload = api.send(Upload, "POST", f"{path_of('uploads')}?{query}", headers=headers)
        begun.append(upload.id)
        show = stack.enter_context(transfer_bar(f"sending {name}", size_bytes))
        _send_all(api, upload.id, first, file, show)


def _send_all(api: Api, upload_id: str, part: bytes, file: BinaryIO, show: Show) -> None:
    """`part`, and what follows it in the file."""
    offset = 0
    while part:
        following = file.read(_PART_BYTES)
        _send_part(api, upload_id, offset, part, last=not following)
        offset += len(part)
        show(offset)
        part = following


def _send_part(api: Api, upload_id: str, start: int, part: bytes, *, last: bool) -> None:
    """However often it takes."""
    path = path_of("uploads", upload_id)
    upload = Upload.model_construct(offset=start, complete=False)
    patience = time.monotonic() + _PATIENCE_S
    pause_s = 0.1
    while not upload.complete and (last or upload.offset < start + len(part)):
        rest = part[upload.offset - start :]
        digest = base64.b64encode(hashlib.sha256(rest).digest()).decode()
        headers = {
            "Upload-Offset": str(upload.offset),
            "Upload-Complete": "?1" if last else "?0",
            "Content-Digest": f"sha-256=:{digest}:",
            "Content-Type": "application/partial-upload",
        }
        try:
            upload = api.send(Upload, "PATCH", path, content=rest, headers=headers)
        except CliError as error:
            if error.code not in _PASSING or time.monotonic() > patience:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            with suppress(CliError):
                found = api.get(Upload, path)
                patience += _PATIENCE_S if found.offset > upload.offset else 0.0
                upload = found
