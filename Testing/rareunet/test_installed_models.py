"""Which folder a name or a path of a model means."""

from pathlib import Path

import pytest

from rareunet import installed_models as models_module
from rareunet.bundle import Bundle
from rareunet.errors import BundleError
from rareunet.installed_models import find_bundle, installed_models, packaged_models, user_models


def test_unknown_model_names_what_there_is():
    with pytest.raises(BundleError, match=r"no model 'nosuch'.*hippocampus.*bundle\.json"):
        find_bundle("nosuch")


def test_packaged_models_are_found_by_name(tiny_bundle, monkeypatch):
    monkeypatch.setattr(models_module, "PACKAGED_MODELS", tiny_bundle.folder.parent)
    assert packaged_models() == ["tiny"]
    assert Bundle.load("tiny").name == "tiny"


def test_the_users_models_come_after_the_packaged_ones(make_bundle, monkeypatch):
    """One that has a packaged model's name is not found by it, nor listed twice."""
    folder = make_bundle("a").folder.parent
    make_bundle("hippocampus")
    monkeypatch.setenv("RAREUNET_MODELS", str(folder))
    assert installed_models() == ["hippocampus", "a"]
    assert find_bundle("a") == folder / "a"
    assert find_bundle("hippocampus").parent == models_module.PACKAGED_MODELS


def test_the_users_models_lie_in_the_home(monkeypatch, tmp_path):
    monkeypatch.delenv("RAREUNET_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_models() == tmp_path / ".rareunet" / "models"


def test_bundle_json_stands_for_its_folder(tiny_bundle, monkeypatch):
    assert find_bundle(tiny_bundle.folder / "bundle.json") == tiny_bundle.folder
    monkeypatch.chdir(tiny_bundle.folder)
    assert find_bundle("bundle.json") == Path()


def test_a_zip_is_to_be_imported_first():
    with pytest.raises(BundleError, match="own.zip is no model yet: import it first"):
        find_bundle("own.zip")
