"""Scans that lie otherwise: turned in the patient, or stored with their array axes in another order and direction.

Worked out without the core's Reorientation, which these test.
"""

from __future__ import annotations

import itertools

import numpy as np

from rareunet.volume import Volume

# In which order and direction (flipped or not) an array may hold the axes (z, y, x) of a scan.
STORAGES = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3))
)


def turned(degrees, axis):
    """(3, 3) turn about R, A or S (0, 1 or 2)."""
    a, b = [i for i in range(3) if i != axis]
    turn = np.eye(3)
    turn[a, a] = turn[b, b] = np.cos(np.deg2rad(degrees))
    turn[b, a] = np.sin(np.deg2rad(degrees))
    turn[a, b] = -turn[b, a]
    return turn


def turned_world(degrees, axis):
    """The same turn as a (4, 4) matrix."""
    matrix = np.eye(4)
    matrix[:3, :3] = turned(degrees, axis)
    return matrix


def straight_world(spacing_mm):
    """World matrix (4, 4) of voxels of that spacing (z, y, x) along S, A and R, from the origin on."""
    return np.diag([*reversed(spacing_mm), 1.0])


def oblique():
    """World matrix of voxels of 0.9 x 1.2 x 3 mm, turned about two axes, somewhere off the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = turned(20, 2) @ turned(-35, 0) @ np.diag([0.9, 1.2, 3.0])
    matrix[:3, 3] = [12, -7, 33]
    return matrix


def stored_otherwise(volume, order, flips):
    """The same scan in another storage."""
    change = np.zeros((4, 4))
    change[3, 3] = 1
    voxels = volume.voxels.transpose(0, *(axis + 1 for axis in order))
    for new, (old, flipped) in enumerate(zip(order, flips, strict=True)):
        change[2 - old, 2 - new] = -1 if flipped else 1
        change[2 - old, 3] = volume.shape[old] - 1 if flipped else 0
        if flipped:
            voxels = np.flip(voxels, new + 1)
    return Volume(np.ascontiguousarray(voxels), volume.ijk_to_ras @ change, volume.name)


def as_before(array, order, flips):
    """(Z, Y, X) of such a scan in the storage that it had before."""
    for axis, flipped in enumerate(flips):
        if flipped:
            array = np.flip(array, axis)
    return array.transpose(np.argsort(order))
