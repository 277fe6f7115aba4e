"""GetSqlInfo: facts about the server, each in the child of a union that fits it."""

from collections.abc import Collection, Mapping

import pyarrow as pa

from flight_server.flight_sql.sql_facts import Info, Kind

_VALUE = pa.dense_union(
    [
        pa.field("string_value", pa.utf8()),
        pa.field("bool_value", pa.bool_()),
        pa.field("bigint_value", pa.int64()),
        pa.field("int32_bitmask", pa.int32()),
        pa.field("string_list", pa.list_(pa.utf8())),
        pa.field("int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32()))),
    ]
)
SCHEMA = pa.schema(
    [pa.field("info_name", pa.uint32(), nullable=False), pa.field("value", _VALUE, nullable=False)]
)


def sql_info(infos: Mapping[int, Info], wanted: Collection[int]) -> pa.Table:
    """One row a code, in order. Without `wanted` all there are; codes nobody knows are left out."""
    codes = sorted(set(wanted) & infos.keys() if wanted else infos)
    children: list[list[object]] = [[] for _ in Kind]
    kinds, offsets = [], []
    for code in codes:
        kind, value = infos[code]
        kinds.append(kind)
        offsets.append(len(children[kind]))
        children[kind].append(value)
    values = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()),
        pa.array(offsets, pa.int32()),
        [pa.array(values, field.type) for values, field in zip(children, _VALUE, strict=True)],
        [field.name for field in _VALUE],
    )
    return pa.Table.from_arrays([pa.array(codes, pa.uint32()), values], schema=SCHEMA)
