"""Shape of the network: what a bundle says of it. No torch, so that a bundle is checked without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Shape of the network; travels in the bundle.

    Attributes:
        in_channels: image channels.
        classes: output classes, background included.
        stages: encoder stages above the bottleneck.
        filters: width of stage 0; doubles per stage up to max_filters.
        max_filters: cap of the width.
        gateways: number of gateways; gateway d serves entry depth d, so this is the deepest entry depth.
        gateway_convolutions, encoder_convolutions, decoder_convolutions: convolutions in each such block.
        residual_blocks: in the bottleneck and each encoder stage but stage 0, the costly one, which has one; 0 for
            one plain block in each.
        dropout: probability of dropping a channel after each stage while training.
    """

    in_channels: int = 1
    classes: int = 2
    stages: int = 5
    filters: int = 32
    max_filters: int = 320
    gateways: int = 3
    gateway_convolutions: int = 2
    encoder_convolutions: int = 2
    decoder_convolutions: int = 1
    residual_blocks: int = 0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name in ("gateways", "residual_blocks") else 1
            if name != "dropout" and (not isinstance(value, int) or value < least):
                raise ValueError(
                    f"architecture.{name} is {value!r}: a whole number of at least {least} is needed."
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"architecture.dropout is {self.dropout}: choose a number in [0, 1).")
        if self.gateways >= self.stages:
            raise ValueError(
                f"{self.gateways} gateways need more than {self.stages} stages: gateway d feeds encoder stage d + 1."
            )

    def width(self, stage: int) -> int:
        """Channels of a stage; stage == stages is the bottleneck."""
        return min(self.filters * 2**stage, self.max_filters)

    def residual_blocks_of(self, stage: int) -> int:
        """Residual blocks of an encoder stage or, with stage == stages, the bottleneck; 0 for a plain block."""
        return self.residual_blocks if stage else min(self.residual_blocks, 1)

    @classmethod
    def preset(cls, name: str, in_channels: int, classes: int) -> Architecture:
        """ "paper": the published network. "default": the lighter network of the shipped models."""
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}.")
        return cls(in_channels=in_channels, classes=classes, **PRESETS[name])


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "default": {"stages": 4, "filters": 16, "max_filters": 256, "decoder_convolutions": 2, "dropout": 0.0},
}
