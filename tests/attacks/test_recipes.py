"""Recipe files and names that cannot be read as meant."""

from __future__ import annotations

import pytest

from edgevision import recipe
from edgevision.compress.admission import admit
from edgevision.config import read_toml
from edgevision.errors import UsageError
from edgevision.recipe import FoldBatchNorm, Quantize, QuantizeWeights, Recipe

GOOD = 'name = "x"\ntitle = "t"\n\n[[steps]]\nkind = "quantize"\n'


def read(tmp_path, text: str) -> Recipe:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return read_toml(path, Recipe)


def test_the_good_file_is_good(tmp_path):
    assert read(tmp_path, GOOD).steps == (Quantize(),)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("activatons = 8", "did you mean 'activations'"),
        ("bias_corection = true", "did you mean 'bias_correction'"),
        ("weight_bits = 7", "weight_bits"),
        ("calibration_images = 0", "calibration_images"),
        ("calibration_images = 1e3", "calibration_images"),
        ('ranges = "guess"', "ranges"),
    ],
)
def test_keys_and_values_that_do_not_fit_are_named(tmp_path, line, expected):
    with pytest.raises(UsageError, match=expected):
        read(tmp_path, GOOD + line + "\n")


def test_all_unknown_keys_are_named_at_once(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD + "first = 1\nsecond = 2\n")
    assert len([reason for reason in caught.value.reasons if "unknown key" in reason]) == 2


@pytest.mark.parametrize("text", ["name = ", "\x00", 'name = "x"', GOOD.replace("quantize", "quantise")])
def test_broken_files_are_usage_errors(tmp_path, text):
    with pytest.raises(UsageError):
        read(tmp_path, text)


@pytest.mark.parametrize("name", ["w8a9", "../w8a8", "w8a8+", "", "w8a8/../w8", "w8 a8"])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="unknown recipe"):
        recipe.load(name)


def test_the_nearest_recipe_is_suggested():
    with pytest.raises(UsageError, match="did you mean 'w8a8'"):
        recipe.load("w8a9")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), "no steps"),
        ((Quantize(), QuantizeWeights()), "quantises 2 times"),
        ((Quantize(), FoldBatchNorm()), "goes first"),
    ],
)
def test_steps_that_contradict_each_other_are_refused_before_any_work(tmp_path, steps, expected):
    from helpers.networks import digits, trained_small

    with pytest.raises(UsageError, match=expected):
        admit(
            trained_small(),
            Recipe("odd", "odd", steps),
            data=digits(),
            out=tmp_path / "x",
            keep_fp=(),
            max_drop=None,
            max_minutes=None,
            evaluate_limit=None,
            overwrite=False,
        )
