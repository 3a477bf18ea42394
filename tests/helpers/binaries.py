"""Models of one binary layer each, for the tests of graph.binary and of the kernels."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgevision.graph import binary, binaryfunctions


def finished(nodes, feeds, output_shape, constants, opset=20):
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "binary",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feeds.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    binaryfunctions.declare(model)
    return model


def weights(seed, depth, channels):
    """Packed weights, scale (some negative) and bias."""
    rng = np.random.default_rng(seed)
    packed = binary.pack_bits(rng.standard_normal((channels, depth)))
    return packed, rng.standard_normal(channels).astype(np.float32), rng.standard_normal(channels).astype(np.float32)


def values(seed, shape):
    """Normal values with zeros of both signs among them."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    flat = x.reshape(-1)
    flat[::7], flat[3::11] = 0.0, -0.0
    return x


def layer(op, x, packed, scale, bias, depth):
    node = binaryfunctions.layer(op, ["x", "packed", "scale", "bias"], "y", depth, "layer")
    channels = len(packed)
    shape = (x.shape[0], channels, *x.shape[2:]) if op.endswith("Conv") else (*x.shape[:-1], channels)
    return finished([node], {"x": x}, shape, {"packed": packed, "scale": scale, "bias": bias})


def attention(q, k, v, bias, scale, beta=0.25):
    node = binaryfunctions.attention(["q", "k", "v", *([] if bias is None else ["bias"])], "y", scale, beta, "attn")
    return finished(
        [node], {"q": q, "k": k, "v": v}, (*q.shape[:3], v.shape[3]), {} if bias is None else {"bias": bias}
    )


def expected(op, x, packed, scale, bias, depth):
    """What `layer` computes, by the numpy reference."""
    run = binary.conv if op.endswith("Conv") else binary.linear
    return run(x, packed, scale, bias, depth, signed=op in binary.SIGNED_LAYERS)
