"""The credentials in an `Authorization` header, which HTTP and Flight have alike."""

import base64
import binascii

from flight_core.application.access.gate import Password, Shown, Token
from flight_core.domain.errors import Unauthenticated

_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def credentials_in(header: str) -> Shown:
    """None where the header is empty, or of a scheme that is not supported.

    Raises:
        Unauthenticated: Basic credentials that cannot be decoded.
    """
    scheme, _, credentials = header.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return Token(credentials.strip())
        case "basic":
            user, colon, password = decoded(credentials).partition(":")
            if colon:
                return Password(user, password)
            raise Unauthenticated("the Basic credentials have no colon between user and password")
    return None


def decoded(text: str) -> str:
    """UTF-8 text from base64 in the standard or the URL-safe alphabet; clients in Go leave the padding out.

    Raises:
        Unauthenticated: it is something else.
    """
    standard = text.strip().translate(_STANDARD_ALPHABET)
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthenticated("the credentials are not base64 of UTF-8 text") from None
