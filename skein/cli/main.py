"""What the console script starts. What it needs is imported when it runs."""

import signal


def run() -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as long as all there is to interrupt are imports
    from skein.cli.app import run_command

    signal.signal(signal.SIGINT, before)
    run_command()
