"""Images that are run together give what each gives alone."""

import numpy as np
import onnxruntime
import pytest
from helpers.operators import array, model_of, node

from edgevision.compress.onnxgraph import rebatched
from edgevision.compress.session import batched, predictor

CHANNELS = {"w": np.ones(3, np.float32), "b": np.zeros(3, np.float32), "m": np.zeros(3, np.float32),
            "v": np.ones(3, np.float32)}  # fmt: skip
MIXING = {
    "largest of everything": ([node("ReduceMax", ["x"], ["most"]), node("Sub", ["x", "most"], ["y"])], {}),
    "mean over the batch": ([node("ReduceMean", ["x", "a"], ["mean"]), node("Sub", ["x", "mean"], ["y"])],
                            {"a": np.array([0, 2, 3])}),
}  # fmt: skip
APART = {
    "convolution": ([node("Conv", ["x", "w"], ["y"])], {"w": array(4, 3, 3, 3)}),
    "largest of an image": ([node("ReduceMax", ["x", "a"], ["most"]), node("Sub", ["x", "most"], ["y"])],
                            {"a": np.array([1, 2, 3])}),
    "batch norm": ([node("BatchNormalization", ["x", "w", "b", "m", "v"], ["y"])], CHANNELS),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXING)
def test_images_that_would_influence_each_other_are_run_alone(case):
    nodes, constants = MIXING[case]
    model = model_of(nodes, (1, 3, 6, 7), **constants)
    assert rebatched(model, 4) is not None and batched(model, 4) is None
    images = array(4, 3, 6, 7) * np.array([1, 9, 3, 2], np.float32).reshape(4, 1, 1, 1)
    runner = onnxruntime.InferenceSession(model.SerializeToString())
    alone = np.concatenate([runner.run(None, {"x": images[i : i + 1]})[0] for i in range(4)])
    np.testing.assert_allclose(predictor(model, batch=4)(images), alone, rtol=1e-6)


@pytest.mark.parametrize("case", APART)
def test_images_that_leave_each_other_alone_are_run_together(case):
    nodes, constants = APART[case]
    assert batched(model_of(nodes, (1, 3, 6, 7), **constants), 4) is not None
