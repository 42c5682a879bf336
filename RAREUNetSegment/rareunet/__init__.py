"""RARE-UNet: segments a 3D scan at the resolution it has.

The core is plain Python over numpy. Everything else is imported on first use, so that `import rareunet` stays fast and
Slicer's panel opens without it: torch and safetensors for a network, fastjsonschema for a model's description, nibabel,
SimpleITK and pydicom for files, scipy for grids that are turned.

    from rareunet import Predictor, read_volume
    prediction = Predictor("hippocampus").predict(read_volume("scan.nii.gz"))
"""

from importlib import import_module
from typing import Any

from rareunet.geometry import RegionOfInterest
from rareunet.routing import Route, route_for
from rareunet.volume import Volume

__version__ = "0.1.0"

_LAZY = {
    "Bundle": "rareunet.bundle",
    "Predictor": "rareunet.predictor",
    "Prediction": "rareunet.prediction",
    "read_volume": "rareunet.volume_files",
    "write_label_map": "rareunet.volume_files",
}

__all__ = ["RegionOfInterest", "Route", "Volume", "__version__", "route_for", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rareunet' has no attribute {name!r}")
