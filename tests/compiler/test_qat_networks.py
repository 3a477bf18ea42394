"""A detector trained quantised, compiled whole: the bytes of quant/NUMERICS.md."""

import numpy as np
from helpers.detectors import SIDE, detector, images, quantised
from helpers.walking import walk

from edgevision.graph import reference
from edgevision.graph.from_qat import qdq_graph


def test_a_compiled_network_with_int4_weights_gives_the_bytes_of_the_reference():
    model = qdq_graph(quantised(detector(2, pooled=True)), SIDE, SIDE)
    image = images(4, 1).numpy()
    (got,) = walk(model, image)
    (wanted,) = reference.run(model, image)
    assert np.array_equal(got, wanted) and len(np.unique(got)) > 100
