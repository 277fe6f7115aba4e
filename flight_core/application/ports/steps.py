"""Steps: installed Python functions over tables, from which datasets can be derived."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StepParameter:
    """`type` is the annotation in the function, or empty; `default` is a JSON value."""

    name: str
    type: str = ""
    required: bool = True
    default: object = None


@dataclass(frozen=True, slots=True)
class Step:
    """`row_wise`: each row of the result depends on a single row of the only input, and on nothing else."""

    name: str
    description: str
    parameters: Sequence[StepParameter]
    row_wise: bool = False


class Steps(Protocol):
    def list(self) -> Sequence[Step]:
        """Ordered by name. The first call blocks for about a second.

        Raises:
            InvalidOption: a step cannot be loaded.
        """
