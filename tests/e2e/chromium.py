"""A page in headless Chromium, driven through its DevTools protocol."""

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_S = 60.0
# Without these it looks for hosts on the internet, and for a sandbox that a container may not give it.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Refused(AssertionError):
    """By the browser, with its reason: a page that is being loaded runs no script yet."""


class Page:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events: list[Any] = []

    def send(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(DEADLINE_S))
            if answer.get("id") == number:
                if "error" in answer:
                    raise Refused(answer["error"]["message"])
                return answer["result"]
            self.events.append(answer)

    def complaints(self) -> list[Any]:
        """What the browser has said about the page in its console, beside what scripts said."""
        self.send("Log.enable")  # tells what there was so far before it answers, or soon after
        self.value("new Promise((done) => setTimeout(done, 100))")
        return [event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"]

    def value(self, script: str) -> Any:
        """What an expression is on the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """The value of an expression once it is true."""
        end, found = time.monotonic() + DEADLINE_S, None
        while not found:
            assert time.monotonic() < end, (
                f"{script} did not become true; {self.value('document.body.innerText')}"
            )
            with suppress(Refused):
                found = self.value(script)
            time.sleep(0 if found else 0.02)
        return found


@contextmanager
def opened(url: str, folder: Path) -> Iterator[Page]:
    """A page whose scripts have run; `folder` holds the profile."""
    assert CHROMIUM
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_page_of(folder / "DevToolsActivePort", process), max_size=None) as socket:
            page = Page(socket)
            page.until("location.protocol === 'http:' && document.readyState === 'complete'")
            yield page
    finally:
        process.terminate()
        process.wait(30)


def _page_of(told: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        if told.exists() and (lines := told.read_text().splitlines()):
            with urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=DEADLINE_S) as reply:
                pages = [each for each in json.load(reply) if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")
