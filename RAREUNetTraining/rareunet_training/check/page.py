"""A report as one HTML page that needs nothing beside it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rareunet.routing import DEPTH_ROUNDING
from rareunet_training.check import summary
from rareunet_training.check.report import CheckReport

BINS_PER_DOUBLING = 4
AXES = ((2, "R (x)"), (1, "A (y)"), (0, "S (z)"))


@dataclass(frozen=True)
class Bar:
    """Cases of one spacing: left edge and width as a share of the picture, height as a share of the tallest."""

    left: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """Spacings along one axis."""

    axis: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Band:
    """The spacings of one depth: edges and the depth's own spacing as shares of the picture."""

    depth: int
    left: float
    right: float
    middle: float
    text: str


def to_html(report: CheckReport) -> str:
    """The page; every name in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    bands, histograms = spacing_picture(report)
    return pages.get_template("page.html.jinja").render(
        report=report,
        headline=summary.headline(report),
        groups=summary.group(report.findings),
        structures=summary.structures(report.cases),
        routes=summary.routes(report.cases),
        rows=summary.rows(report),
        proposals=summary.proposals(report),
        reference=summary.along_ras(report.reference_spacing_mm),
        bands=bands,
        histograms=histograms,
    )


def spacing_picture(report: CheckReport) -> tuple[list[Band], list[Histogram]]:
    """How many cases have which spacing along each axis, over the depths, on a scale of doublings."""
    ratios = [
        [
            spacing / reference
            for spacing, reference in zip(c.spacing_mm, report.reference_spacing_mm, strict=True)
        ]
        for c in report.cases
        if c.spacing_mm is not None
    ]
    if not ratios:
        return [], []
    low = min(-1.0, math.log2(min(map(min, ratios))) - 0.5)
    high = max(report.deepest + 1.0, math.log2(max(map(max, ratios))) + 0.5)

    def place(doublings: float) -> float:
        return (min(max(doublings, low), high) - low) / (high - low)

    edges = [low, *(d - DEPTH_ROUNDING for d in range(1, report.deepest + 1)), high]
    isotropic = len(set(report.reference_spacing_mm)) == 1
    bands = [
        Band(
            d, place(edges[d]), place(edges[d + 1]), place(d),
            f"{report.reference_spacing_mm[0] * 2**d:.4g} mm" if isotropic else f"{2**d} x reference",
        )
        for d in range(report.deepest + 1)
    ]  # fmt: skip
    counts = {
        axis: Counter(round(math.log2(r[axis]) * BINS_PER_DOUBLING) for r in ratios) for axis, _ in AXES
    }
    tallest = max(max(count.values()) for count in counts.values())
    width = 1 / BINS_PER_DOUBLING
    return bands, [
        Histogram(
            name,
            tuple(
                Bar(
                    place((b - 0.5) * width), place((b + 0.5) * width) - place((b - 0.5) * width), n / tallest,
                    f"{n} at about {report.reference_spacing_mm[axis] * 2 ** (b * width):.3g} mm",
                )
                for b, n in sorted(counts[axis].items())
            ),
        )
        for axis, name in AXES
    ]  # fmt: skip
