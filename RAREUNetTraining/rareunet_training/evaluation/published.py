"""The Dice of the paper's Tables 1 and 2, to stand beside ours; comparable under the published protocol alone.

Per method: mean and standard deviation over the test cases at the scales 1, 1/2, 1/4 and 1/8, and the overall mean. The
paper gives the seconds and sizes of its networks in a figure only, without numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedDice:
    """A row of the paper's table; `means` and `sds` of the four scales."""

    method: str
    means: tuple[float, float, float, float]
    sds: tuple[float, float, float, float]
    overall: float


@dataclass(frozen=True)
class PublishedTable:
    """One of the paper's two tables."""

    cases: int
    rows: tuple[PublishedDice, ...]


PUBLISHED = {
    "hippocampus": PublishedTable(
        52,
        (
            PublishedDice("UNet-Pad", (0.874, 0.034, 0.000, 0.000), (0.037, 0.033, 0.000, 0.000), 0.227),
            PublishedDice("UNet-Up", (0.874, 0.848, 0.776, 0.334), (0.037, 0.058, 0.083, 0.150), 0.708),
            PublishedDice("UNet+Aug-Pad", (0.871, 0.213, 0.066, 0.000), (0.034, 0.034, 0.026, 0.000), 0.287),
            PublishedDice("UNet+Aug-Up", (0.871, 0.860, 0.822, 0.789), (0.034, 0.039, 0.069, 0.131), 0.835),
            PublishedDice("nnU-Net-Pad", (0.880, 0.819, 0.529, 0.030), (0.032, 0.045, 0.097, 0.062), 0.564),
            PublishedDice("nnU-Net-Up", (0.880, 0.820, 0.597, 0.055), (0.032, 0.067, 0.106, 0.085), 0.588),
            PublishedDice("RARE-UNet", (0.869, 0.862, 0.835, 0.785), (0.032, 0.037, 0.063, 0.134), 0.838),
        ),
    ),
    "brain-tumour": PublishedTable(
        97,
        (
            PublishedDice("UNet-Pad", (0.699, 0.208, 0.176, 0.066), (0.154, 0.124, 0.114, 0.062), 0.287),
            PublishedDice("UNet-Up", (0.699, 0.677, 0.620, 0.493), (0.154, 0.151, 0.133, 0.134), 0.622),
            PublishedDice("UNet+Aug-Pad", (0.688, 0.072, 0.033, 0.046), (0.144, 0.124, 0.038, 0.094), 0.210),
            PublishedDice("UNet+Aug-Up", (0.688, 0.673, 0.627, 0.509), (0.144, 0.139, 0.118, 0.119), 0.624),
            PublishedDice("nnU-Net-Pad", (0.712, 0.670, 0.583, 0.399), (0.152, 0.152, 0.128, 0.125), 0.591),
            PublishedDice("nnU-Net-Up", (0.712, 0.660, 0.595, 0.452), (0.152, 0.155, 0.140, 0.145), 0.605),
            PublishedDice("RARE-UNet", (0.693, 0.693, 0.652, 0.567), (0.159, 0.154, 0.138, 0.162), 0.651),
        ),
    ),
}
