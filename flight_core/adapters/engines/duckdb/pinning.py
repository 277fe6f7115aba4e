"""Reading older versions under the names a statement uses.

Usually the versions a ticket pins are still current and the statement runs as it is. When a
dataset has moved on, or the statement names a version, the tables in the statement's syntax tree are
renamed to views that show the pinned versions.
"""

import copy
from collections.abc import Callable, Mapping

from flight_core.adapters.engines.duckdb.statements import Json, names_common_table, table_name, walk
from flight_core.domain.dataset import LAKE_SCHEMA, LakeState, VersionRef, dataset_not_found
from flight_core.domain.query import Pins
from flight_core.infrastructure.duckdb_pool import LAKE_VERSIONS


def names_version(key: str) -> bool:
    """Whether a name says which version it means. A tag may mean another one later."""
    return "@" in key


def to_rename(pins: Pins, live: Mapping[str, VersionRef], lake: LakeState) -> dict[str, VersionRef]:
    """The pins that the names of the statement do not lead to by themselves, or not for certain.

    Raises:
        DatasetNotFound: a pinned dataset was dropped, even if another one took its name.
    """
    moved = {}
    for key, ref in pins.items():
        base = key.partition("@")[0]
        entry = lake.datasets.get(base)
        if entry is None or entry.ref.dataset_id != ref.dataset_id:
            raise dataset_not_found(base, [name for name in lake.datasets if name != base])
        if names_version(key) or live.get(key) != ref:
            moved[key] = ref
    return moved


def renamed(tree: Json, views: Mapping[str, str], *, is_shadowed: Callable[[str], bool]) -> Json:
    """A copy of `tree` in which each dataset of `views` is read through the view given for it.

    `is_shadowed` tells whether an unqualified name means a user's own table instead.
    """
    tree = copy.deepcopy(tree)
    for node, scope in walk(tree):
        if node.get("type") != "BASE_TABLE" or names_common_table(node, scope):
            continue
        table = table_name(node)
        view = views.get(table.name.lower())
        if view is None or not table.may_be_dataset or (not table.schema and is_shadowed(table.name)):
            continue
        node["alias"] = node.get("alias") or table.name
        node.update(catalog_name=LAKE_VERSIONS, schema_name=LAKE_SCHEMA, table_name=view)
        node["qualified_name"] = {"path": [LAKE_VERSIONS, LAKE_SCHEMA, view]}
    return tree
