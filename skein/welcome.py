"""What a person sees when the server starts: the demo being made, then how to connect."""

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flight_core.domain.access import LOCAL
from skein.demo import DEMO_NAME, SHIPPED_ROWS, ensure_demo
from skein.runtime import Endpoints
from skein.snippets import snippets
from skein.wiring.process import VERSION, Skein


def load_demo(skein: Skein) -> None:
    """Make the demo dataset if the settings ask for it, with a progress bar on a terminal."""
    settings = skein.settings
    if not settings.demo:
        return
    console = Console(stderr=True)
    with Progress(
        TextColumn("making {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task(f"'{DEMO_NAME}'", total=settings.demo_rows or SHIPPED_ROWS)
        ensure_demo(
            skein.flight.get_dataset,
            skein.flight.write_dataset,
            rows=settings.demo_rows,
            advance=lambda rows: progress.advance(task, rows),
        )


class _Stdout(Console):
    """Who listens may leave (`skein serve | head`): the servers serve on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def welcome(skein: Skein, endpoints: Endpoints) -> None:
    """Print where the servers are, and code to copy for each client."""
    console = _Stdout(soft_wrap=True, highlight=False, markup=False)
    datasets = skein.flight.list_datasets(actor=LOCAL)
    names = [str(dataset.name) for dataset in datasets]
    plural = "" if len(names) == 1 else "s"
    console.print(
        f"Skein {VERSION} is ready: {len(names)} dataset{plural} in {skein.settings.data}", style="bold"
    )
    console.print()
    if endpoints.flight:
        console.print(f"  Flight  {endpoints.flight}")
    if endpoints.http:
        console.print(f"  HTTP    {endpoints.http}   (a page to ask on; the API: {endpoints.http}/docs)")
    example = str(DEMO_NAME) if str(DEMO_NAME) in names else next(iter(names), None)
    credentials = skein.flight.gate.authenticator.anonymous is None
    for snippet in snippets(endpoints, example, credentials=credentials):
        console.print()
        console.print(f"# {snippet.client}", style="bold")
        console.print(snippet.code)
    console.print()
    if endpoints.http:
        console.print(f"Ask on {endpoints.http}, or with 'skein query' in another terminal.")
    console.print("Stop it with Ctrl-C.")
