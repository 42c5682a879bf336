"""What to know before a training begins: how the scans and the settings go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rareunet.wording import times
from rareunet_training.configuration import FitConfig
from rareunet_training.data.dataset import make_batches
from rareunet_training.data.samples import SampleFacts
from rareunet_training.data.views import ViewSettings

CLEARLY_LARGER = 1.5  # times a patch; by up to so much `check` rounds the one that it proposes
MOST_PERCENT = 90  # of the scans, along each axis


def scan_warnings(scans: Sequence[SampleFacts], fit: FitConfig, settings: ViewSettings) -> list[str]:
    """Of the training scans, each with what to do."""
    found = (_small_batches(scans, fit, settings), _small_patches(scans, fit, settings))
    return [warning for warning in found if warning]


def _small_batches(scans: Sequence[SampleFacts], fit: FitConfig, settings: ViewSettings) -> str:
    """What to know where few scans can share a batch; '' where most batches are full."""
    batches = make_batches([scan.spacing_mm for scan in scans], fit, settings, 0)
    fewest = -(-len(scans) // fit.batch_size)
    if len(batches) < 2 * fewest:
        return ""
    mean = len(scans) / len(batches)
    return (
        f"batches hold {mean:.1f} scans on average, not {fit.batch_size} (fit.batch_size), since the scans of a batch"
        f" have about the same spacing: an epoch has {len(batches)} steps instead of {fewest}, and processes beyond"
        " that number have nothing to do. Resample the scans to fewer spacings, or start fewer processes."
    )


def _small_patches(scans: Sequence[SampleFacts], fit: FitConfig, settings: ViewSettings) -> str:
    """What to know where patches show no more than parts of most scans; '' where they about hold them."""
    extents_mm = np.array([np.multiply(scan.shape, scan.spacing_mm) for scan in scans])
    sizes = extents_mm / settings.reference_spacing_mm
    patches = {"fit.patch": fit.patch} | ({"fit.wide_patch": fit.wide_patch} if fit.wide_patch else {})
    held = [(sizes <= np.multiply(patch, CLEARLY_LARGER)).all(axis=1) for patch in patches.values()]
    larger = len(scans) - np.count_nonzero(np.any(held, axis=0))
    if larger <= len(scans) / 2:
        return ""
    usual, most = np.percentile(sizes, [50, MOST_PERCENT], axis=0).round().astype(int)
    multiple = 2**settings.stages  # to which a scan is padded
    whole = (-(-most // multiple) * multiple).tolist()
    shown = " and ".join(f"{name} ({times(patch)})" for name, patch in patches.items())
    return (
        f"{larger} of {len(scans)} scans are more than {CLEARLY_LARGER:g} times as large along some axis as {shown}: in"
        f" voxels of the reference spacing (Z x Y x X) the usual one has {times(usual)}. A model that has seen patches"
        " alone answers worse on whole scans (docs/training.md, section 6). As far as memory allows set"
        f" fit.wide_patch={whole}, which holds most of them: half of the steps then show what segmenting will."
    )
