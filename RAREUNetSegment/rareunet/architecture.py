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
        residual_encoder: the blocks of the encoder and the bottleneck are residual.
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
    residual_encoder: bool = False
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("residual_encoder", "dropout"):
                continue
            if not isinstance(value, int) or value < (0 if name == "gateways" else 1):
                raise ValueError(f"architecture.{name} is {value!r}: a whole number of at least 1 is needed.")
        if not isinstance(self.residual_encoder, bool):
            raise ValueError(
                f"architecture.residual_encoder is {self.residual_encoder!r}: write true or false."
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
