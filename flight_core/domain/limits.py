"""Limits on what an actor may use."""

from dataclasses import dataclass, fields

from flight_core.domain.errors import InvalidOption


@dataclass(frozen=True, slots=True)
class Limits:
    """None stands for the server's default, or for no limit if there is none. `memory_bytes` is for the
    engine process of actors who may only read.

    Raises:
        InvalidOption: on construction.
    """

    queries: int | None = None  # running at the same time
    rows: int | None = None  # of one result
    result_bytes: int | None = None  # of one result, as Arrow
    memory_bytes: int | None = None
    requests_per_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if value <= 0:
                raise InvalidOption(f"the limit {name} is {value}; it has to be more than 0", option=name)

    def given(self) -> dict[str, float]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def over(self, others: "Limits") -> "Limits":
        """These limits, with missing ones from `others`."""
        if self == NO_LIMITS:
            return others
        return Limits(**{**others.given(), **self.given()})  # type: ignore[arg-type] # as they were given


NO_LIMITS = Limits()
