from __future__ import annotations

import base64
import io
import re

import msgspec
import numpy as np
import onnx
import pytest
from helpers.artefacts import make_network, make_profile, with_info
from helpers.browser import look
from helpers.waves import SMALL, small_waves
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgevision.compress.compressed import Compressed
from edgevision.data.field_rollout import roll_out
from edgevision.data.wave_cost import solver_costs
from edgevision.profile.statistics import Interval
from edgevision.report import tables
from edgevision.report.field_images import animation, levels, palette, side_by_side, still
from edgevision.report.field_pictures import field_pictures, solver_speeds
from edgevision.report.html import render
from edgevision.report.tradeoff import TradeOff, trade_off


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def standing_still(folder, recipe: str, share: float) -> Compressed:
    """A network that predicts the last field it is given, times `share`."""
    folder.mkdir()
    weight = np.zeros((SMALL.later, 3, 1, 1), np.float32)
    weight[:, 1] = share
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["logits"])],
        "still",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, SMALL.later, 16, 16])],
        [numpy_helper.from_array(weight, "weight")],
    )
    data = small_waves()
    network = with_info(make_network(recipe, data.classes), preprocessing=data.preprocessing, metric="fit", data="wave")
    made = Compressed(folder, network.info)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(made.onnx_path))
    return made


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    networks = [standing_still(folder / name, name, share) for name, share in (("fp32", 1.0), ("w8a8", 0.5))]
    return field_pictures(networks, small_waves())


@pytest.fixture
def report(waves) -> TradeOff:
    networks = [with_info(make_network(recipe), metric="fit") for recipe in ("fp32", "w8a8")]
    return trade_off([msgspec.structs.replace(make_profile(), metric="fit")], networks, waves=waves)


def test_zero_is_the_middle_of_the_colours_and_signs_have_their_own():
    colours = np.reshape(palette(), (256, 3))
    low, zero, high = colours[levels(np.array([-1.0, 0.0, 1.0]), 1.0)]
    assert low[2] > low[0] and high[0] > high[2] and len(set(zero)) == 1
    assert levels(np.array([np.inf, -np.inf, np.nan]), 1.0).tolist() == [254, 0, 127]
    assert levels(np.zeros(2), 0.0).tolist() == [127, 127]


def test_y_grows_upwards_in_pictures():
    field = np.zeros((1, 4, 4))
    field[0, 0, 1] = 1.0
    assert np.argwhere(side_by_side(field, 1.0) == 254).tolist() == [[3, 1]]


def test_animations_hold_every_frame_as_it_was_drawn():
    random = np.random.default_rng(0)
    frames = [side_by_side(random.uniform(-1, 1, (3, 8, 8)), 1.0) for _ in range(4)]
    moving = opened(animation(frames, 100))
    colours = np.reshape(palette(), (256, 3))
    assert moving.format == "GIF" and moving.n_frames == 4 and moving.info["loop"] == 0
    for index, frame in enumerate(frames):
        moving.seek(index)
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), colours[frame])
    assert opened(still(frames[:2])).size == (8 * 3 + 4, 8 * 2 + 2)


def test_what_is_drawn_is_truth_prediction_and_difference(waves):
    data = small_waves().split("test")
    one = waves.networks[0]
    moving = opened(one.animation)
    assert moving.n_frames == SMALL.frames and opened(one.still).size == (4 * 16 + 3 * 2, 3 * 16 + 2 * 2)
    moving.seek(SMALL.frames - 1)
    true = data.trajectories[0].fields
    panels = np.stack([true[-1], true[1], true[1] - true[-1]])
    colours = np.reshape(palette(), (256, 3))
    wanted = colours[side_by_side(panels, float(np.abs(true).max()))].astype(int)
    assert np.abs(np.asarray(moving.convert("RGB"), int) - wanted).max() <= 3


def test_the_errors_are_those_of_rolling_out(waves):
    split = small_waves().split("test")
    done = roll_out(lambda inputs: np.repeat(inputs[:, 1:2] / 2, SMALL.later, axis=1), split)
    np.testing.assert_allclose(waves.networks[1].errors, done.errors, rtol=1e-4)
    np.testing.assert_allclose(waves.networks[1].energy_drift, done.energy_drift, rtol=1e-4)
    assert waves.trajectories == 2


def profiled(fit: float):
    """A profile of this machine whose networks have that fit."""
    made = msgspec.structs.replace(make_profile(), metric="fit", target="host")
    engines = [msgspec.structs.replace(e, accuracy=Interval(fit, fit, fit)) for e in made.engines]
    return msgspec.structs.replace(made, engines=tuple(engines))


def test_a_network_is_compared_with_the_fastest_mesh_that_is_as_good(waves):
    data = small_waves(msgspec.structs.replace(SMALL, refine=2, frequency=2.0))
    coarse, fine = solver_costs(data, 2)
    assert fine.error == 0 < coarse.error
    for fit, cells in ((99.999, 30), (100 - 100 * coarse.error - 1, 15)):
        speeds = solver_speeds([profiled(fit)], data)
        assert {one.solver_cells for one in speeds} == {cells}
        assert all(one.times == one.solver_milliseconds / one.milliseconds for one in speeds)
    assert solver_speeds([msgspec.structs.replace(profiled(90.0), target="rpi4")], data) == ()
    page = render(trade_off([profiled(50.0)], [], waves=msgspec.structs.replace(waves, speeds=speeds)))
    assert "15 x 15" in page and f"{speeds[0].times:.3g}x" in page


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_with_waves_fits_and_asks_for_nothing(report, width, tmp_path):
    look_at = look(render(report), width, tmp_path)
    assert look_at["console"] == [] and look_at["escaping"] == [] and look_at["page"] <= look_at["view"]
    assert look_at["images"] == 4 and look_at["scripts"] == 0
    assert not [name for name in look_at["requests"] if not name.startswith("data:")]


def test_the_page_says_how_large_the_errors_are_and_when(report, waves):
    page = render(report)
    for words in ("error at 0.12 s", "error at 0.36 s", f"{100 * waves.networks[0].errors[-1]:.1f} %", "Student's t"):
        assert words.replace("'", "&#39;") in page or words in page
    assert page.count('media="(prefers-reduced-motion: reduce)"') == 2
    assert msgspec.json.decode(tables.as_json(report), type=TradeOff) == report


def test_the_metric_is_the_fit_in_every_format(report):
    for text in (render(report), tables.as_markdown(report), tables.as_csv(report)):
        assert re.search(r"\bfit\b|fit_percent", text) and not re.search("top-?1|ap50", text, re.IGNORECASE)
