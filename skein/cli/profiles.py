"""What `skein profile` does."""

from collections.abc import Sequence

import typer

from schemas.profiles import Bin, ColumnProfile, DatasetProfile, Point, ProfileAnswer
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.following import followed
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, count

_BARS = "▁▂▃▄▅▆▇█"


def show_profile(api: Api, name: str, *, version: str | None, columns: Sequence[str], json: bool) -> None:
    profile = _computed(api, path_of("datasets", name, "profile"), version, columns)
    if json:
        typer.echo(as_json(profile))
        return
    typer.echo(f"{profile.dataset}: version {profile.version}, {count(profile.rows, 'row')}\n")
    numbers = ("nulls", "~distinct", "min", "~median", "max", "mean")
    titles = ["column", "nulls", "~distinct", "min", "~median", "max", "mean", "histogram", "top values"]
    show_table(
        [Column(title, right=title in numbers) for title in titles],
        [_cells(column) for column in profile.columns],
    )
    typer.echo("\n~ is an estimate.")


def _computed(api: Api, path: str, version: str | None, columns: Sequence[str]) -> DatasetProfile:
    """Follows the job, where it takes one. Raises as `followed`."""
    while True:
        answer = api.get(ProfileAnswer, path, version=version, columns=list(columns)).root
        if isinstance(answer, DatasetProfile):
            return answer
        followed(api, answer)


def _cells(column: ColumnProfile) -> Sequence[str | None]:
    median = next((each.value for each in column.quantiles if each.fraction == 0.5), None)
    return [
        f"{column.name} ({column.type})",
        f"{column.nulls:,}",
        f"{column.distinct:,}",
        column.minimum or "",
        _point(median),
        column.maximum or "",
        _point(column.mean),
        bars(column.histogram),
        ", ".join(f"{top.value} {top.count:,}" for top in column.top[:3]),
    ]


def _point(value: Point | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"


def bars(histogram: Sequence[Bin]) -> str:
    """One character a bin; a blank is one without values."""
    most = max((bin.count for bin in histogram), default=0)
    return "".join(_BARS[(bin.count * len(_BARS) - 1) // most] if bin.count else " " for bin in histogram)
