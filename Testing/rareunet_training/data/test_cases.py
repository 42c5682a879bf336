"""Data sets in every layout -> cases; label maps in world space; splits."""

import json

import numpy as np
import pytest
import torch
from turns import turned_world

from rareunet import Volume
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.configuration import DataConfig
from rareunet_training.data.cases import Case, find_cases, fold_warnings, make_folds, read_folds, split_cases
from rareunet_training.data.grids import describe_difference
from rareunet_training.data.layouts import Description, labels_without_scan, read_description

SHAPE = (6, 7, 8)


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def names_of(cases):
    return {case.name: ([path.name for path in case.images], case.label.name) for case in cases}


@pytest.mark.parametrize(
    ("images", "labels"), [("imagesTr", "labelsTr"), ("images", "masks"), ("images", "labels")]
)
def test_folder_layouts_with_mixed_formats(tmp_path, images, labels):
    touch(
        tmp_path / images,
        "b.nrrd",
        "a.nii.gz",
        "c_0001.mha",
        "c_0000.nii",
        "d.nii.pt",
        ".hidden.nii",
        "x.txt",
    )
    touch(tmp_path / labels, "a.nrrd", "b.nii.gz", "c.nii", "d.nii.pt", "README.md", "extra.nii")
    assert names_of(find_cases(tmp_path)) == {
        "a": (["a.nii.gz"], "a.nrrd"),
        "b": (["b.nrrd"], "b.nii.gz"),
        "c": (["c_0000.nii", "c_0001.mha"], "c.nii"),
        "d": (["d.nii.pt"], "d.nii.pt"),
    }


def test_two_folders_and_single_channels_with_a_number(tmp_path):
    touch(tmp_path / "scans", "a_0000.nii.gz", "b_0000.nii.gz")
    touch(tmp_path / "truth", "a.nii.gz", "b.nii.gz")
    cases = find_cases(tmp_path / "scans", tmp_path / "truth", exclude=["a"])
    assert names_of(cases) == {"b": (["b_0000.nii.gz"], "b.nii.gz")}


def test_numbers_that_the_label_maps_have_too_are_no_channels(tmp_path):
    touch(tmp_path / "images", "brain_0000.nii", "brain_0001.nii")
    touch(tmp_path / "labels", "brain_0000.nii", "brain_0001.nii")
    assert list(names_of(find_cases(tmp_path))) == ["brain_0000", "brain_0001"]


def test_missing_files_are_named_by_the_case_they_belong_to(tmp_path):
    touch(tmp_path / "images", "a.nii", "b_0000.mha", "b_0002.mha")
    touch(tmp_path / "labels", "b.nii")
    first, second = find_cases(tmp_path)
    assert first.label == tmp_path / "labels" / "a.nii.gz"
    assert [path.name for path in second.images] == ["b_0000.mha", "b_0001.mha", "b_0002.mha"]


def test_segmentation_that_slicer_saved_is_a_label_map(tmp_path):
    touch(tmp_path / "images", "a.nrrd", "b_0000.nii", "b_0001.nii", "c.nii", "d.seg.nrrd")
    touch(tmp_path / "labels", "a.seg.nrrd", "b.seg.nrrd", "c.nii", "c.seg.nrrd", "d.seg.nrrd", "extra.nii")
    assert names_of(find_cases(tmp_path)) == {
        "a": (["a.nrrd"], "a.seg.nrrd"),
        "b": (["b_0000.nii", "b_0001.nii"], "b.seg.nrrd"),
        "c": (["c.nii"], "c.nii"),
        "d.seg": (["d.seg.nrrd"], "d.seg.nrrd"),
    }
    alone = ["c.seg.nrrd", "extra.nii"]
    assert labels_without_scan(tmp_path) == alone
    assert labels_without_scan(tmp_path / "images", tmp_path / "labels") == alone
    assert labels_without_scan(tmp_path / "cases.csv") == []


def test_csv(tmp_path):
    (tmp_path / "cases.csv").write_text(
        "\ufeffCase;flair;t1;label;site\nb;x/b_f.nii;/abs/b_t.nii;b.mha;Oslo\n\n;;;;\na;f.nii;t.nii;a.mha;\n",
        encoding="utf-8",
    )
    cases = find_cases(tmp_path / "cases.csv")
    assert [case.name for case in cases] == ["b", "a"]
    assert cases[0].images == (tmp_path / "x/b_f.nii", (tmp_path / "/abs/b_t.nii"))
    assert cases[0].label == tmp_path / "b.mha"
    assert cases[0].channels == ("flair", "t1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns"),
        ("case,image\na,b\n", "columns case, image.*accepted are"),
        ("case,label\na,b\n", "columns case, label.*accepted are"),
        ("case,image,label\na,,c\n", "row 2: each of case, image, label needs a value"),
        ("case,image,label\na,b.nii\n", "row 2"),
        ("case,image,label\na,b,c\na,d,e\n", "more than one case is named a"),
        ("case,image,label\n../a,b,c\n", "row 2: the case '../a'"),
        ("case,image,label\n", "holds no case"),
        (b"case,image,label\n\xe5,b,c\n", "not UTF-8"),
    ],
)
def test_bad_csv_is_explained(tmp_path, text, message):
    path = tmp_path / "cases.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        find_cases(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"holds the folders \(none\): accepted are"),
        (["imagesTr/a.nii"], "holds the folders imagesTr: accepted are"),
        (["a.nii", "b.nii"], "holds images beside each other: put label maps into a folder of their own"),
        (["imagesTr/notes.txt", "labelsTr/a.nii"], "imagesTr holds no scan"),
        (["images/a.nii", "images/a.mha", "labels/a.nii"], "both the same channel of a"),
        (["images/a.nii", "images/a_0000.nii", "labels/a.nii"], "as one file and as channels"),
        (["images/a.nii", "labels/a.nii", "labels/a.mha"], "a.nii and a.mha have the same name"),
    ],
)
def test_bad_folders_are_explained(tmp_path, files, message):
    for file in files:
        touch((tmp_path / file).parent, (tmp_path / file).name)
    with pytest.raises(ValueError, match=message):
        find_cases(tmp_path)


def test_sources_that_are_none(tmp_path):
    touch(tmp_path, "scan.nii")
    touch(tmp_path / "images", "a.nii")
    for arguments, message in (
        ([tmp_path / "nothing"], "does not exist: accepted are"),
        ([tmp_path / "scan.nii"], "is not a data set"),
        ([""], "no data set was given"),
        ([tmp_path / "images", tmp_path / "labels"], "labels is not a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            find_cases(*arguments)


def test_unknown_names_to_leave_out(tmp_path):
    touch(tmp_path / "images", "a.nii")
    touch(tmp_path / "labels", "a.nii")
    with pytest.raises(ValueError, match=r"no cases \['z'\] to leave out"):
        find_cases(tmp_path, exclude=["z"])
    with pytest.raises(ValueError, match="holds no case"):
        find_cases(tmp_path, exclude=["a"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"modality": {"0": "FLAIR", "1": "T1"}, "labels": {"0": "background", "2": "tumour"}},
            Description(("FLAIR", "T1"), {2: "tumour"}),
        ),
        (
            {"channel_names": {"1": "B", "0": "A"}, "labels": {"background": 0, "left": 1, "whole": [1, 2]}},
            Description(("A", "B"), {1: "left"}),
        ),
        ({"modality": "MRI", "labels": ["a"]}, Description()),
        (["no", "object"], Description()),
    ],
)
def test_dataset_json_of_the_decathlon_and_of_nnunet(tmp_path, content, expected):
    for encoding in ("utf-8", "utf-8-sig"):  # as Windows' editors write it
        (tmp_path / "dataset.json").write_text(json.dumps(content), encoding=encoding)
        assert read_description([tmp_path / "elsewhere", tmp_path]) == expected


# World space


def volume(matrix=None, shape=SHAPE, seed=0):
    voxels = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    return Volume(voxels, np.eye(4) if matrix is None else matrix)


def matrix_of(shift=(0, 0, 0), spacing=(1, 1, 1), degrees=0.0):
    matrix = turned_world(degrees, 2)
    matrix[:3, :3] *= spacing
    matrix[:3, 3] = shift
    return matrix


@pytest.mark.parametrize(
    ("matrix", "shape", "words"),
    [
        (matrix_of((0.04, 0, 0)), SHAPE, []),
        (
            matrix_of((0.06, 0, 0)),
            SHAPE,
            ["0.06 mm off (R +0.06, A +0.00, S +0.00)", "the same field of view"],
        ),
        (matrix_of((0, -3, 4)), SHAPE, ["5 mm off (R +0.00, A -3.00, S +4.00)", "corners up to 5 mm apart"]),
        (matrix_of(degrees=10), SHAPE, ["turned by 10 degrees"]),
        (matrix_of(spacing=(1, 1, 1.5)), SHAPE, ["1 x 1 x 1.5 mm instead of 1 x 1 x 1 mm"]),
        (
            matrix_of((0.5, 0, 0), (2, 1, 1)),
            (6, 7, 4),
            ["4 x 7 x 6 voxels instead of 8 x 7 x 6", "2 x 1 x 1 mm", "the same field of view"],
        ),
    ],
)
def test_difference_of_grids_is_told_in_mm(matrix, shape, words):
    difference = describe_difference(volume(matrix, shape), volume())
    assert bool(difference) == bool(words)
    for word in words:
        assert word in difference


def test_tolerance_is_relative_to_the_voxel():
    fine, coarse = matrix_of(spacing=(0.1, 0.1, 0.1)), matrix_of(spacing=(4, 4, 4))
    for matrix, differs in ((fine, True), (coarse, False)):
        shifted = matrix.copy()
        shifted[0, 3] = 0.02
        assert bool(describe_difference(volume(shifted), volume(matrix))) == differs


def test_label_map_in_another_storage_order_is_the_same_grid(tmp_path):
    scan, label = volume(seed=1), volume()
    flipped = np.ascontiguousarray(label.voxels[0][:, ::-1].transpose(2, 1, 0))  # stored as S, P, R
    matrix = np.array([[0, 0, 1, 0], [0, -1, 0, 6], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    write_volume(tmp_path / "scan.nii", scan)
    write_volume(tmp_path / "label.nrrd", Volume(flipped, matrix))
    _, read = Case("a", (tmp_path / "scan.nii",), tmp_path / "label.nrrd").read()
    np.testing.assert_array_equal(read.voxels, label.voxels)
    np.testing.assert_array_equal(read.ijk_to_ras, np.eye(4))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            Volume(np.zeros(SHAPE, np.uint8), matrix_of((5, 0, 0))),
            "a: the label map does not lie on the scan's grid",
        ),
        (Volume(np.zeros((2, *SHAPE), np.uint8), np.eye(4)), "a: the label map has 2 channels"),
        (Volume(np.full(SHAPE, 0.37, np.float32), np.eye(4)), r"a: .* not whole numbers \(such as 0.37\)"),
        (Volume(np.full(SHAPE, np.nan, np.float32), np.eye(4)), r"a: .* not whole numbers \(such as nan\)"),
        (Volume(np.full(SHAPE, np.inf, np.float32), np.eye(4)), r"a: .* not whole numbers \(infinite\)"),
    ],
)
def test_label_maps_that_are_refused(tmp_path, label, message):
    write_volume(tmp_path / "scan.nii", volume())
    write_volume(tmp_path / "label.nii", label)
    with pytest.raises(ValueError, match=message):
        Case("a", (tmp_path / "scan.nii",), tmp_path / "label.nii").read()


def test_published_pairs_are_a_data_set(tmp_path):
    image, mask = torch.rand(1, 8, 7, 6), torch.zeros(1, 8, 7, 6)
    mask[0, 3, 2, 1] = 2
    for folder, tensor in (("images", image), ("masks", mask)):
        (tmp_path / folder).mkdir()
        torch.save(tensor, tmp_path / folder / "hippocampus_001.nii.pt")
    (case,) = find_cases(tmp_path)
    scan, label = case.read()
    assert (case.name, scan.shape, scan.spacing_mm) == ("hippocampus_001", SHAPE, (1, 1, 1))
    assert label.voxels[0, 1, 2, 3] == 2
    assert "1 mm" in scan.notes[0]


# Splits


def test_split_is_by_fold_and_keeps_the_order(tmp_path):
    names = [f"case_{i}" for i in range(11)]
    cases = [Case(name, (), tmp_path) for name in names]
    held_out = make_folds(names, 5, 3)[2]
    training, validation = split_cases(cases, DataConfig(fold=2), seed=3)
    assert [case.name for case in validation] == [name for name in names if name in held_out]
    assert [case.name for case in training] == [name for name in names if name not in held_out]
    assert split_cases(names, DataConfig(fold=-1), seed=3) == (names, [])


def test_split_by_a_file_of_folds(tmp_path):
    path = tmp_path / "folds.json"
    path.write_text('[["a", "elsewhere"], ["b"], ["nowhere"]]')
    assert split_cases(["a", "b", "c"], DataConfig(folds=str(path)), 0) == (["b", "c"], ["a"])
    for fold, message in ((3, "folds 0 to 2"), (2, "holds 0 of the 3 cases.*data.fold=-1")):
        with pytest.raises(ValueError, match=message):
            split_cases(["a", "b", "c"], DataConfig(folds=str(path), fold=fold), 0)


def test_a_name_misspelt_in_the_folds_is_told(tmp_path):
    path = tmp_path / "folds.json"
    path.write_text('[["a", "bb"], ["c"]]')
    (warning,) = fold_warnings(["a", "b", "c"], DataConfig(folds=str(path)))
    assert "no fold for b: trained on" in warning
    assert "no case: bb" in warning
    assert fold_warnings(["a", "c"], DataConfig(folds=str(path))) == []  # the file may name more
    path.write_text('[["a"], ["c", "a"]]')
    with pytest.raises(ValueError, match="names a more than once"):
        read_folds(path)
    with pytest.raises(ValueError, match="data.folds is .*which does not exist"):
        read_folds(tmp_path / "nowhere.json")


def test_too_few_cases_to_split():
    with pytest.raises(ValueError, match="holds 1 of the 1 cases"):
        split_cases(["a"], DataConfig(), 0)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "[[1]]"])
def test_bad_folds_are_explained(tmp_path, text):
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(ValueError, match=r"folds\.json .* list of lists of case names"):
        read_folds(tmp_path / "folds.json")


def test_read_names_a_missing_label_map(tmp_path):
    write_label_map(tmp_path / "a.nii", np.zeros(SHAPE, np.uint8), volume())
    with pytest.raises(FileNotFoundError, match=r"b\.nii does not exist"):
        Case("a", (tmp_path / "a.nii",), tmp_path / "b.nii").read()
