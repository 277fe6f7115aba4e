"""Uploads: files that clients send, in one go or in parts that go on where a connection broke."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from control_api.dependencies import Caller, Name, Options, UseCases
from control_api.once import OnceOnly
from control_api.options import ControlUseCases
from control_api.paging import Paged, newest_first
from control_api.queued import LOCATION, Waited
from control_api.upload_headers import check_type, has_body, headers_of, part_of
from flight_core.application.ingestion.uploads import DEFAULT_NAME, Part
from flight_core.domain.access import Actor
from flight_core.domain.dataset import SchemaPolicy, WriteMode
from flight_core.domain.errors import Cancelled, DeadlineExceeded, InvalidOption
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.upload import Upload
from schemas import ingestions
from schemas import uploads as wire
from schemas.http import API

router = APIRouter(prefix=API, tags=["uploads"])

_BYTES: dict[str, Any] = {
    "requestBody": {
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    }
}

FileName = Annotated[
    str,
    Query(description="The file name to use in error messages.", max_length=200, pattern=r"^[^/\\\x00]*$"),
]


@router.post("/uploads", status_code=201, openapi_extra=_BYTES)
async def create_upload(
    request: Request,
    response: Response,
    use_cases: UseCases,
    options: Options,
    caller: Caller,
    once: OnceOnly,
    name: FileName = DEFAULT_NAME,
) -> wire.Upload:
    """Create an upload. The body is its first part, or all of it: the upload is complete unless there is no
    body, `Upload-Complete` is `?0`, or `Upload-Length` announces more. A repetition with the same
    `Idempotency-Key` is answered with the upload as it is; its body is ignored."""
    uploads = use_cases.uploads
    check_type(request.headers)
    part = part_of(request.headers, offset=0, last=has_body(request.headers))
    begun: list[Upload] = []

    def create() -> Upload:
        begun.append(uploads.create(name=name, size_bytes=part.size_bytes, actor=caller))
        return begun[0]

    known = partial(uploads.get, actor=caller)
    upload = await once.in_thread(create, id_of=lambda made: made.id, again=known)
    if begun and (part.last is not False or has_body(request.headers)):
        upload = await uploads.receive(
            upload.id, part, _chunks(request, options.stall_timeout_s), actor=caller
        )
    reply = _told(response, upload, use_cases)
    response.headers["Location"] = reply.href
    return reply


@router.get("/uploads")
def list_uploads(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> wire.UploadPage:
    """The uploads of the caller, newest first; administrators see all uploads."""
    uploads = use_cases.uploads
    found = uploads.list(actor=caller)
    page, following = paging.page(found, place=newest_first)
    items = [_answer(upload, ttl=uploads.limits.ttl) for upload in page]
    return wire.UploadPage(items=items, next=following)


@router.get("/uploads/{upload_id}")
def get_upload(upload_id: str, response: Response, use_cases: UseCases, caller: Caller) -> wire.Upload:
    """The current state of an upload. HEAD returns where to continue, as `Upload-Offset`, and whether
    anything is missing, as `Upload-Complete`."""
    return _told(response, use_cases.uploads.get(upload_id, actor=caller), use_cases)


@router.patch("/uploads/{upload_id}", openapi_extra=_BYTES)
async def continue_upload(
    upload_id: str,
    request: Request,
    response: Response,
    use_cases: UseCases,
    options: Options,
    caller: Caller,
) -> wire.Upload:
    """Send the part at `Upload-Offset`. `Upload-Complete: ?1` marks the last part; without it the upload is
    complete when `Upload-Length` is reached."""
    check_type(request.headers)
    part = part_of(request.headers)
    chunks = _chunks(request, options.stall_timeout_s)
    upload = await use_cases.uploads.receive(upload_id, part, chunks, actor=caller)
    return _told(response, upload, use_cases)


@router.delete("/uploads/{upload_id}", status_code=204)
def delete_upload(upload_id: str, use_cases: UseCases, caller: Caller) -> None:
    """Delete an upload."""
    use_cases.uploads.delete(upload_id, actor=caller)


@router.post(
    "/datasets/{name}/upload",
    status_code=202,
    openapi_extra=_BYTES,
    responses=LOCATION,
)
async def upload_to_dataset(
    name: Name,
    request: Request,
    use_cases: UseCases,
    limits: Options,
    caller: Caller,
    waiting: Waited,
    once: OnceOnly,
    mode: Annotated[ingestions.WriteMode, Query(description="What happens to the existing rows.")] = "append",
    keys: Annotated[
        list[str] | None,
        Query(description="Key columns of the modes upsert and replace_partitions. Repeatable."),
    ] = None,
    schema_policy: ingestions.SchemaPolicy = "refuse",
    format: Annotated[
        str | None, Query(description="The format; detected from the content if left out.")
    ] = None,
    options: Annotated[str, Query(description="Format options, as a JSON object.")] = "{}",
    filename: FileName = DEFAULT_NAME,
) -> ingestions.Ingestion:
    """Send a file as the body, and queue a job that ingests it. If the connection breaks, nothing is kept:
    send large files to `/uploads`, where a broken upload can be resumed."""
    check_type(request.headers)
    source = SourceSpec("upload", {"id": ""})
    wanted = IngestionRequest(
        name,
        source,
        WriteMode(mode),
        format,
        _options_of(options),
        keys=tuple(keys or ()),
        schema_policy=SchemaPolicy(schema_policy),
    )
    part = part_of(request.headers, offset=0, last=True)

    async def receive() -> Ingestion:
        await to_thread.run_sync(partial(use_cases.ingestions.start.check, wanted, actor=caller))
        upload = await _whole(use_cases, caller, filename, part, _chunks(request, limits.stall_timeout_s))
        whole = replace(wanted, source=SourceSpec("upload", {"id": upload.id}))
        return await to_thread.run_sync(partial(use_cases.ingestions.start, whole, actor=caller))

    known = partial(use_cases.ingestions.get, actor=caller)
    return await waiting.ingestion(await once(receive, id_of=lambda made: made.id, again=known))


async def _whole(
    use_cases: ControlUseCases, caller: Actor, name: str, part: Part, chunks: AsyncIterator[bytes]
) -> Upload:
    """A complete upload, or none."""
    uploads = use_cases.uploads
    create = partial(uploads.create, name=name, size_bytes=part.size_bytes, actor=caller)
    upload = await to_thread.run_sync(create)
    try:
        return await uploads.receive(upload.id, part, chunks, actor=caller)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(partial(uploads.delete, upload.id, actor=caller))
        raise


async def _chunks(request: Request, stall_timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it arrives.

    Raises:
        DeadlineExceeded: nothing has arrived for too long.
        Cancelled: the client has hung up.
    """
    stream = aiter(request.stream())
    while True:
        try:
            with anyio.fail_after(stall_timeout_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"nothing has arrived for {stall_timeout_s:g} s; go on where the upload broke off"
            ) from None
        except ClientDisconnect:
            raise Cancelled("the client hung up") from None
        if chunk is None:
            return
        yield chunk


def _told(response: Response, upload: Upload, use_cases: ControlUseCases) -> wire.Upload:
    limits = use_cases.uploads.limits
    reply = _answer(upload, ttl=limits.ttl)
    response.headers.update(headers_of(reply, max_bytes=limits.max_bytes))
    return reply


def _options_of(text: str) -> dict[str, object]:
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise InvalidOption(f'\'options\' is {text[:80]!r}; write a JSON object such as {{"delimiter": ";"}}')
    return options


def _answer(upload: Upload, *, ttl: timedelta) -> wire.Upload:
    return wire.Upload(
        id=upload.id,
        href=f"{API}/uploads/{upload.id}",
        name=upload.name,
        offset=upload.offset,
        size_bytes=upload.size_bytes,
        complete=upload.complete,
        actor=upload.actor,
        created_at=upload.created_at,
        expires_at=upload.updated_at + ttl,
    )
