"""What the commands about derived datasets and lineage do."""

from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.tree import Tree

from schemas.derivations import (
    Derivation,
    DerivationInput,
    DerivationPage,
    Lineage,
    LineageNode,
    StepPage,
    StepParameter,
)
from schemas.ingestions import Ingestion
from skein.cli.jobs import summary
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.failures import printable
from skein.cli.remote.following import followed
from skein.cli.terminal.tables import number, show_items
from skein.cli.terminal.wording import as_json, when


def derive(api: Api, name: str, what: Mapping[str, object], *, manual: bool, json: bool) -> None:
    """Say what makes it and, unless it is `manual`, follow the first run. Raises as `followed`."""
    path = path_of("datasets", name, "derivation")
    defined = api.put(Derivation, path, {**what, "refresh": "manual" if manual else "auto"})
    if not json:
        inputs = ", ".join(each.name for each in defined.inputs) or "nothing that changes"
        following = f"; run `skein refresh {name}`" if manual else ""
        typer.echo(f"'{defined.dataset}' is made from {inputs}{following}")
    run = None if manual else followed(api, api.post(Ingestion, f"{path}/refresh"))
    if json:
        typer.echo(as_json(api.get(Derivation, path)))
    elif run is not None:
        typer.echo(summary(run))


def resume(api: Api, name: str, *, json: bool) -> None:
    resumed = api.post(Derivation, path_of("datasets", name, "derivation", "resume"))
    typer.echo(as_json(resumed) if json else f"'{resumed.dataset}' is made anew by itself again")


def show_steps(api: Api, *, json: bool) -> None:
    found = list(api.items(StepPage, path_of("steps")))
    if not (found or json):
        typer.echo("no steps are installed; SKEIN_STEPS names files and modules with some", err=True)
    show_items(
        found,
        {
            "step": lambda step: step.name,
            "parameters": lambda step: ", ".join(map(_parameter, step.parameters)),
            "description": lambda step: step.description,
        },
        json=json,
    )


def _parameter(parameter: StepParameter) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={parameter.default}"


def underive(api: Api, name: str) -> None:
    api.delete(path_of("datasets", name, "derivation"))
    typer.echo(f"'{name}' stays as it is from now on")


def show_derivations(api: Api, *, json: bool) -> None:
    found = list(api.items(DerivationPage, path_of("derivations")))
    show_items(
        found,
        {
            "dataset": lambda derived: derived.dataset,
            "state": lambda derived: derived.state,
            number("version"): lambda derived: "" if derived.version is None else str(derived.version),
            "inputs": lambda derived: ", ".join(map(_input, derived.inputs)),
            "last run": _run,
        },
        json=json,
    )


def _input(read: DerivationInput) -> str:
    if read.current is None:
        return f"{read.name} (missing)"
    if read.used == read.current:
        return f"{read.name}@v{read.current}"
    return f"{read.name}@v{'?' if read.used is None else read.used} (now v{read.current})"


def _run(derivation: Derivation) -> str:
    run = derivation.run
    if derivation.pause_reason is not None:
        return derivation.pause_reason
    if run is None:
        return ""
    if run.error is not None:
        return f"[{run.error.code}] {run.error.message}"
    return f"{run.state} {when(run.finished_at or run.created_at)}"


def show_lineage(api: Api, name: str, *, version: str | None, depth: int, down: bool, json: bool) -> None:
    found = api.get(
        Lineage,
        path_of("datasets", name, "lineage"),
        version=version,
        depth=depth,
        direction="down" if down else "up",
    )
    if json:
        typer.echo(as_json(found))
        return
    nodes = {node.id: node for node in found.nodes}
    steps: dict[str, list[str]] = {}
    for edge in found.edges:
        start, end = (edge.from_, edge.to) if down else (edge.to, edge.from_)
        steps.setdefault(start, []).append(end)
    tree = Tree(_label(found.nodes[0]))
    _grow(tree, found.nodes[0].id, nodes, steps, set())
    Console(highlight=False, soft_wrap=True).print(tree)
    if found.truncated:
        typer.echo("there is more; raise --depth", err=True)


def _grow(
    tree: Tree,
    at: str,
    nodes: Mapping[str, LineageNode],
    steps: Mapping[str, Sequence[str]],
    shown: set[str],
) -> None:
    shown.add(at)
    for other in steps.get(at, ()):
        again = other in shown
        branch = tree.add(_label(nodes[other]) + (" (see above)" if again else ""))
        if not again:
            _grow(branch, other, nodes, steps, shown)


def _label(node: LineageNode) -> str:
    if node.operation is None:
        return f"{node.dataset}@v{node.version} (gone)"
    source = f" from {printable(node.source)}" if node.source else ""
    return f"{node.dataset}@v{node.version} {node.operation}{source}, {node.rows:,} rows".replace("[", "\\[")
