"""A detector trained quantised, compiled whole: the bytes of quant/NUMERICS.md and of the training graph."""

import numpy as np
import torch
from helpers.detectors import SIDE, detector, images, quantised
from helpers.walking import walk

from edgevision.graph import reference
from edgevision.graph.from_qat import qdq_graph


def test_a_compiled_network_gives_the_bytes_of_the_reference_and_the_maps_of_the_training_graph():
    network = quantised(detector(2, pooled=True))
    model = qdq_graph(network, SIDE, SIDE)
    image = images(4, 1)
    (got,) = walk(model, image.numpy())
    (wanted,) = reference.run(model, image.numpy())
    assert np.array_equal(got, wanted) and len(np.unique(got)) > 100
    with torch.no_grad():
        trained = network(image).numpy()
    steps = [np.full(network.layer(n).weight.shape[0], float(network.quantizer(n).scale())) for n in network.outputs]
    apart = np.abs(got - trained) / np.concatenate(steps).reshape(1, -1, 1, 1)
    assert (apart < 1e-3).mean() > 0.9 and (apart < 1.001).mean() > 0.99
