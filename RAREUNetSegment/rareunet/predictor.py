"""The main path: a Volume goes in, a label map on the same grid comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rareunet.answer_checks import check_border, check_certainty, check_found, check_route
from rareunet.bundle import DEFAULT_MODEL, Bundle
from rareunet.certainty import certainty_of, softmax
from rareunet.device import best_device, choose_device
from rareunet.geometry import RegionOfInterest, within_region
from rareunet.inference.ladder import Ladder, run_on_ladder
from rareunet.network import RAREUNet
from rareunet.prediction import Prediction, volumes_ml
from rareunet.preprocessing import NetworkGrid, to_input_grid, to_input_part, to_network_grid
from rareunet.routing import Router, route_for
from rareunet.scan_checks import check_scan
from rareunet.volume import Volume

Progress = Callable[[str, float], None]

CONSTANT_SCAN = "the scan is constant: the result is empty. Check that the right scan was chosen."


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Predictor:
    """A loaded model.

    Args:
        model: name of an installed model, a bundle's folder, or a Bundle.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        network: use this network instead of the bundle's weights (while training).
        router: chooses each scan's route; another one than route_for serves studies.
        keep_padding: show the network the padding around a scan, too; serves a baseline.
    """

    def __init__(
        self,
        model: str | Path | Bundle = DEFAULT_MODEL,
        device: str = "auto",
        network: RAREUNet | None = None,
        router: Router = route_for,
        *,
        keep_padding: bool = False,
    ) -> None:
        self.bundle = model if isinstance(model, Bundle) else Bundle.load(model)
        self.device, self._passed_over = best_device() if device == "auto" else (choose_device(device), "")
        self.network = self.bundle.load_network(self.device) if network is None else network
        self.router, self._keep_padding = router, keep_padding
        self._sha256 = self.bundle.sha256 if self.bundle.folder else "not saved"

    def predict(
        self,
        volume: Volume,
        region: RegionOfInterest | None = None,
        entry_depth: int | None = None,
        *,
        force: bool = False,
        memory_gb: float | None = None,
        structures: Iterable[str] | None = None,
        with_probabilities: bool = False,
        progress: Progress = lambda step, fraction: None,
    ) -> Prediction:
        """Segments a scan.

        Args:
            volume: the scan.
            region: part of the scan to segment; None for all of it.
            entry_depth: fixed entry depth, or None to choose each axis' depth by its spacing.
            force: segment even where the field of view is far beyond what the model was trained on.
            memory_gb: memory that the network may use beside its weights, GB; None for most of what is free.
            structures: names of those that the answer is to hold; the others become background. None for all.
            with_probabilities: keep the probabilities of all classes, also of structures that were not asked for.
            progress: called with the step's name and the fraction done.

        Raises:
            ValueError: wrong number of channels, no voxel in the region, unknown depth or structure, no memory allowed.
            FieldOfViewError: the scan needs a region of interest.
            MemoryLadderError: not even small tiles on the CPU fit into the memory.
        """
        if memory_gb is not None and not memory_gb > 0:
            raise ValueError(f"memory of {memory_gb} GB: allow more than 0, or leave it to be chosen.")
        clock, bundle = _Clock(), self.bundle
        labels = bundle.labels_named(structures)
        warnings = [*volume.notes, *check_scan(volume, bundle, region, force)]
        progress("prepare", 0.0)
        with clock.step("prepare"):
            image, grid = to_network_grid(
                volume, bundle.grid_settings, region, entry_depth, self.router, self._keep_padding
            )
        progress("network", 0.1)
        with clock.step("network"):
            _, z, y, x = image.shape
            ladder = Ladder.of(bundle, (z, y, x), grid.route, self.device)
            memory = None if memory_gb is None else memory_gb * 1e9
            result = run_on_ladder(
                self.network, image, ladder, lambda part: progress("network", 0.1 + 0.8 * part), memory
            )
        progress("finish", 0.9)
        with clock.step("finish"):
            logits = result.logits
            is_constant = not image.any()
            if is_constant:
                logits[1:] = logits.min() - 1  # nothing but background
            outside = _outside(region, grid, volume)
            label_map = _label_map(logits, grid, bundle, outside)
            probabilities = _probabilities(logits, grid, outside) if with_probabilities else None
            found = volumes_ml(label_map, bundle.labels, volume.voxel_ml)
            certainty = certainty_of(logits, [ml > 0 for ml in found.values()])
            if labels != bundle.labels:
                label_map[~np.isin(label_map, [label.value for label in labels])] = 0
            volumes = {label.name: found[label.name] for label in labels}
        progress("finish", 1.0)
        warnings += [
            *result.notes,
            *([CONSTANT_SCAN] if is_constant else []),
            *check_route(grid.route, bundle),
            *([self._passed_over] if self._passed_over else []),
            *check_found(volumes),
            *check_border(label_map, region, volume, bundle),
            *check_certainty(certainty, bundle),
        ]
        return Prediction(
            label_map,
            grid.route,
            str(result.rung.device),
            clock.seconds,
            volumes,
            warnings,
            {"name": bundle.name, "version": bundle.version, "sha256": self._sha256},
            labels,
            certainty,
            probabilities,
            stepped_down=bool(result.notes),
        )


def _label_map(logits: np.ndarray, grid: NetworkGrid, bundle: Bundle, outside: np.ndarray) -> np.ndarray:
    """Logits (K, Z, Y, X) on the network grid -> the labels' own values (Z, Y, X) on the scan's grid.

    Args:
        outside: from _outside; what is background whatever the logits say.
    """
    values = np.array([0, *(label.value for label in bundle.labels)])
    values = values.astype(np.min_scalar_type(values.max()))
    part = to_input_part(logits, grid, lambda scores: values[scores.argmax(axis=0)][np.newaxis])
    return to_input_grid(np.where(outside, values[0], part[0]), grid)


def _outside(region: RegionOfInterest | None, grid: NetworkGrid, volume: Volume) -> np.ndarray:
    """bool (Z, Y, X) of grid.box, or one for all: which of its voxels the region leaves out."""
    if region is None:
        return np.zeros((1, 1, 1), dtype=bool)
    # On an oblique scan the box holds more than the region.
    return ~within_region(region, grid.box, volume.ijk_to_ras)


def _probabilities(logits: np.ndarray, grid: NetworkGrid, outside: np.ndarray) -> np.ndarray:
    """Logits (K, Z, Y, X) on the network grid -> probabilities on the scan's grid; arguments as for _label_map."""
    whole = np.zeros((len(logits), *grid.input_shape), dtype=np.float32)
    whole[0] = 1
    background = whole[(slice(None), *grid.box)]
    whole[(slice(None), *grid.box)] = np.where(outside, background, to_input_part(logits, grid, softmax))
    return whole
