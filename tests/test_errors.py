import inspect

import pytest

from flopwatch import errors
from flopwatch.errors import ConfigError, FlopwatchError, UnknownModelError

ALL = [each for _, each in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_is_caught_by_one_name_and_says_what_it_was_told(error):
    assert issubclass(error, FlopwatchError)
    assert str(error("expected a number, got 'x'")) == "expected a number, got 'x'"


def test_an_unknown_model_is_a_config_that_may_be_measured_unless_it_says_otherwise():
    assert issubclass(UnknownModelError, ConfigError)
    assert UnknownModelError("no such model").measurable
    assert not UnknownModelError("two models in one", measurable=False).measurable
