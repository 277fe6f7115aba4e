"""The list of steps, from modules that the operator has named."""

import logging

import pytest

from flight_core.adapters.sources.step import InstalledSteps, StepOptions
from flight_core.domain.errors import InvalidOption


def test_why_steps_cannot_be_loaded_is_told_to_the_operator_alone(tmp_path, caplog):
    steps = InstalledSteps(StepOptions(modules=(str(tmp_path / "missing.py"),)))

    with caplog.at_level(logging.WARNING), pytest.raises(InvalidOption, match="SKEIN_STEPS") as refused:
        steps.list()

    assert str(tmp_path) not in str(refused.value)
    assert "missing.py" in caplog.records[-1].error
