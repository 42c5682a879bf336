"""A model's zip: what is imported, what is refused, and that nothing is there by halves."""

import json
import re
import shutil
import zipfile

import pytest

from rareunet.bundle import Bundle
from rareunet.bundle_format import write_hashes
from rareunet.errors import BundleError
from rareunet.installed_models import find_bundle, installed_models
from rareunet.model_import import BUNDLE_FILES, import_model


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of the user's models, still to be made."""
    monkeypatch.setenv("RAREUNET_MODELS", str(tmp_path / "own" / "models"))
    return tmp_path / "own" / "models"


def zip_of(folder, target, inside="", others=(), leave_out=()):
    """A zip of a bundle's files, below the folder `inside` of it, and of others (name and content)."""
    with zipfile.ZipFile(target, "w") as archive:
        for name in BUNDLE_FILES:
            if name not in leave_out:
                archive.writestr(inside + name, (folder / name).read_bytes())
        for name, content in others:
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize("inside", ["", "tiny/", "tiny\\"])
def test_becomes_a_model_with_a_name(tiny_bundle, models, tmp_path, inside):
    bundle = Bundle.load(import_model(zip_of(tiny_bundle.folder, tmp_path / "a.zip", inside)))
    assert bundle.folder == models / "tiny-0.1.0"
    assert "tiny-0.1.0" in installed_models()
    assert Bundle.load("tiny-0.1.0").to_json() == tiny_bundle.to_json()
    assert [path.name for path in models.iterdir()] == ["tiny-0.1.0"]


def test_zips_of_systems_are_taken(tiny_bundle, models, tmp_path):
    """With the folder itself and what the Finder adds, and as Python's own command makes them."""
    others = [("tiny/", ""), ("__MACOSX/tiny/._bundle.json", "x"), ("tiny/.DS_Store", "x")]
    import_model(zip_of(tiny_bundle.folder, tmp_path / "mac.zip", "tiny/", others))
    zipfile.main(["-c", str(tmp_path / "python.zip"), f"{tiny_bundle.folder}/"])
    import_model(tmp_path / "python.zip")
    assert sorted(path.name for path in find_bundle("tiny-0.1.0").iterdir()) == sorted(BUNDLE_FILES)


def test_what_is_there_stays(make_bundle, models, tmp_path):
    """The same model is not doubled; another of its name and version, as after a second training, lies beside it."""
    first = zip_of(make_bundle().folder, tmp_path / "first.zip")
    other = zip_of(make_bundle("other", title="Another one").folder, tmp_path / "other.zip")
    third = zip_of(make_bundle("third", title="A third one").folder, tmp_path / "third.zip")
    newer = zip_of(make_bundle("newer", version="0.2.0").folder, tmp_path / "newer.zip")
    for zipped in (first, first, newer):
        import_model(zipped)
    beside = import_model(other)
    assert import_model(other) == beside
    assert import_model(first) == models / "tiny-0.1.0"
    assert re.fullmatch("tiny-0.1.0-[0-9a-f]{8}", beside.name)
    assert sorted(path.name for path in models.iterdir()) == ["tiny-0.1.0", beside.name, "tiny-0.2.0"]
    assert Bundle.load("tiny-0.1.0").title == "Tiny"
    assert Bundle.load(beside.name).title == "Another one"
    assert Bundle.load(import_model(third).name).title == "A third one"


@pytest.mark.parametrize(
    "name",
    [
        "../bundle.json",
        "/bundle.json",
        "a/b/bundle.json",
        "notes.txt",
        "tiny/run.py",
        "..\\evil",
        "other/bundle.json",
    ],
)
def test_other_members_are_refused(tiny_bundle, models, tmp_path, name):
    file = zip_of(tiny_bundle.folder, tmp_path / "a.zip", "tiny/", [(name, "{}")])
    with pytest.raises(BundleError, match="is not part of one model"):
        import_model(file)
    assert list(models.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "models", "own"]


@pytest.mark.parametrize("inside", ["../", "/", "a/b/"])
def test_a_bundle_anywhere_else_in_the_zip_is_refused(tiny_bundle, models, tmp_path, inside):
    with pytest.raises(BundleError, match="is not part of one model"):
        import_model(zip_of(tiny_bundle.folder, tmp_path / "a.zip", inside))


def test_a_file_that_is_there_twice_is_refused(tiny_bundle, models, tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        file = zip_of(tiny_bundle.folder, tmp_path / "a.zip", others=[("bundle.json", "{}")])
    with pytest.raises(BundleError, match="'bundle.json' in it is not part of one model"):
        import_model(file)


def test_links_are_refused(tiny_bundle, models, tmp_path):
    link = zipfile.ZipInfo("weights.safetensors")
    link.external_attr = 0o120777 << 16
    others = [(link, "/etc/passwd")]
    file = zip_of(tiny_bundle.folder, tmp_path / "a.zip", "", others, leave_out=["weights.safetensors"])
    with pytest.raises(BundleError, match="is not part of one model"):
        import_model(file)


def test_a_missing_file_is_named(tiny_bundle, models, tmp_path):
    file = zip_of(tiny_bundle.folder, tmp_path / "a.zip", leave_out=["SHA256SUMS"])
    with pytest.raises(BundleError, match=r"a\.zip: SHA256SUMS missing"):
        import_model(file)


def test_a_changed_file_and_one_not_of_the_schema_are_refused(tiny_bundle, models, tmp_path):
    description = tiny_bundle.folder / "bundle.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "name": "../up"}))
    with pytest.raises(BundleError, match=r"a\.zip: bundle\.json does not match its SHA-256"):
        import_model(zip_of(tiny_bundle.folder, tmp_path / "a.zip"))
    write_hashes(tiny_bundle.folder)
    with pytest.raises(BundleError, match=r"b\.zip: bundle\.json is not a model description.*name"):
        import_model(zip_of(tiny_bundle.folder, tmp_path / "b.zip"))
    assert list(models.iterdir()) == []


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_half_a_zip_is_told(tiny_bundle, models, tmp_path, keep):
    whole = zip_of(tiny_bundle.folder, tmp_path / "whole.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(BundleError, match="not a whole zip"):
        import_model(tmp_path / "half.zip")


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_bytes_are_told(tiny_bundle, models, tmp_path, packing):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name in BUNDLE_FILES:
            archive.write(tiny_bundle.folder / name, name)
    content = bytearray(file.read_bytes())
    content[300:340] = bytes(byte ^ 255 for byte in content[300:340])
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"not a whole zip|does not match"):
        import_model(file)


def test_one_that_lies_there_damaged_is_not_deleted(tiny_bundle, models, tmp_path):
    file = zip_of(tiny_bundle.folder, tmp_path / "a.zip")
    damaged = import_model(file)
    (damaged / "weights.safetensors").unlink()
    whole = import_model(file)
    assert whole != damaged
    assert Bundle.load(whole)
    assert (damaged / "bundle.json").is_file()
    (whole / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(BundleError, match=rf"a\.zip: .*{whole.name} held this model .*Move that folder away"):
        import_model(file)
    assert (whole / "weights.safetensors").read_bytes() == b"x"
    shutil.rmtree(whole)
    assert Bundle.load(import_model(file))


def test_a_full_disk_leaves_nothing(tiny_bundle, models, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    file = zip_of(tiny_bundle.folder, tmp_path / "a.zip")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        import_model(file)
    assert list(models.iterdir()) == []
