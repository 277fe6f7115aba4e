"""`python -m skein` is `skein`."""

from skein.cli.main import run

if __name__ == "__main__":
    run()
