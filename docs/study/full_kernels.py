"""Trains a network that convolves along waiting axes too: the fit command without collapsed kernels.

    python docs/study/full_kernels.py --output runs/full --config FILE data.folder=PATH fit.epochs=20

Its bundle is to be asked as it was trained: `compare ... runs/full/hippocampus:full-kernels`.
"""

from __future__ import annotations

import sys

from rareunet.blocks import Convolution, UpConvolution
from rareunet_training.__main__ import main
from rareunet_training.evaluation.baselines import full_up_convolution

if __name__ == "__main__":
    Convolution.kernel = lambda self, collapsed: self.weight  # type: ignore[method-assign]
    UpConvolution.forward = full_up_convolution  # type: ignore[method-assign]
    sys.exit(main(["fit", *sys.argv[1:]]))
