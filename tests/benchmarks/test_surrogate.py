from __future__ import annotations

import json

import msgspec
import pytest
import torch
from helpers.waves import SMALL, small_waves

from benchmarks.surrogate.pieces import piece
from benchmarks.surrogate.solver import solver_costs
from benchmarks.surrogate.summary import against_solver, summary, table
from benchmarks.surrogate.training import DENSE, errors, module_of, network
from edgevision.compress.measure import measure
from edgevision.graph.export import export


def made(test, train, parameters=100):
    return {
        "parameters": parameters, "macs": 10 * parameters, "test_error": test, "train_error": train,
        "test_over_train": test / train, "seconds": 1.0, "rollout_error": [test, 2 * test], "energy_drift": [0.0, -0.1],
    }  # fmt: skip


def test_a_piece_is_made_once_for_one_identity(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"value": len(calls)}

    for identity in ({"sizes": (8,)}, {"sizes": (8,)}, {"sizes": (9,)}):
        found = piece(tmp_path, "a", identity, make)
    assert len(calls) == 2 and found == {"value": 2}


def test_parts_that_were_not_measured_are_left_out_of_the_table():
    step = {"dense": {"seconds": 0.25, "over_dense": 1.0}, "tensor-r1": {"seconds": 0.2, "over_dense": 0.8}}
    assert "training step, tensor-r1: 200.0 ms, 0.800 of dense" in table({"training_step": step})


def test_errors_are_compared_seed_by_seed():
    runs = {DENSE: [made(0.1, 0.08), made(0.2, 0.1)], "tensor-r1": [made(0.11, 0.1, 20), made(0.16, 0.1, 20)]}
    found = summary(runs)
    assert found["tensor-r1"]["error_over_dense"] == pytest.approx((1.1 + 0.8) / 2)
    assert found["tensor-r1"]["fewer_parameters"] == 5 and found[DENSE]["error_over_dense"] == 1
    assert found[DENSE]["test_error"] == pytest.approx(0.15)
    assert found[DENSE]["test_error_deviation"] == pytest.approx(0.0707, abs=1e-4)


def test_networks_that_failed_have_no_ratio_and_the_table_shows_the_others():
    solver = {"refine 1": {"cells": 15, "steps": 4, "seconds": 0.01, "error": 0.05}}
    ratios = against_solver(solver, {"w8a8": {"milliseconds": 0.5}, "tensor-r1+w8a8": {"failed": "unsupported"}})
    assert ratios == {"w8a8": {"refine 1": 20.0}}
    shown = table(
        {"summary": summary({DENSE: [made(0.1, 0.08)]}), "solver": solver, "times_faster_than_solver": ratios}
    )
    assert "w8a8: 20.0x refine 1" in shown and "10.00 ms a window, error 5.00 %" in shown


def test_the_mesh_of_the_truth_has_no_error_and_coarser_ones_do():
    spec = msgspec.structs.replace(SMALL, refine=2, frequency=1.5)
    costs = solver_costs(small_waves(spec), 1)
    assert costs["refine 2"]["error"] == 0 and 0.001 < costs["refine 1"]["error"] < 1
    assert all(cost["seconds"] > 0 for cost in costs.values())


def test_factorized_twins_have_the_shapes_of_the_dense_one_and_a_fraction_of_its_size():
    data = small_waves()
    dense, thin = (measure(export(network(form, data, 0)).graph) for form in (DENSE, "tensor-r1"))
    assert dense.parameters > 5 * thin.parameters and dense.macs > 3 * thin.macs
    with torch.no_grad():
        assert module_of(network("tensor-r1", data, 0))(torch.zeros(2, 3, 16, 16)).shape == (2, SMALL.later, 16, 16)


def test_what_is_said_of_a_network_is_plain_numbers():
    found = errors(module_of(network(DENSE, small_waves(), 0)).eval(), small_waves())
    assert json.loads(json.dumps(found)) == found
    assert found["test_over_train"] == pytest.approx(found["test_error"] / found["train_error"])
