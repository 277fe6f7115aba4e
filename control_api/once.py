"""`Idempotency-Key`: what a request makes is made once, however often the request comes.

(IETF draft: draft-ietf-httpapi-idempotency-key-header.)
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, TypeVar

import anyio
from anyio import to_thread
from fastapi import Depends, Header, Request

from control_api.dependencies import Caller, UseCases
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.idempotency import IdempotencyKey

T = TypeVar("T")

# What tells bodies apart that are too large to be looked at.
_OF_BODIES = ("content-length", "content-digest", "repr-digest", "upload-length")

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A key of your choice for this request, up to 255 printable ASCII characters."
        " Repeating the request with the same key within 24 hours has no further effect.",
    ),
]


class Once:
    """Carries a request out, unless it has been carried out before."""

    def __init__(
        self, request: Request, use_cases: ControlUseCases, caller: Actor, *, key: str | None
    ) -> None:
        self._request = request
        self._use_cases = use_cases
        self._caller = caller
        self._key = key

    async def __call__(
        self, make: Callable[[], Awaitable[T]], *, id_of: Callable[[T], str], again: Callable[[str], T]
    ) -> T:
        """What `make` makes; what it made before, if it did: `again` looks it up (in a thread) by `id_of`.

        Raises:
            InvalidOption, IdempotencyKeyReused, IdempotencyKeyPending; and whatever `make` raises.
        """
        if self._key is None:
            return await make()
        key, keys = self._named(self._key, await self._body()), self._use_cases.idempotency
        earlier = await to_thread.run_sync(keys.claim, key, self._use_cases.clock())
        if earlier is not None:
            return await to_thread.run_sync(again, earlier)
        try:
            made = await make()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(keys.release, key)
            raise
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(keys.settle, key, id_of(made))
        return made

    async def in_thread(
        self,
        make: Callable[[], T],
        *,
        id_of: Callable[[T], str],
        again: Callable[[str], T],
        body: bytes | None = None,
    ) -> T:
        """The same of what blocks. A digest of the body is stored: where there are secrets in it, `body` is
        what stands for it."""
        told = await self._body() if body is None else body
        return await to_thread.run_sync(partial(self.blocking, make, id_of=id_of, again=again, body=told))

    def blocking(
        self, make: Callable[[], T], *, id_of: Callable[[T], str], again: Callable[[str], T], body: bytes
    ) -> T:
        """The same of what blocks, in this thread."""
        if self._key is None:
            return make()
        key, keys = self._named(self._key, body), self._use_cases.idempotency
        earlier = keys.claim(key, self._use_cases.clock())
        if earlier is not None:
            return again(earlier)
        try:
            made = make()
        except BaseException:
            keys.release(key)
            raise
        keys.settle(key, id_of(made))
        return made

    def _named(self, key: str, body: bytes) -> IdempotencyKey:
        url = self._request.url
        line = f"{self._request.method} {url.path}?{url.query}\n".encode()
        return IdempotencyKey.of(key, line + body, actor=self._caller)

    async def _body(self) -> bytes:
        if self._request.scope["route"].body_field is not None:  # FastAPI has read it already
            return await self._request.body()
        return "\n".join(self._request.headers.get(name, "") for name in _OF_BODIES).encode()


async def _once(
    request: Request, use_cases: UseCases, caller: Caller, idempotency_key: KeyHeader = None
) -> Once:
    return Once(request, use_cases, caller, key=idempotency_key)


OnceOnly = Annotated[Once, Depends(_once)]
