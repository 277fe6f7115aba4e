"""Reading pinned versions.

Usually the versions that a ticket pins are still current, and the statement runs unchanged. If a dataset has
a newer version, or the statement names a version, the tables in the statement's syntax tree are replaced by
views of the pinned versions.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

from flight_core.adapters.engines.duckdb.statements import Json, names_common_table, table_name, walk
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, LakeState, VersionRef, dataset_not_found
from flight_core.domain.query import Pins
from flight_core.infrastructure.duckdb_pool import LAKE_VERSIONS


def names_version(key: str) -> bool:
    """Whether a name includes a version. If that is a tag, it may refer to another one later."""
    return "@" in key


def to_rename(pins: Pins, live: Mapping[str, VersionRef], lake: LakeState) -> dict[str, VersionRef]:
    """The pins that differ from what the names in the statement refer to, or may do so.

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


def renamed(
    tree: Json,
    views: Mapping[str, str],
    *,
    is_shadowed: Callable[[str], bool],
    text_of: Callable[[Json], str],
) -> Json:
    """A copy of `tree` that reads each dataset of `views` through the given view. The result columns keep
    their names.

    `is_shadowed` says whether an unqualified name refers to a user's own table instead; `text_of` returns the
    text of an expression.
    """
    changed = copy.deepcopy(tree)
    before, after = list(walk(tree)), list(walk(changed))
    for node, scope in after:
        if node.get("type") == "COLUMN_REF":
            node["column_names"] = _without_schema(node["column_names"], views)
        if node.get("type") != "BASE_TABLE" or names_common_table(node, scope):
            continue
        table = table_name(node)
        view = views.get(table.name.lower())
        if view is None or not table.may_be_dataset or (not table.schema and is_shadowed(table.name)):
            continue
        node["alias"] = node.get("alias") or table.name
        node.update(catalog_name=LAKE_VERSIONS, schema_name=LAKE_SCHEMA, table_name=view)
        node["qualified_name"] = {"path": [LAKE_VERSIONS, LAKE_SCHEMA, view]}
    for (old, _), (new, _) in zip(before, after, strict=True):
        for item, now in zip(old.get("select_list", ()), new.get("select_list", ()), strict=True):
            if now != item and not item["alias"] and item["class"] not in ("COLUMN_REF", "STAR"):
                now["alias"] = text_of(item)
    return changed


def _without_schema(names: Sequence[str], views: Mapping[str, str]) -> Sequence[str]:
    """A column reference for a table that is read through a view: `datasets.birds.name` becomes
    `birds.name`."""
    for place, name in enumerate(names[:-1]):
        if name.lower() in views:
            return names[place:]
        if name.lower() not in (LAKE, LAKE_VERSIONS, LAKE_SCHEMA):
            break
    return names
