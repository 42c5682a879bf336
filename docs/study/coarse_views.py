"""Trains on views at 1/4 and 1/8 alone: the fit command with no other views in a step.

    python docs/study/coarse_views.py --output runs/coarse --config FILE data.folder=PATH fit.epochs=24

There is nothing at full resolution in such a step to hold features against, so there is no consistency loss.
"""

from __future__ import annotations

import sys
from typing import Any

from rareunet_training.__main__ import main
from rareunet_training.data import dataset
from rareunet_training.data.views import View

every_view = dataset.make_views


def coarse_views(*arguments: Any) -> list[View]:
    return [view for view in every_view(*arguments) if view.name in ("1/4", "1/8")]


# Here, so that workers that are started anew and import this file show the same views.
dataset.make_views = coarse_views  # type: ignore[assignment]

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:], "loss.consistency=0"]))
