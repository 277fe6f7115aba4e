"""What goes wrong on the client's side, and how it is told: `error: [code] message`, one line."""

import re

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


class CliError(Exception):
    """A failure with a code: the server's own, or one of those in `docs/reference/cli.md`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"[{self.code}] {super().__str__()}"


def printable(text: str) -> str:
    """With control characters written out: what others stored must not steer a terminal."""
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(error: Exception) -> str:
    return printable(re.sub(r"\s*\n\s*", " ", f"error: {error}".strip()))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return _NAMED.get(character) or character.encode("unicode_escape").decode()


_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
