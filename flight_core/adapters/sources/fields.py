"""Reading the fields of a source, which may come from anywhere."""

from collections.abc import Mapping

from flight_core.domain.errors import InvalidSource
from flight_core.domain.ingestion import SourceSpec


def fields_of(spec: SourceSpec, *known: str) -> Mapping[str, object]:
    """
    Raises:
        InvalidSource: there is a field that the kind does not have.
    """
    unknown = sorted(set(spec.fields) - set(known))
    if unknown:
        raise InvalidSource(
            f"a source of kind '{spec.kind}' has no field '{unknown[0][:40]}'; it has: {', '.join(known)}",
            field=unknown[0][:40],
        )
    return spec.fields
