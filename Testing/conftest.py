"""Shared by all tests: the stand-in's fixture for tests that need Slicer's panel or scene."""

pytest_plugins = ["standin.pytest_fixtures"]
