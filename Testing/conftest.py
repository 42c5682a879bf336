"""Shared by all tests: the stand-in's fixture for tests that need Slicer's panel or scene."""

import pytest

pytest_plugins = ["standin.pytest_fixtures"]


@pytest.fixture(autouse=True)
def no_models_of_the_developers(tmp_path_factory, monkeypatch):
    """Models that whoever runs the tests has imported must not count."""
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path_factory.getbasetemp() / "no models"))
