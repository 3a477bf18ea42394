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


def network(seed, rows, depth, hidden, *, between=("Gelu",), batch=1):
    """A layer norm, a binary layer, operators between, and another binary layer with a residual: (model, x)."""
    x = values(seed, (batch, rows, depth))
    first, second = weights(seed, depth, hidden), weights(seed + 1, hidden, depth)
    constants = {f"{name}{i}": a for i, w in enumerate((first, second)) for name, a in zip("psb", w, strict=True)}
    rng = np.random.default_rng(seed)
    constants |= {"gamma": rng.standard_normal(depth).astype(np.float32), "beta": values(seed, (depth,))}
    constants["shift"] = rng.standard_normal(hidden).astype(np.float32)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n"], name="norm", axis=-1),
        binaryfunctions.layer("BinaryLinear", ["n", "p0", "s0", "b0"], "h0", depth, "fc1"),
    ]
    for index, op in enumerate(between):
        more = ["shift"] if op in ("Add", "Mul") else []
        nodes.append(helper.make_node(op, [f"h{index}", *more], [f"h{index + 1}"], name=f"{op}{index}"))
    nodes += [
        binaryfunctions.layer("BinaryLinear", [f"h{len(between)}", "p1", "s1", "b1"], "z", hidden, "fc2"),
        helper.make_node("Add", ["x", "z"], ["y"], name="residual"),
    ]
    return finished(nodes, {"x": x}, x.shape, constants), x


def on_bytes(op, x, packed, scale, bias, depth, out_scale=0.25):
    """The layer between quantisers: x as bytes, and the result as bytes."""
    constants = {"packed": packed, "scale": scale, "bias": bias, "xs": np.float32(0.03), "xz": np.uint8(120)}
    constants |= {"ys": np.float32(out_scale), "yz": np.uint8(131)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], name="d"),
        binaryfunctions.layer(op, ["xd", "packed", "scale", "bias"], "z", depth, "layer"),
        helper.make_node("QuantizeLinear", ["z", "ys", "yz"], ["yq"], name="yq"),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"], name="yd"),
    ]
    channels = len(packed)
    shape = (x.shape[0], channels, *x.shape[2:]) if op.endswith("Conv") else (*x.shape[:-1], channels)
    return finished(nodes, {"x": x}, shape, {k: np.asarray(v) for k, v in constants.items()})


def attention_block(seed, batch, tokens, heads, width, bias=None):
    """A layer norm, one linear layer for q, k and v, an attention, a linear layer on its result: (model, x)."""
    dim = heads * width
    x = values(seed, (batch, tokens, dim))
    rng = np.random.default_rng(seed)
    constants = {"gamma": rng.standard_normal(dim).astype(np.float32), "beta": values(seed, (dim,))}
    constants |= dict(zip("psb", weights(seed, dim, 3 * dim), strict=True))
    constants |= dict(zip("tuc", weights(seed + 1, dim, dim), strict=True))
    constants |= {"heads": np.array([batch, tokens, heads, width]), "rows": np.array([batch, tokens, dim])}
    given = {} if bias is None else {"bias": bias}
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n"], name="norm", axis=-1),
        binaryfunctions.layer("BinaryLinear", ["n", "p", "s", "b"], "qkv", dim, "qkv"),
        helper.make_node("Split", ["qkv"], ["q0", "k0", "v0"], axis=-1, num_outputs=3, name="split"),
    ]
    for key in "qkv":
        nodes.append(helper.make_node("Reshape", [f"{key}0", "heads"], [f"{key}1"], name=f"view.{key}"))
        nodes.append(helper.make_node("Transpose", [f"{key}1"], [f"{key}2"], perm=[0, 2, 1, 3], name=f"turn.{key}"))
    nodes += [
        binaryfunctions.attention(["q2", "k2", "v2", *given], "a0", width**-0.5, 0.25, "attention"),
        helper.make_node("Transpose", ["a0"], ["a1"], perm=[0, 2, 1, 3], name="turn"),
        helper.make_node("Reshape", ["a1", "rows"], ["a2"], name="join"),
        binaryfunctions.layer("BinaryLinear", ["a2", "t", "u", "c"], "z", dim, "proj"),
        helper.make_node("Add", ["x", "z"], ["y"], name="residual"),
    ]
    return finished(nodes, {"x": x}, x.shape, constants | given), x
