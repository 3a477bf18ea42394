"""What is detected: by the training graph, by the integer network, and by the exported file in onnxruntime."""

import numpy as np
import onnxruntime
import torch
from helpers.detectors import SIDE, detector, images, quantised, trained

from edgevision.compress.qat import INPUT
from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.execute import run
from edgevision.engine.from_qat import integer_network
from edgevision.graph.from_qat import OUTPUT, qdq_graph
from edgevision.zoo.centres import decode

THRESHOLD = 0.1


def found(maps):
    """Objects above the threshold, image by image."""
    kept = []
    for objects in decode(maps.astype(np.float32)):
        above = objects.scores >= THRESHOLD
        kept.append((objects.boxes[above], objects.scores[above], objects.classes[above]))
    return kept


def test_the_integer_network_and_the_file_detect_what_the_training_graph_does():
    teacher = detector(0)
    network = quantised(teacher, ranges="learned")
    trained(network, teacher, 4, lr=3e-4)
    x = images(11, 3)
    with torch.no_grad():
        wanted = network(x).numpy()
    made = integer_network(network, SIDE, SIDE)
    maps = [real_outputs(made, run(made, quantised_image(made, one))) for one in x.numpy()]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(qdq_graph(network, SIDE, SIDE).SerializeToString(), options)
    file_maps = np.concatenate([session.run([OUTPUT], {INPUT: one[None]})[0] for one in x.numpy()])
    np.testing.assert_array_equal(np.stack(maps), wanted)
    expected = found(wanted)
    assert all(len(scores) >= 3 for _, scores, _ in expected)
    for got in (found(np.stack(maps)), found(file_maps)):
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
            np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)
            assert np.array_equal(ours[2], theirs[2])
