"""A server for each module, and its clients. Modules that need other settings, or rows, have a
`stack` of their own; some, a `client` of another door."""

import pytest

from tests.stack import skein_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("skein")) as made:
        yield made


@pytest.fixture
def client(stack):
    """Of Flight SQL."""
    with stack.raw() as made:
        yield made


@pytest.fixture
def http(stack):
    with stack.http() as made:
        yield made


@pytest.fixture
def cursor(stack):
    """Of ADBC."""
    with stack.cursor() as made:
        yield made
