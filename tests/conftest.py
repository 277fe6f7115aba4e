"""What holds for every test: the settings of whoever runs them do not count; coroutines run on asyncio."""

import os

import pytest

for name in list(os.environ):
    if name.startswith("SKEIN_") and not name.startswith("SKEIN_TEST_"):
        del os.environ[name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
