"""What holds for every test: the settings of whoever runs them do not count, nor how slow the machine is;
coroutines run on asyncio."""

import os

import pytest
from hypothesis import HealthCheck, settings

for name in list(os.environ):
    if name.startswith("SKEIN_") and not name.startswith("SKEIN_TEST_"):
        del os.environ[name]

settings.register_profile("skein", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skein")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
