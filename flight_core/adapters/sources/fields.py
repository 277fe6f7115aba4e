"""Checking the fields of a source."""

from collections.abc import Mapping

from flight_core.domain.errors import InvalidSource
from flight_core.domain.ingestion import SourceSpec


def fields_of(spec: SourceSpec, *known: str) -> Mapping[str, object]:
    """
    Raises:
        InvalidSource: there is an unknown field.
    """
    unknown = sorted(set(spec.fields) - set(known))
    if unknown:
        raise InvalidSource(
            f"a source of kind '{spec.kind}' has no field '{unknown[0][:40]}'; it has: {', '.join(known)}",
            field=unknown[0][:40],
        )
    return spec.fields
