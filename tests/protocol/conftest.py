"""What tests of Flight SQL ask for. Modules about other doors have a `stack` of their own, and others a
`client`."""

import pytest

from tests.protocol.sql_stack import SqlStack, sql_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with sql_stack(tmp_path_factory.mktemp("skein")) as made:
        yield made


@pytest.fixture
def client(stack: SqlStack):
    with stack.raw() as made:
        yield made


@pytest.fixture
def cursor(stack):
    """Of ADBC, where the module's `stack` is a whole Skein."""
    with stack.cursor() as made:
        yield made
