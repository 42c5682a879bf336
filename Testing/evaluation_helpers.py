"""Blobs, and a model that can be worked out by hand, for the tests of evaluation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bundle_helpers import describe_tiny, tiny_network
from turns import straight_world

from rareunet import Predictor, Volume
from rareunet.architecture import Architecture
from rareunet.bundle import Label
from rareunet.intensity import IntensityRule
from rareunet.network import Walk
from rareunet.volume_files import write_label_map, write_volume
from rareunet_training.data.samples import Sample
from rareunet_training.evaluation.conditions import PAPER_SHAPE
from rareunet_training.evaluation.metrics import Agreement
from rareunet_training.evaluation.score_files import ScoreSet
from rareunet_training.evaluation.scores import Score
from rareunet_training.evaluation.scoring import model_facts

VALUE = 3  # of the one structure in label maps
ARCHITECTURE = Architecture(in_channels=1, classes=2, stages=4, filters=2, max_filters=4, gateways=3)
CASES = ("a", "b", "c", "d", "e", "f")
FOLD_CONDITIONS = ("native", "scale 1 (aligned)", "scale 1 (published)")


def make_bundle(**changes):
    content = {
        "channels": ({"name": "T1"},),
        "labels": (Label(VALUE, "Ball", (200, 30, 30)),),
        "intensity": IntensityRule(0, 100),
        "field_of_view_mm": {"smallest": (20.0,) * 3, "largest": (64.0,) * 3},
    }
    return describe_tiny(ARCHITECTURE, **{**content, **changes})


def save_bundle(folder: Path, **changes):
    return make_bundle(**changes).save(folder, tiny_network(ARCHITECTURE))


class Threshold:
    """In the place of the network: foreground where the image is above a half. Keeps what it was given."""

    def __init__(self):
        self.seen = []

    def __call__(self, image, axis_depths, **options):
        self.seen.append((tuple(image.shape[2:]), tuple(axis_depths)))
        return Walk(torch.cat([0.5 - image, image - 0.5], dim=1), {})


def threshold_predictor(**options):
    return Predictor(make_bundle(), "cpu", network=Threshold(), **options)


def blob(shape=(48, 56, 44), centre=(23.3, 28.1, 21.6), sigma=10.0):
    """A Gaussian of height 1; above a half within 1.18 sigma of its centre."""
    squared = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True))
    return np.exp(-squared / (2 * sigma**2)).astype(np.float32)


def blob_sample(spacing=(1.0, 1.0, 1.0), name="blob", **where):
    image = blob(**where)
    return Sample(name, image[None], (image > 0.5).astype(np.uint8), straight_world(spacing))


def write_blobs(folder: Path, count=2, matrix=None, **where):
    """A data set of blobs in the Decathlon's layout; returns the scans by name."""
    matrix = np.eye(4) if matrix is None else matrix
    scans = {}
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index in range(count):
        image = blob(**{"shape": (22, 26, 24), "centre": (10.3 + index, 12.1, 11.6), "sigma": 5.0, **where})
        scan = Volume(100 * image, matrix, f"blob_{index}")
        write_volume(folder / "imagesTr" / f"{scan.name}.nii.gz", scan)
        label_map = VALUE * (image > 0.5).astype(np.uint8)
        write_label_map(folder / "labelsTr" / f"{scan.name}.nii.gz", label_map, scan)
        scans[scan.name] = scan
    return scans


def agreement(dice, **measures):
    plain = dict.fromkeys(("iou", "precision", "recall", "surface_dice"), dice)
    return Agreement(**{"dice": dice, **plain, "hd95_mm": 1.0, "volume_error_percent": 0.0, **measures})


def scored(case, condition, *dice, spacing=(1.0, 1.0, 1.0), seconds=0.1):
    """A score of one value per structure, the same in world space."""
    measures = tuple(map(agreement, dice))
    return Score(case, condition, spacing, dice, seconds, measures, measures)


def score_set(name, values, condition="native", labels=("Ball",), cases=CASES, shape=PAPER_SHAPE, **more):
    scores = tuple(scored(case, condition, value, **more) for case, value in zip(cases, values, strict=True))
    references = {case: f"hash {case}" for case in cases}
    return ScoreSet(name, {}, "standard", shape, "scans", labels, references, scores)


def fold_scores(bundle, number, cases, **changes):
    """Scores of a model that was trained without these cases: 0.9, 0.8, ... under each of FOLD_CONDITIONS."""
    facts = {**model_facts(bundle), "name": "tiny", "sha256": f"of fold {number}"}
    values = {name: 0.9 - 0.1 * index for index, name in enumerate(cases)}
    scores = [scored(case, condition, dice) for case, dice in values.items() for condition in FOLD_CONDITIONS]
    source, references = f"blobs, fold {number}", dict.fromkeys(cases, "hash")
    made = ScoreSet("tiny", facts, "all", (16, 24, 16), source, ("Ball",), references, tuple(scores))
    return replace(made, **changes)


FOUND = agreement(0.9, hd95_mm=1.0, volume_error_percent=3.0)
HARD = agreement(0.7, hd95_mm=8.0, volume_error_percent=-1.0)
MISSED = agreement(0.0, hd95_mm=math.nan, precision=math.nan, volume_error_percent=-100.0)
MADE_UP = agreement(0.0, hd95_mm=math.nan, recall=math.nan, volume_error_percent=math.inf)


def measured_set(name, labels, *cases):
    """All measures of each structure of each case."""
    scores = tuple(
        Score(case, "native", (1.0,) * 3, tuple(a.dice for a in measures), 0.1, measures, measures)
        for case, measures in zip(CASES, cases, strict=False)
    )
    return replace(score_set(name, [0.5] * 6), labels=labels, scores=scores)


def found_and_missed():
    """Of two structures in three cases the second model never finds the hard one, and finds the other alike."""
    labels = ("easy", "hard")
    return measured_set("both", labels, *[(FOUND, HARD)] * 3), measured_set(
        "one", labels, *[(FOUND, MISSED)] * 3
    )
