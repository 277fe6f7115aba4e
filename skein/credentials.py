"""Who may do what, as settings write it: `NAME/SCOPE+SCOPE@DATASET+DATASET=SECRET`.

All of it raises ValueError where a text is none such; the message tells no secret.
"""

import re

from flight_core.adapters.authentication.static import ClaimGrant, Credential
from flight_core.domain.access import ALL_SCOPES, EVERYTHING, OIDC_PREFIX, RESERVED_NAMES, Scope

# Of dataset names: `*`, `?` and `[...]` stand for others.
_PATTERN = re.compile(r"[A-Za-z0-9_\-*?\[\]!]+")


def credential(entry: str, kind: str) -> Credential:
    """`NAME=SECRET`, `NAME/read+write=SECRET` or `NAME/read@sales_*+orders=SECRET`."""
    setting = f"SKEIN_{kind.upper()}"
    who, equals, secret = entry.partition("=")
    name, slash, grant = who.partition("/")
    if not (equals and name and secret):
        raise ValueError(
            f"an entry of {setting} is not NAME=SECRET, NAME/SCOPE+SCOPE=SECRET or"
            " NAME/SCOPE@DATASET+DATASET=SECRET; entries are separated by commas"
        )
    if name in RESERVED_NAMES or name.startswith(OIDC_PREFIX):
        raise ValueError(f"'{name}' in {setting} is the name of somebody inside Skein, or of an issuer")
    return Credential(name, secret, *_grant(name, grant, setting)) if slash else Credential(name, secret)


def claim_grant(entry: str) -> ClaimGrant:
    """`VALUE/read+write` or `VALUE/read@sales_*+orders`; a value may have slashes in it."""
    value, slash, grant = entry.rpartition("/")
    if not (slash and value):
        raise ValueError(f"'{entry[:100]}' in SKEIN_OIDC_GRANTS is not VALUE/SCOPE+SCOPE@DATASET+DATASET")
    return ClaimGrant(value, *_grant(value, grant, "SKEIN_OIDC_GRANTS"))


def _grant(name: str, grant: str, setting: str) -> tuple[frozenset[Scope], tuple[str, ...]]:
    """`read+write` or `read@sales_*+orders`."""
    scopes, at, patterns = grant.partition("@")
    datasets = tuple(patterns.split("+")) if at else EVERYTHING
    if not all(map(_PATTERN.fullmatch, datasets)):
        raise ValueError(
            f"'{name}' in {setting} has datasets that are no patterns of names: '{patterns[:100]}'"
        )
    try:
        return frozenset(Scope(scope) for scope in scopes.split("+")), datasets
    except ValueError:
        known = ", ".join(sorted(ALL_SCOPES))
        raise ValueError(
            f"'{name}' in {setting} has the unknown scope '{scopes}'; there are {known}, joined by '+'"
        ) from None
