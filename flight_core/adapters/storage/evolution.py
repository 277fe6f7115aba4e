"""Schema evolution: how a table's columns change when rows with other columns are added."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pat

from flight_core.adapters.storage.fitting import DIGITS, goes_into
from flight_core.adapters.storage.types import AnyType, stored_schema
from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.dataset import SchemaPolicy
from flight_core.domain.errors import InvalidKeys, SchemaMismatch


def evolved(table: pa.Schema, rows: pa.Schema, policy: SchemaPolicy, *, allow_lossy: bool) -> pa.Schema:
    """The schema of `table` after rows of the schema `rows` were added.

    Changes that the policy does not allow are left out; `Fit` then refuses the rows.
    """
    if policy is SchemaPolicy.REFUSE:
        return table
    fields = {field.name.lower(): field for field in table}
    for field in stored_schema(rows, allow_lossy=allow_lossy):
        known = fields.setdefault(field.name.lower(), field)
        if policy is SchemaPolicy.WIDEN and not goes_into(field.type, known.type):
            wide = _wider(known.type, field.type)
            if wide is not None:
                fields[field.name.lower()] = pa.field(known.name, wide)
    return pa.schema(list(fields.values()))


def key_columns(keys: Sequence[str], rows: pa.Schema, table: pa.Schema) -> Sequence[str]:
    """The key columns in the table's spelling.

    Raises:
        SchemaMismatch: a key is not a column of both the new rows and the table.
        InvalidKeys: a key is nested.
    """
    spelled = {name.lower(): name for name in table.names}
    given = {name.lower() for name in rows.names}
    for key in keys:
        for where, names in (("new rows", given), ("dataset", spelled)):
            if key.lower() not in names:
                raise SchemaMismatch(
                    f"there is no column '{key[:100]}' in the {where}, which is a key; name columns of both",
                    column=key[:100],
                )
    found = [spelled[key.lower()] for key in keys]
    for key in found:
        if pat.is_nested(table.field(key).type):
            raise InvalidKeys(
                f"column '{key}' is nested and cannot be a key; choose plain columns", column=key
            )
    return found


def _wider(have: AnyType, other: AnyType) -> AnyType | None:
    """The smallest type that holds all values of both types exactly; None if there is none."""
    for wide in (other, pa.float64(), _decimal_for(have, other)):
        if wide is not None and goes_into(have, wide) and goes_into(other, wide):
            return wide
    return None


def _decimal_for(*types: AnyType) -> AnyType | None:
    if not all(pat.is_decimal(type) or type in DIGITS for type in types):
        return None
    scale = max(type.scale if pat.is_decimal(type) else 0 for type in types)
    digits = max(type.precision - type.scale if pat.is_decimal(type) else DIGITS[type] for type in types)
    return pa.decimal128(digits + scale, scale) if digits + scale <= MAX_PRECISION else None
