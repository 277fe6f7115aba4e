"""Planning how columns of the data become columns of a dataset with a contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from flight_core.adapters.parsers.checks.contract_rules import column_types, default_of
from flight_core.adapters.parsers.checks.nested_texts import restoring
from flight_core.adapters.parsers.column_types.contract import Coercion, coercion
from flight_core.domain.contract import (
    RAGGED_MARK,
    REJECT_MARKS,
    ColumnContract,
    Contract,
    ExtraColumns,
    MissingColumns,
    Severity,
)
from flight_core.domain.errors import SchemaMismatch

# Columns that tell where a row is from, until it has passed.
MARKS = SOURCE, ROW, JOB = REJECT_MARKS


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """`coercion` is None for columns that are left as they are; `source` is None if the data lacks the
    column."""

    name: str
    source: str | None
    expr: pl.Expr
    coercion: Coercion | None = None
    severity: Severity = Severity.REJECT  # of values that are not of the type


@dataclass(frozen=True, slots=True)
class Plan:
    """How columns of the data become columns of the dataset."""

    columns: Sequence[PlannedColumn]
    sources: Sequence[str]  # all columns of the data

    def schema(self, schema: Mapping[str, pl.DataType]) -> pl.Schema:
        empty = pl.DataFrame(schema=dict(schema))
        return empty.select(column.expr.alias(column.name) for column in self.columns).schema


def plan_of(
    contract: Contract,
    schema: Mapping[str, pl.DataType],
    stored: Mapping[str, pl.DataType] = MappingProxyType({}),
) -> Plan:
    """Raises SchemaMismatch."""
    sources = [name for name in schema if name not in (*MARKS, RAGGED_MARK)]
    by_key = {name.lower(): name for name in sources}
    types = column_types(contract)
    columns = [
        _contracted(contract, column, by_key.get(column.name.lower()), schema, types, stored)
        for column in contract.columns
    ]
    named = {column.name.lower() for column in contract.columns}
    extra = [name for name in sources if name.lower() not in named]
    if extra and contract.extra_columns is ExtraColumns.REFUSE:
        listed = ", ".join(f"'{name}'" for name in extra[:20])
        raise SchemaMismatch(
            f"the contract does not allow for the columns {listed}; leave them out, or describe them",
            columns=extra[:20],
        )
    if JOB in schema:  # until the keys were looked at, too
        columns += [PlannedColumn(name, name, pl.col(name)) for name in MARKS]
    if contract.extra_columns is ExtraColumns.KEEP:
        columns += [PlannedColumn(name, name, pl.col(name)) for name in extra]
    return Plan(columns, sources)


def _contracted(
    contract: Contract,
    column: ColumnContract,
    source: str | None,
    schema: Mapping[str, pl.DataType],
    types: Mapping[str, pl.DataType],
    stored: Mapping[str, pl.DataType],
) -> PlannedColumn:
    type = types.get(column.name)
    if source is None:
        return PlannedColumn(column.name, None, _missing(contract, column, type))
    if type is None:
        type = stored.get(column.name.lower())
        found = None if type is None or schema[source] != pl.String else restoring(source, type)
        if found is None:
            return PlannedColumn(column.name, source, pl.col(source))
    else:
        found = coercion(source, schema[source], type, column.format)
    if found is None:
        raise SchemaMismatch(
            f"column '{source}' is {schema[source]} in the data and {column.type} in the contract;"
            " change one of them",
            column=source,
        )
    severity = column.severity_of("type")
    return PlannedColumn(
        column.name,
        source,
        found.typed if found.quick is None else found.quick,
        None if schema[source] == type else found,
        Severity.REJECT if severity is Severity.WARN else severity,
    )


def _missing(contract: Contract, column: ColumnContract, type: pl.DataType | None) -> pl.Expr:
    policy = contract.missing_columns
    if policy is MissingColumns.NULL:
        return pl.lit(None, dtype=type or pl.String())
    if policy is MissingColumns.DEFAULT and column.default is not None:
        return default_of(column, type)
    raise SchemaMismatch(
        f"the data lacks the column '{column.name}' of the contract; add it, or let the contract fill it in",
        column=column.name,
    )
