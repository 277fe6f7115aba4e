"""Substrait plans: DuckDB 2.0 has no extension for them that may be loaded here."""

from typing import NoReturn

from flight_core.domain.errors import Unsupported


def no_substrait() -> Unsupported:
    return Unsupported("this server does not run Substrait plans; send SQL")


def refuse(*_: object) -> NoReturn:
    raise no_substrait()
