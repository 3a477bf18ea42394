"""The loss against the equations in double precision with numpy, its gradient against differences."""

import numpy as np
import pytest
import torch

from edgevision.compress.centre_loss import centre_loss, focal_loss, generalised_overlap
from edgevision.compress.centre_targets import centre_targets
from edgevision.data.detection import Objects

CLASSES, GRID = 2, (6, 5)


def batch(beside=0.0):
    """Two images with objects, one of them difficult, two in one cell; the third has none."""
    first = Objects.of([[0, 0, 8, 8], [2, 1, 20, 24], [2, 2, 7, 7]], [0, 1, 1])
    second = Objects.of([[8, 8, 12, 12], [0, 0, 20, 10]], [0, 0], [False, True])
    return centre_targets([first, second, Objects.of([], [])], CLASSES, GRID, beside=beside)


def maps(scale=2.0, dtype=torch.float32):
    return (
        torch.randn(3, CLASSES + 4, *GRID, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        .mul(scale)
        .to(dtype)
    )


def equations(values, targets):
    """Equations 1 to 3 of the paper, term by term."""
    values = values.double().numpy()
    p = 1 / (1 + np.exp(-values[:, :CLASSES]))
    y = targets.heat.double().numpy()
    positive = (1 - p) ** 2 * np.log(p)
    negative = (1 - y) ** 4 * p**2 * np.log(1 - p) * targets.counted.numpy()
    focal = -np.where(y == 1, positive, negative).sum()
    at = targets.weights.double().numpy()[:, None]
    size = (np.abs(values[:, CLASSES:-2] - targets.sizes.numpy()) * at).sum()
    offset = (np.abs(values[:, -2:] - targets.offsets.numpy()) * at).sum()
    return np.array([focal / targets.objects, 0.1 * size / at.sum(), offset / at.sum()])


def test_terms_are_those_of_the_equations():
    targets = batch()
    loss = centre_loss(maps(), targets, overlap_weight=0)
    got = [loss.focal.item(), loss.size.item(), loss.offset.item()]
    expected = equations(maps(), targets)
    assert targets.objects == 4 and (expected > 0).all()
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert loss.total.item() == pytest.approx(expected.sum(), rel=1e-5)


def test_weights_are_those_given():
    plain, weighted = centre_loss(maps(), batch()), centre_loss(maps(), batch(), size_weight=1.0, offset_weight=0.5)
    assert weighted.size.item() == pytest.approx(10 * plain.size.item())
    assert weighted.offset.item() == pytest.approx(plain.offset.item() / 2)


def test_the_overlap_is_counted_over_the_cells_with_their_weights():
    targets = batch(beside=0.5)
    chosen = targets.weights > 0
    assert set(targets.weights.unique().tolist()) == {0.0, 0.5, 1.0}
    rows = torch.cat([targets.sizes, targets.offsets], 1).movedim(1, -1)[chosen]
    losses = 1 - generalised_overlap(maps()[:, CLASSES:].movedim(1, -1)[chosen], rows)
    expected = (losses * targets.weights[chosen]).sum() / targets.weights.sum()
    assert centre_loss(maps(), targets, overlap_weight=3).overlap.item() == pytest.approx(3 * expected.item(), rel=1e-5)


def test_the_generalised_overlap_is_that_of_counted_pixels():
    generator = np.random.default_rng(0)
    for _ in range(50):
        corners = np.sort(generator.integers(0, 30, (2, 2, 2)), axis=1)
        corners[:, 1] += 1
        drawn = np.zeros((2, 32, 32), bool)
        for area, (low, high) in zip(drawn, corners, strict=True):
            area[low[1] : high[1], low[0] : high[0]] = True
        around = (corners[:, 1].max(0) - corners[:, 0].min(0)).prod()
        union = (drawn[0] | drawn[1]).sum()
        boxes = torch.tensor(np.concatenate([corners[:, 1] - corners[:, 0], corners.mean(1)], axis=1))
        got = generalised_overlap(*boxes[:, None]).item()
        assert got == pytest.approx((drawn[0] & drawn[1]).sum() / union - (around - union) / around, abs=1e-6)


def test_gradients_are_those_of_differences():
    targets = batch()
    values = maps(dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: centre_loss(x, targets).total, values)


def test_gradients_of_large_logits_are_finite():
    values = maps(scale=1e4).requires_grad_(True)
    loss = centre_loss(values, batch()).total
    loss.backward()
    assert loss.isfinite() and values.grad.isfinite().all()


def test_a_large_wrong_logit_costs_what_it_is():
    heat = torch.tensor([[[[1.0, 0.0]]]])
    assert focal_loss(torch.tensor([[[[-1000.0, 1000.0]]]]), heat, heat >= 0).item() == pytest.approx(2000)
    assert focal_loss(torch.tensor([[[[1000.0, -1000.0]]]]), heat, heat >= 0).item() == 0


def test_without_objects_only_the_background_costs():
    targets = centre_targets([Objects.of([], [])] * 3, CLASSES, GRID)
    values = maps().requires_grad_(True)
    loss = centre_loss(values, targets)
    loss.total.backward()
    p = torch.sigmoid(maps(dtype=torch.float64)[:, :CLASSES])
    assert loss.focal.item() == pytest.approx(-(p**2 * torch.log(1 - p)).sum().item(), rel=1e-5)
    assert loss.size.item() == loss.offset.item() == loss.overlap.item() == 0 and not values.grad[:, CLASSES:].any()


def test_only_the_cells_of_centres_move_sizes_and_offsets():
    targets = batch()
    values = maps().requires_grad_(True)
    centre_loss(values, targets).total.backward()
    moved = (values.grad[:, CLASSES:] != 0).all(1)
    assert torch.equal(moved, (targets.weights > 0)) and int(moved.sum()) == 3


def test_difficult_places_have_no_gradient():
    targets = batch()
    values = maps().requires_grad_(True)
    centre_loss(values, targets).total.backward()
    assert torch.equal(values.grad[:, :CLASSES] != 0, targets.counted) and not bool(targets.counted.all())


def test_a_step_down_the_gradient_comes_to_the_objects():
    targets = batch()
    values = torch.zeros(3, CLASSES + 4, *GRID, requires_grad=True)
    optimizer = torch.optim.Adam([values], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = centre_loss(values, targets).total
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert torch.equal(torch.sigmoid(values[:, :CLASSES]).max(1).values > 0.9, (targets.weights > 0))
