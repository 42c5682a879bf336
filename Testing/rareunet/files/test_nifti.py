"""NIfTI files: geometry, number types, headers that leave something open, damage."""

import logging

import nibabel
import numpy as np
import pytest
from scan_files import GEOMETRIES, VOXELS, nifti, refused

from rareunet.volume_files import read_volume


def test_nifti_trailing_and_fifth_dimensions(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2)
    assert read_volume(nifti(tmp_path / "a.nii", data[..., :1])).voxels.shape == (1, 3, 4, 5)
    assert read_volume(nifti(tmp_path / "b.nii", data[:, :, :, None, :])).voxels.shape == (2, 3, 4, 5)
    channels = read_volume(nifti(tmp_path / "c.nii", data)).voxels
    np.testing.assert_array_equal(channels[1], data[..., 1].T)
    refused(
        nifti(tmp_path / "d.nii", np.zeros((5, 4, 3, 2, 3), np.int16)), "d.nii", "(5, 4, 3, 2, 3)", "channels"
    )


def test_nifti_scaled_voxels_are_float32(tmp_path):
    voxels = read_volume(nifti(tmp_path / "a.nii", scl_slope=0.5, scl_inter=3)).voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels[0], VOXELS * 0.5 + 3)


def test_nifti_scaling_of_large_integers_is_exact(tmp_path):
    data = (VOXELS.T.astype(np.int64) - 2**31).astype(np.int32)
    voxels = read_volume(nifti(tmp_path / "a.nii", data, scl_slope=1, scl_inter=2.0**31)).voxels
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels[0], VOXELS)


@pytest.mark.parametrize("slope", [0, float("nan")])
def test_nifti_slope_that_means_none(tmp_path, slope):
    voxels = read_volume(nifti(tmp_path / "a.nii", scl_slope=slope, scl_inter=3)).voxels
    assert voxels.dtype == np.int16
    np.testing.assert_array_equal(voxels[0], VOXELS)


def test_nifti_of_the_other_byte_order_becomes_native(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(VOXELS.T, np.eye(4), header), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels[0], VOXELS)


def test_nifti_without_sform_and_qform_is_noted(tmp_path):
    volume = read_volume(
        nifti(tmp_path / "a.nii", matrix=np.diag([1, 2, 3, 1.0]), sform_code=0, qform_code=0)
    )
    assert volume.spacing_mm == (3, 2, 1)
    assert "x to the left, y to the front" in volume.notes[0]


def test_nifti_takes_the_qform_where_the_sform_has_no_code(tmp_path):
    path = nifti(tmp_path / "a.nii", matrix=GEOMETRIES["oblique"], sform_code=0, srow_x=0)
    np.testing.assert_allclose(read_volume(path).ijk_to_ras, GEOMETRIES["oblique"], atol=1e-5)


@pytest.mark.parametrize(("shift", "noted"), [(0.005, False), (0.02, True), (50, True)])
def test_nifti_takes_the_sform_and_notes_another_qform(tmp_path, shift, noted):
    volume = read_volume(nifti(tmp_path / "a.nii", qoffset_x=shift))
    np.testing.assert_array_equal(volume.ijk_to_ras, np.eye(4))
    assert bool(volume.notes) == noted
    if noted:
        assert f"{shift:g} mm apart" in volume.notes[0]


@pytest.mark.parametrize(("pixdim", "noted"), [(1, False), (1.005, False), (1.02, True), (2, True)])
def test_nifti_notes_a_pixdim_that_the_sform_contradicts(tmp_path, pixdim, noted):
    path = nifti(tmp_path / "a.nii", qform_code=0, pixdim=dict.fromkeys((1, 2, 3), pixdim))
    volume = read_volume(path)
    assert volume.spacing_mm == (1, 1, 1)
    assert bool(volume.notes) == noted
    if noted:
        assert f"{pixdim:g} x {pixdim:g} x {pixdim:g} (pixdim), but 1 x 1 x 1" in volume.notes[0]


@pytest.mark.parametrize(("code", "factor"), [(1, 1000), (2, 1), (3, 0.001)])
def test_nifti_units_become_mm(tmp_path, code, factor):
    volume = read_volume(nifti(tmp_path / "a.nii", xyzt_units=code))
    np.testing.assert_allclose(volume.spacing_mm, (factor,) * 3)
    assert bool(volume.notes) == (code != 2)


@pytest.mark.parametrize("spacing", [0, -2, float("nan"), float("inf")])
@pytest.mark.parametrize("forms", [{}, {"sform_code": 0}, {"sform_code": 0, "qform_code": 0}])
def test_nifti_bad_spacing(tmp_path, spacing, forms):
    refused(nifti(tmp_path / "a.nii.gz", pixdim={2: spacing}, **forms), "spacing")


@pytest.mark.parametrize(("row", "message"), [({0: 0}, "spacing"), ({0: float("nan")}, "world matrix")])
def test_nifti_bad_sform(tmp_path, row, message):
    refused(nifti(tmp_path / "a.nii", srow_x=row), message)


def test_nibabel_says_nothing_while_reading_and_is_left_as_it_was(tmp_path, caplog):
    path = nifti(tmp_path / "a.nii", bitpix=3, qform_code=77)
    logger = logging.getLogger("nibabel.global")
    before = (logger.level, list(logger.filters), list(logger.handlers))
    read_volume(path)
    refused(nifti(tmp_path / "b.nii", pixdim={2: -1}), "spacing")
    assert caplog.records == []
    assert (logger.level, logger.filters, logger.handlers) == before
    nibabel.load(path)
    assert [record.name for record in caplog.records] == ["nibabel.global"] * len(caplog.records)
    assert caplog.records


def test_nifti_singular_sform(tmp_path):
    refused(nifti(tmp_path / "a.nii", srow_x={0: 1, 1: 1}, srow_y={0: 1, 1: 1}), "singular")


def test_nifti_colours(tmp_path):
    colours = np.zeros((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "colours")


def test_nifti_complex(tmp_path):
    refused(nifti(tmp_path / "a.nii", VOXELS.T.astype(np.complex64)), "real numbers")
    image = nibabel.Nifti1Image(VOXELS.T.astype(np.complex64), np.eye(4))
    image.header.set_slope_inter(2, 0)
    nibabel.save(image, tmp_path / "b.nii")
    refused(tmp_path / "b.nii", "real numbers")


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1)])
def test_nifti_2d(tmp_path, shape):
    refused(nifti(tmp_path / "a.nii", np.zeros(shape, np.int16)), "3D scan")


def test_nifti_empty(tmp_path):
    refused(nifti(tmp_path / "a.nii", dim={3: 0}), "a")


@pytest.mark.parametrize("kind", ["cut", "changed", "checksum", "text", "no bytes"])
def test_nifti_damaged(tmp_path, kind):
    path = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    content = bytearray(path.read_bytes())
    changed = content[:]
    changed[5000:5100] = b"x" * 100
    checksum = content[:]
    checksum[-6] ^= 1
    damaged = {
        "cut": content[:9000], "changed": changed, "checksum": checksum, "text": b"a report", "no bytes": b"",
    }  # fmt: skip
    path.write_bytes(damaged[kind])
    refused(path, "a.nii.gz", "could not be read", "again")


def test_nifti_cut_without_compression(tmp_path):
    path = nifti(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:400])
    refused(path, "a.nii", "could not be read")


def test_any_damage_of_the_header_is_a_value_error_or_harmless(tmp_path):
    path = nifti(tmp_path / "a.nii")
    content, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(content)
        for position in random.integers(0, 348, 4):
            changed[position] = random.integers(0, 256)
        # Sizes stay: a huge one would only test the memory.
        changed[40:56] = content[40:56]
        path.write_bytes(changed)
        try:
            read_volume(path)
        except ValueError as error:
            assert str(error)  # noqa: PT017 (reading may also succeed)
