from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse.linalg import eigsh

from benchmarks.wave_convergence import convergence
from edgevision.data.wave_matrices import assemble, element_stiffness
from edgevision.data.wave_mesh import triangulated_square
from edgevision.data.wave_solver import Source, Waves
from edgevision.errors import UsageError

ABSORBING = ("absorbing",) * 4


def uniform(mesh, speed=1.0):
    return np.full(len(mesh.triangles), speed)


@pytest.mark.parametrize("borders", ["fixed", "free"])
def test_standing_waves_converge_with_second_order(borders):
    rows = convergence(borders, (8, 16, 32, 64))
    assert rows[-1].error < 0.01
    assert rows[-1].order == pytest.approx(2.0, abs=0.1)
    assert rows[-1].energy_drift < 0.02


def test_stiffness_is_the_integral_of_the_gradients():
    mesh = triangulated_square(5)
    matrices = assemble(mesh, uniform(mesh, 3.0))
    x, y = mesh.nodes.T
    # The hat functions hold linear functions exactly: grad (2x + y) . grad (x - y) = 1, times c^2.
    assert (2 * x + y) @ (matrices.stiffness @ (x - y)) == pytest.approx(9.0)
    np.testing.assert_allclose(matrices.stiffness @ np.ones_like(x), 0, atol=1e-12)
    assert matrices.mass.sum() == pytest.approx(1.0)


def test_inside_a_uniform_square_the_stencil_is_that_of_five_points():
    mesh = triangulated_square(4)
    row = assemble(mesh, uniform(mesh)).stiffness[[12]].toarray().reshape(5, 5)
    np.testing.assert_allclose(row[1:4, 1:4], [[0, -1, 0], [-1, 4, -1], [0, -1, 0]], atol=1e-12)


def test_each_speed_acts_in_its_own_triangles():
    mesh = triangulated_square(3)
    speed = np.linspace(1, 2, len(mesh.triangles))
    np.testing.assert_allclose(
        element_stiffness(mesh, speed), element_stiffness(mesh, uniform(mesh)) * (speed**2)[:, None, None]
    )


def test_the_bound_of_the_step_is_below_that_of_the_whole_matrix_and_close_to_it():
    mesh = triangulated_square(12)
    speed = np.where(mesh.centres[:, 0] < 0.5, 1.0, 2.0)
    matrices = assemble(mesh, speed)
    scale = 1 / np.sqrt(matrices.mass)
    largest = eigsh(matrices.stiffness.multiply(scale[:, None]).multiply(scale[None]).tocsr(), 1)[0][0]
    assert 0.9 < matrices.largest_step / (2 / math.sqrt(largest)) <= 1 + 1e-9


def test_waves_at_the_bound_stay_small_and_beyond_the_true_one_they_explode():
    mesh = triangulated_square(16)
    start = np.random.default_rng(0).standard_normal(len(mesh.nodes))
    waves = Waves(mesh, uniform(mesh), 0.999 * assemble(mesh, uniform(mesh)).largest_step, start=start)
    waves.advance(400)
    assert np.abs(waves.u).max() < 20
    # Past the check: the same steps, 7 % longer, are beyond the bound of the five-point stencil, h / sqrt 2.
    waves.step = 1.01 / 16 / math.sqrt(2)
    waves.advance(400)
    assert np.abs(waves.u).max() > 1e6


@pytest.mark.parametrize("step", [0.05, 0.0, -1.0, math.nan])
def test_an_unstable_step_is_refused_with_the_bound(step):
    mesh = triangulated_square(16)
    bound = assemble(mesh, uniform(mesh)).largest_step
    with pytest.raises(UsageError, match=f"CFL bound of {bound:.6g} s"):
        Waves(mesh, uniform(mesh), step)


def test_absorbing_borders_take_most_of_the_energy_and_reflecting_ones_none():
    mesh = triangulated_square(48)
    x, y = mesh.nodes.T
    pulse = np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / (2 * 0.06**2))
    left = {}
    for border in ("absorbing", "free", "fixed"):
        waves = Waves(mesh, uniform(mesh), 0.01, (border,) * 4, start=pulse)
        before = waves.energy
        waves.advance(150)
        left[border] = waves.energy / before
    assert left["absorbing"] < 0.02
    assert left["free"] == pytest.approx(1, abs=0.03) and left["fixed"] == pytest.approx(1, abs=0.03)


def test_a_plane_wave_leaves_without_an_echo():
    mesh = triangulated_square(64)
    x = mesh.nodes[:, 0]
    pulse = np.exp(-((x - 0.5) ** 2) / (2 * 0.05**2))
    slope = -(x - 0.5) / 0.05**2 * pulse
    waves = Waves(mesh, uniform(mesh), 0.005, ("absorbing", "absorbing", "free", "free"), start=pulse, velocity=-slope)
    before = waves.energy
    waves.advance(200)
    assert waves.energy / before < 1e-3


def test_fixed_borders_do_not_move():
    mesh = triangulated_square(8)
    waves = Waves(mesh, uniform(mesh), 0.02, ("fixed", "free", "free", "free"), [Source(0.2, 0.5, 0.1)])
    waves.advance(40)
    left = np.unique(mesh.edges[0])
    assert not waves.u[left].any() and waves.u[np.unique(mesh.edges[1])].any()


def test_the_force_of_a_source_reaches_the_waves_and_ends():
    mesh, source = triangulated_square(32), Source(0.5, 0.5, 0.1, frequency=5.0)
    waves = Waves(mesh, uniform(mesh), 0.005, sources=[source])
    waves.advance(121)
    total, rate = float(waves.matrices.mass @ waves.u), float(waves.matrices.mass @ waves.v)
    waves.advance(100)
    # Without flux and force the mean of u moves on at the rate it has; a Ricker wavelet leaves it none.
    assert waves.matrices.mass @ waves.u == pytest.approx(total + 0.5 * rate, abs=1e-9)
    assert waves.energy > 1e-6 and source.silent_after == pytest.approx(0.6)


def test_a_mesh_without_inner_nodes_is_refused():
    with pytest.raises(UsageError, match="nodes inside the square, got 1 along"):
        triangulated_square(1)


def test_sources_outside_the_square_are_refused_with_all_else_that_is_wrong():
    with pytest.raises(UsageError) as refused:
        Source(1.2, 0.5, width=0.0, frequency=math.nan)
    assert "inside the unit square, got it at (1.2, 0.5)" in str(refused.value)
    assert len(refused.value.reasons) == 3


def test_speeds_and_borders_that_are_none_are_refused_together():
    mesh = triangulated_square(4)
    with pytest.raises(UsageError) as refused:
        assemble(mesh, uniform(mesh, -1.0)[1:], ("absorbing", "open", "free", "free"))
    assert len(refused.value.reasons) == 3
