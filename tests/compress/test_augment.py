import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compress.augment import augment
from edgevision.compress.train_settings import Augmentation

torch.set_num_threads(1)
SHARES = st.floats(0, 0.5)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Augmentation,
        probability=st.floats(0, 1),
        shift=SHARES,
        rotate=st.floats(0, 90),
        scale=SHARES,
        shear=SHARES,
        brightness=SHARES,
        contrast=SHARES,
        saturation=SHARES,
        flip=st.booleans(),
        turns=st.booleans(),
    ),
    st.sampled_from([1, 3]),
)
def test_images_stay_images_and_a_seed_repeats_them(how, channels):
    images = torch.rand(3, channels, 9, 7, generator=seeded())
    first, again = (augment(images, how, seeded(7)) for _ in range(2))
    assert first.shape == images.shape and torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1 and first.isfinite().all()


@pytest.mark.parametrize(
    "how", [Augmentation(), Augmentation(probability=0.0, shift=0.3, rotate=30, contrast=0.5, brightness=0.5)]
)
def test_nothing_asked_changes_nothing(how):
    images = torch.rand(4, 3, 8, 8, generator=seeded())
    torch.testing.assert_close(augment(images, how, seeded()), images, rtol=0, atol=1e-5)


def test_flip_mirrors_half_of_the_images():
    images = torch.rand(200, 1, 6, 6, generator=seeded())
    changed = augment(images, Augmentation(flip=True), seeded())
    mirrored = (changed - images.flip(-1)).abs().amax((1, 2, 3)) < 1e-5
    same = (changed - images).abs().amax((1, 2, 3)) < 1e-5
    assert bool((mirrored | same).all()) and 70 < int(mirrored.sum()) < 130


@pytest.mark.parametrize(("side", "ways"), [(6, 8), (5, 4)])
def test_pictures_are_turned_every_way_that_keeps_their_shape(side, ways):
    image = torch.rand(1, 3, 6, side, generator=seeded())
    changed = augment(image.expand(200, -1, -1, -1), Augmentation(turns=True), seeded())
    seen, counts = torch.unique(changed.flatten(1), dim=0, return_counts=True)
    assert len(seen) == ways and int(counts.min()) > 200 / ways / 2.5


def test_a_shift_moves_by_at_most_its_share():
    images = torch.zeros(100, 1, 21, 21)
    images[:, :, 10, 10] = 1
    changed = augment(images, Augmentation(shift=0.2), seeded())
    for image in changed[:, 0]:
        rows, columns = torch.nonzero(image > 1e-4, as_tuple=True)
        assert (rows - 10).abs().max() <= 21 * 0.2 + 1 and (columns - 10).abs().max() <= 21 * 0.2 + 1
    spread = {int(image.argmax()) for image in changed[:, 0]}
    assert len(spread) > 20


def test_saturation_leaves_grey_images_alone():
    grey = torch.rand(4, 1, 5, 5, generator=seeded()).expand(-1, 3, -1, -1)
    torch.testing.assert_close(augment(grey, Augmentation(saturation=0.9), seeded()), grey)
