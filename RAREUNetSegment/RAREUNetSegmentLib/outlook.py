"""What will happen on Apply, said before anything runs: the route, the accuracy to expect, what is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from rareunet.bundle import Bundle
from rareunet.geometry import RegionOfInterest, box_of_region, canonical_spacing, whole_box
from rareunet.preprocessing import route_of_scan
from rareunet.scan_checks import FIELD_OF_VIEW_DOUBT, FIELD_OF_VIEW_LIMIT, excess, shown_mm
from rareunet.wording import capital, times
from RAREUNetSegmentLib.accuracy import expected_accuracy
from RAREUNetSegmentLib.choices import depth_number
from RAREUNetSegmentLib.scene import ijk_to_world, region_from_node
from RAREUNetSegmentLib.structure_list import chosen, left_out

MOST_CHANNELS = 4  # that the panel has selectors for


@dataclass(frozen=True)
class Outlook:
    """Sentences for the panel.

    Attributes:
        route: how the scan will enter the network.
        expected: the accuracy measured nearest to this spacing, of the structures that are wanted; '' where the model
            tells none.
        warnings: what to know before Apply.
    """

    route: str
    expected: str
    warnings: tuple[str, ...]


def describe_choice(parameters: Any, facts: Bundle | None) -> tuple[str, str]:
    """Why Apply can't be pressed ('' if it can), and the lines above it.

    Args:
        parameters: the panel's parameter node, or None.
        facts: the chosen model's; None where none can be used.
    """
    sentence = _missing_choice(parameters, facts)
    if sentence or facts is None:
        return sentence, sentence
    node = parameters.inputVolume
    try:
        view = outlook_for(
            facts,
            node.GetImageData().GetDimensions()[::-1],
            ijk_to_world(node),
            region_from_node(parameters.regionOfInterest),
            depth_number(parameters.entryDepth.value),
            parameters.force,
            chosen(facts.structure_names, left_out(parameters.leftOut, parameters.model)),
        )
    except ValueError as error:
        return str(error), f"⚠ {capital(str(error))}"
    lines = [f"{capital(line)}." for line in (view.route, view.expected) if line]
    lines += [f"⚠ {capital(line)}" for line in view.warnings]
    return "", "\n".join(lines)


def _missing_choice(parameters: Any, facts: Bundle | None) -> str:
    if not parameters or not parameters.inputVolume:
        return _("Choose a scan.")
    if parameters.inputVolume.GetImageData() is None:
        return _("The scan {name} has no voxels: choose another one.").format(
            name=parameters.inputVolume.GetName()
        )
    if facts is None:
        return _("Choose a model.")
    if len(facts.channel_names) > MOST_CHANNELS:
        return _(
            "This model needs {number} channels: use it from the Python console or the command line."
        ).format(number=len(facts.channel_names))
    for number, name in enumerate(facts.channel_names[1:], start=2):
        if not getattr(parameters, f"channel{number}"):
            return _("Choose the channel {name}.").format(name=name)
    if chosen(facts.structure_names, left_out(parameters.leftOut, parameters.model)) == ():
        return _("Tick at least one structure.")
    return ""


def outlook_for(
    facts: Bundle,
    shape: Sequence[int],
    ijk_to_ras: np.ndarray,
    region: RegionOfInterest | None = None,
    entry_depth: int | None = None,
    force: bool = False,
    structures: Sequence[str] | None = None,
) -> Outlook:
    """What Apply will do with a scan.

    Args:
        facts: the model's.
        shape: size (Z, Y, X), voxels.
        ijk_to_ras: (4, 4) world matrix.
        region: region of interest, None for the whole scan.
        entry_depth: None chooses by spacing.
        force: the user accepts a field of view that is too large.
        structures: names of those that are wanted; None for all.

    Raises:
        ValueError: region outside the scan, unknown depth, unusable spacing.
    """
    spacing = canonical_spacing(ijk_to_ras)
    box = whole_box(shape) if region is None else box_of_region(region, shape, ijk_to_ras)
    straighten = facts.straighten_turned
    extent = shown_mm(box, ijk_to_ras, region, straighten)
    route, automatic = (
        route_of_scan(
            ijk_to_ras,
            facts.reference_spacing_mm,
            facts.deepest,
            depth,
            straighten_turned=straighten,
            has_region=region is not None,
        )
        for depth in (entry_depth, None)
    )
    # By the scan's own spacing even where it is straightened: resampling does not bring back what thick slices lost.
    expected = expected_accuracy(facts.resolution_card, spacing, facts.structure_names, structures)
    if expected and route != automatic:
        expected = _("accuracy was not measured for this entry depth")
    warnings = list(route.warnings)
    largest = facts.field_of_view_mm["largest"]
    factor = excess(extent, largest)
    shown, known = (times(reversed(mm), ".0f") for mm in (extent, largest))
    seen = _("The field of view is {shown} mm, the model knows up to {known} mm").format(
        shown=shown, known=known
    )
    if factor > FIELD_OF_VIEW_LIMIT and not force:
        # Not refused here: the core leaves padding out, which only reading all voxels would tell.
        advice = _(
            "Unless the rest is padding, Apply will refuse: place a region of interest around the structure."
        )
        warnings.append(f"{seen}. {advice}")
    elif factor > FIELD_OF_VIEW_DOUBT:
        warnings.append(f"{seen}: {_('expect false findings, or make the region of interest smaller.')}")
    return Outlook(route.describe(), expected, tuple(warnings))
