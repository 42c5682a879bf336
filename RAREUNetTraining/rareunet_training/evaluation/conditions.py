"""Ways to present a labelled scan at a lower resolution, each with the reference that belongs to it.

A presented scan lies in its own world: turned as its patient lies, in mm, with the origin at the centre of the original
scan's first voxel. So no score depends on where the patient lies: elsewhere, rounding would decide which voxel is the
nearest where two are (at 1.5 mm for every third voxel of 1 mm). Coarse voxels carry the half-voxel shift in their
matrix, so that they stay where the fine ones lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rareunet.routing import COARSEST_RESIDUAL
from rareunet.volume import Volume
from rareunet_training.data.degradation import corner_label, degrade, halve, majority_label
from rareunet_training.data.samples import Sample

PAPER_SHAPE = (32, 64, 32)  # (Z, Y, X) voxels of the published hippocampus experiments
SCALES = ("1", "1/2", "1/4", "1/8")
ISOTROPIC_MM = (1.3, 1.5, 2, 3, 4, 6)
THICK_MM = (2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Condition:
    """A way to present a scan.

    Attributes:
        name: what tables call it.
        present: Sample and number of classes -> the presented scan, and the classes (Z, Y, X) of its voxels.
        applies: whether a scan can be presented so; one that is coarser along some axis can't.
    """

    name: str
    present: Callable[[Sample, int], tuple[Volume, np.ndarray]]
    applies: Callable[[Sample], bool] = lambda sample: True


def native() -> Condition:
    """The scan as it is."""
    return Condition("native", lambda sample, classes: (native_volume(sample), sample.label))


def coarser(name: str, spacing_mm: Sequence[float], thickness: float = 1.0) -> Condition:
    """The scan with voxels of spacing_mm (S, A, R) and a box slice profile, over its whole field of view.

    Args:
        thickness: share of each step that the slice covers; below 1 there are gaps.
    """

    def coarsening(sample: Sample) -> tuple[list[float], list[int]]:
        steps = [max(1.0, want / have) for want, have in zip(spacing_mm, sample.spacing_mm, strict=True)]
        return steps, [int(n / step + 1e-6) for n, step in zip(sample.label.shape, steps, strict=True)]

    def present(sample: Sample, classes: int) -> tuple[Volume, np.ndarray]:
        steps, sizes = coarsening(sample)
        image = degrade(sample.image, sizes, steps, thickness)
        return _volume(sample, image, steps), majority_label(sample.label, classes, sizes, steps)

    def applies(sample: Sample) -> bool:
        steps, sizes = coarsening(sample)
        # A little coarser is still a scan of the condition's kind.
        near = all(h <= COARSEST_RESIDUAL * w for h, w in zip(sample.spacing_mm, spacing_mm, strict=True))
        finer = max(sample.spacing_mm) <= max(spacing_mm) * 1.001
        return near and finer and max(steps) > 1.001 and min(sizes) >= 2

    return Condition(name, present, applies)


def paper_scale(depth: int, protocol: str = "aligned", shape: Sequence[int] = PAPER_SHAPE) -> Condition:
    """The scan cropped or padded to a shape and halved `depth` times.

    Args:
        shape: (Z, Y, X), axes S, A, R, in voxels of the scan's grid.
    """

    def present(sample: Sample, classes: int) -> tuple[Volume, np.ndarray]:
        starts = paper_starts(sample.label.shape, shape)
        image = crop_or_pad(sample.image, starts, shape)
        label = crop_or_pad(sample.label[None], starts, shape)[0]
        if depth == 0:
            return _volume(sample, image, (1, 1, 1), starts), label
        steps, sizes = [2.0**depth] * 3, [n // 2**depth for n in shape]
        coarse = (
            corner_label(label, depth)
            if protocol == "published"
            else majority_label(label, classes, sizes, steps)
        )
        return _volume(sample, halve(image, depth), steps, starts), coarse

    return Condition(scale_name(SCALES[depth], protocol), present)


def scale_name(scale: str, protocol: str) -> str:
    """Name of the condition of one of SCALES."""
    return f"scale {scale} ({protocol})"


def _isotropic_name(mm: float) -> str:
    return f"isotropic {mm} mm"


def _thick_name(mm: float, axis: str) -> str:
    return f"thick {mm} mm along {axis}"


def crop_of_patch(patch: Sequence[int]) -> tuple[int, int, int]:
    """The crop at the paper's scales for a model trained on such patches: as many voxels, rounded up so that it can be
    halved three times. The two are equally large in mm only where the scan has the reference spacing.

    Args:
        patch: (Z, Y, X) in voxels of the reference spacing.

    Returns:
        (Z, Y, X), axes S, A, R, in voxels of the scan's grid.
    """
    z, y, x = (max(16, -(-n // 8) * 8) for n in patch)
    return z, y, x


def clinical_conditions() -> list[Condition]:
    """What clinics see: the scan's own field of view at isotropic spacings and in thick slices."""
    isotropic = [coarser(_isotropic_name(mm), [mm] * 3) for mm in ISOTROPIC_MM]
    thick = [
        coarser(_thick_name(mm, axis), [mm if a == axis else 1 for a in "SAR"])
        for mm in THICK_MM
        for axis in "SAR"
    ]
    others = [coarser("2 x 2 x 5 mm", [5, 2, 2]), coarser("2 mm slices every 4 mm", [4, 1, 1], thickness=0.5)]
    return [native(), *isotropic, *thick, *others]


def paper_conditions(protocol: str, shape: Sequence[int] = PAPER_SHAPE) -> list[Condition]:
    """The paper's four scales, "aligned" or "published"."""
    return [paper_scale(depth, protocol, shape) for depth in range(len(SCALES))]


def paper_scale_names() -> list[str]:
    """Names of the conditions that show a crop of the scan."""
    return [c.name for protocol in ("aligned", "published") for c in paper_conditions(protocol)]


def standard_conditions(shape: Sequence[int] = PAPER_SHAPE) -> list[Condition]:
    """What clinics see, then the paper's scales with aligned labels."""
    return [*clinical_conditions(), *paper_conditions("aligned", shape)]


def quick_conditions(protocol: str = "aligned", shape: Sequence[int] = PAPER_SHAPE) -> list[Condition]:
    """Few enough to score between epochs and to show beside each other."""
    scales = paper_conditions(protocol, shape)
    return scales if protocol == "published" else [*scales, coarser(_thick_name(4, "S"), [4, 1, 1])]


def conditions_of(protocol: str, shape: Sequence[int] = PAPER_SHAPE) -> list[Condition]:
    """Conditions of "clinical", "aligned", "published" or "all"; "standard" is clinical and aligned."""
    if protocol == "standard":
        return standard_conditions(shape)
    if protocol == "all":
        return [*standard_conditions(shape), *paper_conditions("published", shape)]
    return clinical_conditions() if protocol == "clinical" else paper_conditions(protocol, shape)


def series() -> dict[str, list[str]]:
    """Names of conditions that differ in one spacing alone, by what they show; the paper's scales are their own."""
    thick = {f"Thick slices along {axis}": [_thick_name(mm, axis) for mm in THICK_MM] for axis in "SAR"}
    rows = {"Isotropic": [_isotropic_name(mm) for mm in ISOTROPIC_MM], **thick}
    scales = {f"Paper's scales ({p})": [scale_name(s, p) for s in SCALES] for p in ("aligned", "published")}
    return {title: ["native", *names] for title, names in rows.items()} | scales


def groups() -> dict[str, list[str]]:
    """Names of conditions whose mean says something; all leaves out the paper's displaced labels."""
    isotropic = [_isotropic_name(mm) for mm in ISOTROPIC_MM]
    scales, published = ([c.name for c in paper_conditions(p)] for p in ("aligned", "published"))
    clinical = [c.name for c in clinical_conditions()]
    thick = [name for name in clinical if name not in (native().name, *isotropic)]
    return {
        "isotropic": isotropic,
        "thick slices": thick,
        "scales (aligned)": scales,
        "scales (published)": published,
        "all": [*clinical, *scales],
    }


def native_volume(sample: Sample) -> Volume:
    """The scan as it is, in the world of presented scans."""
    return _volume(sample, sample.image, (1, 1, 1))


def matrix_in_patient(sample: Sample, presented: Volume) -> np.ndarray:
    """World matrix (4, 4) of a presented scan where its patient lies."""
    matrix = presented.ijk_to_ras.copy()
    matrix[:3, 3] += sample.ijk_to_ras[:3, 3]
    return matrix


def paper_starts(shape: Sequence[int], target: Sequence[int]) -> list[int]:
    """First voxel (z, y, x) of the centred crop; negative for padding. An odd difference puts the larger half first."""
    return [
        (n - size + 1) // 2 if n > size else -((size - n + 1) // 2)
        for n, size in zip(shape, target, strict=True)
    ]


def crop_or_pad(image: np.ndarray, starts: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Voxels starts to starts + shape of (C, Z, Y, X), 0 where there are none."""
    for axis, (start, size) in enumerate(zip(starts, shape, strict=True), start=1):
        after = max(0, start + size - image.shape[axis])
        kept = image.take(range(max(start, 0), start + size - after), axis)
        pads = [(0, 0)] * image.ndim
        pads[axis] = (max(-start, 0), after)
        image = np.pad(kept, pads)
    return image


def _volume(
    sample: Sample, image: np.ndarray, steps: Sequence[float], starts: Sequence[float] = (0, 0, 0)
) -> Volume:
    """A volume whose first voxel begins where the fine voxel `starts` begins: its centre is (step - 1) / 2 further."""
    axes, matrix = sample.ijk_to_ras[:3, :3], np.eye(4)
    step_xyz, start_xyz = np.array([steps, starts])[:, ::-1]
    matrix[:3, :3] = axes * step_xyz
    matrix[:3, 3] = axes @ (start_xyz + (step_xyz - 1) / 2)
    return Volume(image, matrix, sample.name)
