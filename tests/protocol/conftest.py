"""What tests of Flight SQL ask for. Modules about other doors have a `stack` of their own."""

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
