"""Lineage: the dataset versions that a version was made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.query import Pins, dataset_of

INPUTS = "inputs"  # the key in the info of a commit


@dataclass(frozen=True, slots=True, order=True)
class Input:
    """A version that was read, with the dataset's name at that time."""

    name: DatasetName
    ref: VersionRef

    def __str__(self) -> str:
        return f"{self.name}@v{self.ref.version}"


def inputs_of(pins: Pins) -> tuple[Input, ...]:
    """The versions that a read with these pins reads, sorted."""
    found = {Input(dataset_of(key), ref) for key, ref in pins.items()}
    return tuple(sorted(found))


def versions_read(pins: Pins) -> dict[str, int]:
    """The version read of each dataset, by its name; if several were read, older ones by `name@v3`."""
    read: dict[str, int] = {}
    for each in reversed(inputs_of(pins)):
        name = each.name.value
        read[str(each) if name in read else name] = each.ref.version
    return dict(sorted(read.items()))


def as_info(pins: Pins) -> Mapping[str, str]:
    """The entry for the info of a commit; empty if nothing was read."""
    listed = [
        {"name": each.name.value, "id": each.ref.dataset_id, "version": each.ref.version}
        for each in inputs_of(pins)
    ]
    return {INPUTS: json.dumps(listed)} if listed else {}


def from_info(info: Mapping[str, str]) -> tuple[Input, ...]:
    """The inverse of `as_info`; empty if there is no entry, or an invalid one."""
    try:
        return tuple(
            Input(DatasetName(each["name"]), VersionRef(str(each["id"]), int(each["version"])))
            for each in json.loads(info.get(INPUTS, "[]"))
        )
    except (ValueError, TypeError, KeyError):
        return ()
