"""A data set that is filled case by case."""

import pytest
from check_helpers import DataSet


@pytest.fixture
def data(tmp_path):
    return DataSet(tmp_path)
