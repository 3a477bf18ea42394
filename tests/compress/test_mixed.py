from __future__ import annotations

import time

import pytest
from helpers.networks import digits, trained_small

from edgevision import recipe
from edgevision.compress.allocation import Choice
from edgevision.compress.apply import compress
from edgevision.compress.compressed import Compressed
from edgevision.compress.costs import FLOAT, Costs, StepTimes, costs
from edgevision.compress.layers import quantised_layers, quantised_operators
from edgevision.compress.measure import measure
from edgevision.compress.mixed import Search, options_of
from edgevision.errors import AccuracyMissed, UsageError
from edgevision.graph.export import export
from edgevision.recipe import FoldBatchNorm, MixedPrecision, Quantize, Recipe

LIMIT = 64


def mixed(**settings):
    return Recipe("mixed", "", (FoldBatchNorm(), Quantize(calibration_images=32), MixedPrecision(**settings)))


def run(out, steps, **more):
    settings = {"data": digits(), "sensitivity": False, "evaluate_limit": LIMIT, **more}
    return compress(trained_small(), steps, export=export, out=out, **settings)


@pytest.fixture
def search(float_graph, quantised_graph):
    """A search whose accuracy falls by a point for each 1e-3 of noise."""
    layers = quantised_layers(quantised_graph.graph)
    noise = {8: dict.fromkeys(layers, 1e-5), 4: {layer: 1e-4 * 2**at for at, layer in enumerate(layers)}}
    options = options_of(noise, costs(quantised_graph, "bytes"), (4, 8, FLOAT))

    def made(target, **more):
        asked = Search(quantised_graph, quantised_graph, float_graph, options, target, lambda *_: 0.0, **more)
        asked.graph_of = lambda bits: quantised_graph
        asked.evaluate = lambda *_: 90.0 - 1e3 * asked._noise(asked.now)
        tried = asked._tried

        def remember(name, bits):
            asked.now = bits
            return tried(name, bits)

        asked._tried = remember
        return asked

    return made


def test_the_search_ends_at_the_bound_with_less_than_all_in_eight_bits(search):
    asked = search(89.0)
    best = asked.run()
    widths = [point for point in asked.points if point.name == "8 bit"]
    assert 89.0 <= best.accuracy < 89.6
    assert best.cost < widths[0].cost
    assert set(best.bits.values()) == {4, 8}


def test_the_cheapest_is_taken_at_once_when_it_holds(search):
    asked = search(50.0)
    best = asked.run()
    assert best.name == "cheapest" and len(asked.points) == 2


def test_layers_go_to_float_where_eight_bits_lose_too_much(search):
    best = search(89.97).run()
    assert best.accuracy >= 89.97 and FLOAT in best.bits.values()


def test_time_up_ends_with_the_points_so_far(search):
    asked = search(89.0, deadline=time.monotonic() - 1)
    assert asked.run().name == "8 bit" and not asked.finished


def test_an_operator_that_was_not_measured_stays_in_eight_bits(quantised_graph):
    names = quantised_operators(quantised_graph.graph)
    options = options_of({8: {names[0]: 1e-4}, 4: {}}, costs(quantised_graph, "bytes"), (4, 8, FLOAT))
    assert {choice.bits for name, choices in options.items() if name != names[0] for choice in choices} == {8}
    assert options[names[0]][0].noise == 1e-4


def test_bytes_are_those_of_the_file_and_times_those_of_the_profile(quantised_graph):
    found = costs(quantised_graph, "bytes")
    layer = next(item for item in measure(quantised_graph).layers if item.name == "mlp.0")
    assert found.of["mlp.0"][8] == layer.parameters and found.of["mlp.0"][4] == layer.parameters / 2
    assert "modelled" in costs(quantised_graph, "latency").basis
    times = StepTimes("here", {8: {"mlp.0": 3.0, "head": 100.0}, FLOAT: {"mlp.0": 9.0, "head": 300.0}})
    timed = costs(quantised_graph, "latency", times)
    assert "measured, here" in timed.basis
    assert 3.0 <= timed.of["mlp.0"][8] < 3.5 and 9.0 <= timed.of["mlp.0"][FLOAT] < 9.5
    # Not measured in four bits: as long as in eight, and less in bytes.
    assert 3.0 <= timed.of["mlp.0"][4] < timed.of["mlp.0"][8]


def test_a_network_is_written_whose_accuracy_was_measured(tmp_path):
    made = run(tmp_path / "out", mixed(max_drop=4.0))
    info = Compressed.load(made.folder).info
    entry, first = info.ledger[-1], info.ledger[0]
    assert entry.step == "mixed_precision" and info.mixed.met
    assert entry.accuracy_after >= first.accuracy_after - 4.0
    assert entry.weight_bytes <= info.ledger[1].weight_bytes
    best = next(point for point in info.mixed.points if point.name == info.mixed.best)
    stored = {layer.name: layer.dtype for layer in measure(made.graph()).layers}
    assert {4: "int4", 8: "int8", FLOAT: "float32"}[best.bits["mlp.0"]] == stored["mlp.0"]


def test_an_interrupted_search_repeats_nothing_and_ends_the_same(tmp_path):
    steps, told = mixed(max_drop=1.0), []

    def stop(stage, done, total, detail=""):
        if stage == "sensitivity alone" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", steps, progress=stop)
    resumed = run(tmp_path / "out", steps, resume=True, progress=lambda stage, *_: told.append(stage))
    assert "calibrate" not in told
    assert resumed.info.onnx_sha256 == run(tmp_path / "again", steps).info.onnx_sha256


def test_a_bound_that_no_assignment_meets_keeps_the_best_point(tmp_path, monkeypatch):
    accuracies = iter([90.0, *(50.0 + step for step in range(40))])
    monkeypatch.setattr("edgevision.compress.job.Job.measured", lambda *_: next(accuracies))
    with pytest.raises(AccuracyMissed) as caught:
        run(tmp_path / "missed", mixed(bits=(4, 8)))
    assert caught.value.exit_code == 6 and "missed by" in caught.value.what
    info = Compressed.load(tmp_path / "missed").info
    assert not info.mixed.met and info.mixed.best in {point.name for point in info.mixed.points}


def test_an_accuracy_that_does_not_depend_on_the_network_is_refused(tmp_path, monkeypatch):
    class Constant:
        percent = 75.0

    monkeypatch.setattr("edgevision.compress.job.score", lambda *_, **__: Constant())
    with pytest.raises(UsageError, match="depends on the network"):
        run(tmp_path / "out", mixed())


def test_where_the_step_stands_is_checked_before_any_work(tmp_path):
    alone = Recipe("alone", "", (FoldBatchNorm(), MixedPrecision()))
    with pytest.raises(UsageError) as caught:
        run(tmp_path / "out", alone)
    assert "behind a step of 'quantize'" in " ".join(caught.value.reasons)
    with pytest.raises(UsageError, match="chooses no bits"):
        recipe.load("w8a8").minimising("latency")
    assert recipe.load("mixed").minimising("latency").steps[-1].minimise == "latency"


def test_choices_without_a_noise_are_never_free():
    prices = Costs("", {"a": {4: 1.0, 8: 2.0, FLOAT: 8.0}})
    options = options_of({8: {"a": 0.0}, 4: {"a": 0.0}}, prices, (4, FLOAT))
    assert options["a"] == (Choice(4, 1e-12, 1.0), Choice(FLOAT, 0.0, 8.0))
