"""Spacing -> route. Expected values are worked out by hand for a reference of 1 mm and depths 0 to 3.

a = clamp(floor(log2 r + 0.32), 0, 3); the next depth begins at r = 2^(d - 0.32): 1.602, 3.204, 6.407.
A residual r / 2^a in [0.8, 1.25], at depths 0 and 1 in [0.8, 1.125], enters as it is; a coarser one is resampled to
2^(a - 1) mm, at depth 0 to 1 mm, and enters there; what is finer than 0.8 mm is resampled to 1 mm, what is coarser than
10 mm to 8 mm. An axis of depth 1 beside one of depth 0 is resampled to 1 mm unless the network sees it at 1.98 to 2.02
mm and those of depth 0 at 0.99 to 1.01 mm, none of which was coarser.
"""

import pytest

from rareunet.routing import route_for

# spacing, depth, spacing that the network sees
ONE_AXIS = [
    (0.4, 0, 1.0),
    (0.7, 0, 1.0),
    (0.8, 0, 0.8),
    (0.94, 0, 0.94),
    (1.0, 0, 1.0),
    (1.12, 0, 1.12),
    (1.15, 0, 1.0),
    (1.25, 0, 1.0),
    (1.5, 0, 1.0),
    (1.59, 0, 1.0),
    (1.6, 1, 1.6),
    (1.75, 1, 1.75),
    (2.0, 1, 2.0),
    (2.25, 1, 2.25),
    (2.3, 0, 1.0),
    (2.5, 0, 1.0),
    (2.6, 0, 1.0),
    (3.0, 0, 1.0),
    (3.25, 2, 3.25),
    (4.0, 2, 4.0),
    (6.0, 1, 2.0),
    (6.4, 3, 6.4),
    (7.0, 3, 7.0),
    (8.0, 3, 8.0),
    (10.0, 3, 10.0),
    (12.0, 3, 8.0),
    (20.0, 3, 8.0),
]

# spacing (z, y, x), entry depth, axis depths
MIXED = [
    ((4, 1, 1), 0, (2, 0, 0)),
    ((5, 2, 2), 1, (2, 1, 1)),
    ((5, 2.5, 2.5), 0, (2, 0, 0)),
    ((1, 4, 1), 0, (0, 2, 0)),
    ((8, 4, 2), 1, (2, 2, 1)),
    ((8, 1, 1), 0, (2, 0, 0)),
    ((8, 8, 4), 2, (2, 2, 2)),
    ((8, 7, 6.5), 3, (3, 3, 3)),
    ((3, 0.5, 0.5), 0, (0, 0, 0)),
    ((6, 1, 1), 0, (1, 0, 0)),
    ((20, 8, 8), 3, (3, 3, 3)),
    ((2, 1, 1), 0, (1, 0, 0)),
    ((1.99, 1, 1), 0, (1, 0, 0)),
    ((2.02, 1, 1), 0, (1, 0, 0)),
    ((2.02, 1, 1.3), 0, (0, 0, 0)),
    ((2, 0.94, 0.94), 0, (0, 0, 0)),
    ((2, 0.5, 0.5), 0, (1, 0, 0)),
    ((3, 2, 2), 0, (0, 0, 0)),
    ((2.5, 2, 2), 0, (0, 0, 0)),
    ((3, 2, 1), 0, (0, 0, 0)),
    ((4, 2, 1), 0, (2, 1, 0)),
    ((6, 2, 2), 1, (1, 1, 1)),
    ((1.97, 1, 1), 0, (0, 0, 0)),
    ((2.03, 1, 1), 0, (0, 0, 0)),
    ((1.6, 2.2, 1), 0, (0, 0, 0)),
    ((3, 1.8, 2), 0, (0, 0, 0)),
    ((2.5, 1.8, 1.8), 0, (0, 0, 0)),
    ((1.8, 2.1, 1.7), 1, (1, 1, 1)),
    ((5, 1.8, 1.8), 1, (2, 1, 1)),
]


@pytest.mark.parametrize(("spacing", "depth", "network_spacing"), ONE_AXIS)
def test_isotropic_spacing(spacing, depth, network_spacing):
    route = route_for((spacing,) * 3)
    assert route.entry_depth == depth
    assert route.axis_depths == (depth,) * 3
    assert route.network_spacing_mm == (network_spacing,) * 3
    assert route.resampled_axes == (spacing != network_spacing,) * 3


@pytest.mark.parametrize(("spacing", "entry_depth", "axis_depths"), MIXED)
def test_mixed_axes(spacing, entry_depth, axis_depths):
    route = route_for(spacing)
    assert route.entry_depth == entry_depth
    assert route.axis_depths == axis_depths


def test_mixed_residuals_in_range_are_not_resampled():
    route = route_for((5, 2, 2))
    assert route.axis_depths == (2, 1, 1)
    assert not any(route.resampled_axes)


def test_only_the_axis_out_of_range_is_resampled():
    route = route_for((6, 1, 1))
    assert route.network_spacing_mm == (2, 1, 1)
    assert route.resampled_axes == (True, False, False)


def test_the_ratio_to_the_reference_counts():
    assert route_for((4, 1, 1), reference_spacing_mm=(2, 0.5, 0.25)).axis_depths == (1, 1, 2)


def test_float32_spacing_at_the_threshold_is_not_resampled():
    assert not any(route_for((1.1250001, 0.79999995, 1)).resampled_axes)


def test_waiting_axes_do_not_keep_others_from_being_resampled():
    assert route_for((4, 1.25, 1.25)).network_spacing_mm == (4, 1, 1)
    assert route_for((2, 1.2, 1.2)).network_spacing_mm == (1, 1, 1)


def test_fixed_depth_0_is_the_route_of_its_own_scans():
    assert route_for((1.2, 1, 1), entry_depth=0) == route_for((1.2, 1, 1))


def test_fixed_depth_1_keeps_what_is_near_it():
    assert route_for((2.4, 2, 2), entry_depth=1).network_spacing_mm == (2.4, 2, 2)


def test_a_shallower_model_clamps():
    route = route_for((8, 8, 8), deepest=1)
    assert route.axis_depths == (1, 1, 1)
    assert route.network_spacing_mm == (2, 2, 2)
    assert route_for((2.4, 2.4, 2.4), deepest=1).axis_depths == (0, 0, 0)


def test_forced_depth_resamples_to_that_depth():
    route = route_for((1, 1, 1), entry_depth=2)
    assert route.axis_depths == (2, 2, 2)
    assert route.network_spacing_mm == (4, 4, 4)


def test_forced_depth_keeps_what_is_near_enough():
    assert route_for((5, 4, 1), entry_depth=2).network_spacing_mm == (5, 4, 4)


@pytest.mark.parametrize(("spacing", "warned"), [(8, False), (9, False), (9.1, True), (10, True), (20, True)])
@pytest.mark.parametrize("isotropic", [False, True])
def test_coarser_than_the_range_warns_and_names_it(spacing, warned, isotropic):
    route = route_for((spacing, spacing, spacing) if isotropic else (spacing, 1, 1))
    assert bool(route.warnings) == warned
    if warned:
        assert "0.8 to 9.0 mm" in route.warnings[0]
        assert route.warnings[0].startswith("z ")


@pytest.mark.parametrize(
    "spacing", [(0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1), (1, float("inf"), 1), (1, 1), (1, 1, 1, 1)]
)
def test_bad_spacing_is_refused(spacing):
    with pytest.raises(ValueError, match="three positive numbers"):
        route_for(spacing)


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_depth_that_the_model_lacks_is_refused(depth):
    with pytest.raises(ValueError, match="choose 0 to 3"):
        route_for((1, 1, 1), entry_depth=depth)


@pytest.mark.parametrize(
    ("spacing", "text"),
    [
        ((4, 1, 1), "1.0 x 1.0 x 4.0 mm: enters at depth 0, z at depth 2"),
        (
            (12, 10, 1.75),
            "1.75 x 10.0 x 12.0 mm: enters at depth 1, y at depth 2, z at depth 2;"
            " y resampled from 10.0 to 4.0 mm; z resampled from 12.0 to 4.0 mm",
        ),
    ],
)
def test_describe(spacing, text):
    assert route_for(spacing).describe() == text


def test_tiny_spacings_are_told_with_their_digits():
    assert route_for((0.001, 0.02, 1)).describe().startswith("1.0 x 0.02 x 0.001 mm")
