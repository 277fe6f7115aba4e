"""Converting rows to the schema of a table."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pat

from flight_core.adapters.storage.casts import cast
from flight_core.adapters.storage.types import (
    AnyField,
    AnyType,
    check_names,
    is_extension,
    is_list,
    stored_type,
)
from flight_core.domain.errors import SchemaMismatch

_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
DIGITS: dict[AnyType, int] = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 19}
_FLOAT_HOLDS: dict[AnyType, tuple[AnyType, ...]] = {
    pa.float32(): _INTEGERS[:2],
    pa.float64(): (*_INTEGERS[:3], pa.float32()),
}
_SAME_IN_PARQUET: dict[AnyType, AnyType] = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}


class Fit:
    """Converts record batches of the schema `source` to `target`.

    Columns are matched by name, ignoring case. Columns that the source lacks become null.

    Raises:
        SchemaMismatch: the target lacks a column, or a column's type does not fit.
        UnsupportedType, LossyType: see `stored_type`.
    """

    def __init__(self, source: pa.Schema, target: pa.Schema, *, allow_lossy: bool) -> None:
        check_names(source.names, "the data")
        self._source = source
        self._target = target
        self._allow_lossy = allow_lossy
        positions = {name.lower(): index for index, name in enumerate(source.names)}
        self._positions: Sequence[int | None] = [positions.get(name.lower()) for name in target.names]
        self._refuse_extra_columns()
        for field, position in zip(target, self._positions, strict=True):
            if position is not None:
                _check_type(source.field(position).type, field, allow_lossy=allow_lossy)

    @property
    def changes_nothing(self) -> bool:
        """Whether a Parquet file of the source schema can be read with the target schema as it is."""
        return self._source.names == self._target.names and all(
            _as_parquet(have) == want
            for have, want in zip(self._source.types, self._target.types, strict=True)
        )

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """
        Raises:
            LossyType: a value cannot be stored exactly.
        """
        columns = [
            pa.nulls(batch.num_rows, field.type)
            if position is None
            else cast(batch.column(position), field.type, field.name, allow_lossy=self._allow_lossy)
            for field, position in zip(self._target, self._positions, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._target)

    def _refuse_extra_columns(self) -> None:
        known = {name.lower() for name in self._target.names}
        extra = [name for name in self._source.names if name.lower() not in known]
        if extra:
            listed = ", ".join(f"'{name}'" for name in extra[:20])
            raise SchemaMismatch(
                f"the new rows have columns that the table lacks: {listed}; leave them out,"
                " take them in with the schema policy 'add', or replace the dataset",
                columns=extra,
            )


def _check_type(source: AnyType, field: AnyField, *, allow_lossy: bool) -> None:
    stored_type(source, field.name, allow_lossy=allow_lossy)
    if not goes_into(source, field.type):
        raise SchemaMismatch(
            f"column '{field.name}' is {field.type} in the table and {source} in the new rows;"
            " cast it, or replace the dataset",
            column=field.name,
            have=str(source),
            want=str(field.type),
        )


def goes_into(have: AnyType, want: AnyType) -> bool:
    """Whether all values of type `have`, once stored, can be represented exactly as `want`."""
    have = _plain(have)
    if pat.is_null(have):
        return True
    if is_list(have) and is_list(want):
        return goes_into(have.value_type, want.value_type)
    if pat.is_map(have) and pat.is_map(want):
        return goes_into(have.key_type, want.key_type) and goes_into(have.item_type, want.item_type)
    if pat.is_struct(have) and pat.is_struct(want):
        fields = {field.name.lower(): field.type for field in want}
        return all(
            field.name.lower() in fields and goes_into(field.type, fields[field.name.lower()])
            for field in have
        )
    have = stored_type(have, "", allow_lossy=True)
    return bool(have == want) or _number_goes_into(have, want)


def _plain(type: AnyType) -> AnyType:
    """The value type, without dictionary or run-end encoding and extension types."""
    if is_extension(type):
        return _plain(type.storage_type)
    if pat.is_dictionary(type) or pat.is_run_end_encoded(type):
        return _plain(type.value_type)
    return type


def _number_goes_into(have: AnyType, want: AnyType) -> bool:
    if pat.is_decimal(want):
        digits = DIGITS.get(have)
        if digits is not None:
            return bool(want.precision - want.scale >= digits)
        return bool(
            pat.is_decimal(have)
            and want.scale >= have.scale
            and want.precision - want.scale >= have.precision - have.scale
        )
    if want in _INTEGERS and have in _INTEGERS:
        return bool(have.bit_width < want.bit_width)
    return have in _FLOAT_HOLDS.get(want, ())


def _as_parquet(type: AnyType) -> AnyType:
    """The type that a column of `type` has when it is read from Parquet without Arrow's schema metadata."""
    if pat.is_timestamp(type) and type.tz is not None:
        return pa.timestamp(type.unit, "UTC")
    if pat.is_decimal(type):
        return pa.decimal128(type.precision, type.scale) if type.precision <= 38 else type
    if pat.is_dictionary(type):
        return _as_parquet(type.value_type)
    if is_list(type):
        return pa.list_(_as_parquet(type.value_type))
    if pat.is_struct(type):
        return pa.struct([pa.field(field.name, _as_parquet(field.type)) for field in type])
    if pat.is_map(type):
        return pa.map_(_as_parquet(type.key_type), _as_parquet(type.item_type))
    return _SAME_IN_PARQUET.get(type, type)
