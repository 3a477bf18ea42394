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
from helpers.finders import PREPROCESSING, few_shapes, perfect_maps
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgevision.compress.compressed import Compressed
from edgevision.report import tables
from edgevision.report.html import render
from edgevision.report.pictures import pictures
from edgevision.report.tradeoff import Box, TradeOff, trade_off

DATA = few_shapes(test=3)


def always(folder, maps: np.ndarray, recipe: str) -> Compressed:
    """A compressed network that answers `maps` whatever it is shown."""
    folder.mkdir()
    graph = helper.make_graph(
        [
            helper.make_node("GlobalMaxPool", ["input"], ["pool"]),
            helper.make_node("ReduceMean", ["pool", "axes"], ["mean"]),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "maps"], ["logits"]),
        ],
        "always",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, list(maps.shape))],
        [
            numpy_helper.from_array(np.array([1]), "axes"),
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(maps, "maps"),
        ],
    )
    network = with_info(make_network(recipe, DATA.classes), preprocessing=PREPROCESSING, metric="AP50", data="shapes")
    made = Compressed(folder, network.info)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(made.onnx_path))
    return made


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Pictures by a network that knows the first image, and by one that sees nothing."""
    folder = tmp_path_factory.mktemp("pictures")
    _, (first, *_) = next(DATA.split("test").batches(1))
    good = always(folder / "fp32", perfect_maps([first], 6, (16, 16)), "fp32")
    blind = always(folder / "w8a8", np.full((1, 10, 16, 16), -9, np.float32), "w8a8")
    return first, pictures([good, blind], DATA, count=2)


def test_what_a_network_finds_is_shown_where_it_is(seen):
    first, made = seen
    assert len(made) == 2 and [one.title for one in made[0].seen] == ["fp32", "w8a8"]
    named = zip(first.classes, first.boxes, strict=True)
    wanted = sorted((DATA.classes[label], *box.round(1).tolist()) for label, box in named)
    for boxes in (made[0].truths, made[0].seen[0].boxes):
        got = sorted((b.name, b.left, b.top, b.left + b.width, b.top + b.height) for b in boxes)
        assert [name for name, *_ in got] == [name for name, *_ in wanted]
        np.testing.assert_allclose([g[1:] for g in got], [w[1:] for w in wanted], atol=0.11)
    assert all(box.score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-3) for box in made[0].seen[0].boxes)
    assert made[0].seen[1].boxes == () and all(box.score is None for box in made[0].truths)


def test_the_picture_is_the_image_the_network_gets(seen):
    _, made = seen
    content = base64.b64decode(made[1].image.removeprefix("data:image/jpeg;base64,"))
    pixels = DATA.split("test").letterboxed(1)[0]
    assert np.abs(np.asarray(Image.open(io.BytesIO(content)), int) - pixels).mean() < 12


@pytest.fixture
def report(seen) -> TradeOff:
    networks = [with_info(make_network(recipe), metric="AP50") for recipe in ("fp32", "w8a8")]
    profile = msgspec.structs.replace(make_profile(), metric="AP50")
    return trade_off([profile], networks, pictures=seen[1])


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_with_pictures_fits_and_asks_for_nothing(report, width, tmp_path):
    look_at = look(render(report), width, tmp_path)
    assert look_at["console"] == [] and look_at["escaping"] == [] and look_at["page"] <= look_at["view"]
    assert look_at["images"] == 4 and look_at["scripts"] == 0
    assert not [name for name in look_at["requests"] if not name.startswith("data:")]


def test_boxes_and_scores_are_on_the_page(report, seen):
    page = render(report)
    assert page.count("<img ") == 4 and not re.search(r"(?:src|href)\s*=\s*(?![\"']?data:)", page)
    first = seen[1][0]
    assert page.count('class="box truth"') == 2 * sum(len(picture.truths) for picture in seen[1])
    assert page.count("<b>") - 1 == sum(len(one.boxes) for picture in seen[1] for one in picture.seen)
    assert f"fp32: {len(first.truths)} found, {len(first.truths)} there" in page


def test_the_metric_is_called_by_its_name_in_every_format(report, example):
    assert "% AP50" in report.verdict and "% top-1" in example.verdict
    for text in (render(report), tables.as_markdown(report), tables.as_csv(report)):
        assert re.search("ap50", text, re.IGNORECASE) and not re.search("top-?1", text)
    for text in (render(example), tables.as_markdown(example), tables.as_csv(example)):
        assert not re.search("ap50", text, re.IGNORECASE)
    assert msgspec.json.decode(tables.as_json(report), type=TradeOff) == report


def test_hostile_class_names_are_text(report):
    evil = '"><script>window.touched=1</script>'
    box = Box(1, 1, 5, 5, evil, 0.9)
    one = msgspec.structs.replace(report.pictures[0].seen[0], title=evil, boxes=(box,))
    page = render(msgspec.structs.replace(report, pictures=(msgspec.structs.replace(report.pictures[0], seen=(one,)),)))
    assert "<script" not in page
