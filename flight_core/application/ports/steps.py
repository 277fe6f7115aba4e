"""Steps: functions over tables that the operator has installed, and that people name to derive datasets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StepParameter:
    """`type` is how the function annotates it, "" for not at all; `default` a JSON value."""

    name: str
    type: str = ""
    required: bool = True
    default: object = None


@dataclass(frozen=True, slots=True)
class Step:
    """`row_wise`: each row of the result comes from one row of the one input, and from nothing else."""

    name: str
    description: str
    parameters: Sequence[StepParameter]
    row_wise: bool = False


class Steps(Protocol):
    def list(self) -> Sequence[Step]:
        """Ordered by name. Blocks for a second or so the first time.

        Raises:
            InvalidOption: what is installed cannot be loaded.
        """
