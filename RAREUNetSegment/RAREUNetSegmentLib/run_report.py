"""What to send to the developers when a run failed: versions, machine, scan and traceback, but no patient's name."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

import slicer

from rareunet import __version__
from rareunet.preprocessing import route_of_scan
from rareunet.wording import times
from rareunet.worker.protocol import Failure
from RAREUNetSegmentLib.models import read_model
from RAREUNetSegmentLib.run_request import Request


def make_report(failure: Failure, request: Request, private_names: Sequence[str]) -> str:
    """The report as text.

    Args:
        request: what was asked for.
        private_names: names of nodes, which may be patients'; replaced wherever they occur.
    """
    scan, region = request.channels[0], request.region
    x, y, z = reversed(scan.shape)
    lines = [
        *about_computer(),
        f"Device asked for: {request.device}; memory allowed:"
        f" {f'{request.memory_gb:g} GB' if request.memory_gb else 'automatic'}",
        f"Model: {_model(request)}",
        f"Scan: {len(request.channels)} x {x} x {y} x {z} (channels x X x Y x Z), {scan.voxels.dtype},"
        f" {times(reversed(scan.spacing_mm), '.3g')} mm",
        f"Structures: {'; '.join(request.structures) if request.structures else 'all'}",
        "Region: " + (f"{times(region.size_mm, '.0f')} mm" if region else "whole scan"),
        f"Route: {route_of(request)}",
        f"What happened: {failure.cause}",
        f"Advice given: {failure.next_step or 'in the sentence above'}",
        "",
        failure.details.strip() or "(no traceback and no output)",
    ]
    text = "\n".join(lines)
    for name in sorted(filter(None, private_names), key=len, reverse=True):
        text = text.replace(name, "[name]")
    return text


def about_computer(*packages: str) -> list[str]:
    """Two lines: versions, of further packages too, and the system."""
    versions = [f"{package} {_version(package)}" for package in ("torch", "numpy", *packages)]
    return [
        f"RAREUNet {__version__}, Slicer {slicer.app.applicationVersion}, Python {platform.python_version()},"
        f" {', '.join(versions)}",
        f"System: {platform.platform()}, {platform.machine()}",
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _model(request: Request) -> str:
    try:
        model = read_model(request.model)
    except ValueError as error:
        return f"unreadable ({error})"
    return f"{model.name} {model.version}"


def route_of(request: Request) -> str:
    """Entry as the core will choose it, in words; a report must come about whatever is wrong with the scan."""
    scan = request.channels[0]
    try:
        model = read_model(request.model)
        route = route_of_scan(
            scan.ijk_to_ras,
            model.reference_spacing_mm,
            model.deepest,
            request.entry_depth,
            straighten_turned=model.straighten_turned,
            has_region=request.region is not None,
        )
    except ValueError as error:
        return f"none ({error})"
    return route.describe()
