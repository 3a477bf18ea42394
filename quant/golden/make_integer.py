"""Make integer_networks.json: golden vectors of INTEGER_NETWORKS.md in Python's integers, independent of numpy.

Run from anywhere: `python quant/golden/make_integer.py`. Only the standard library; the file it writes is committed.
"""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

SEED = 6
GROUPS = [{"scale": 0.02, "zero": -128}, {"scale": 0.05, "zero": -128}, {"scale": 0.1, "zero": 3}]


def requantise(total: int, multiplier: int, bias: int, layer: dict) -> int:
    """Section "Arithmetic": an int8, or a dilation."""
    shift = layer["shift"]
    scaled = (total * multiplier + 2**shift // 2) // 2**shift + bias
    if layer.get("limits"):
        low, high = layer["limits"]
        return max(low, min(high, scaled))
    if layer["relu"]:
        scaled = max(scaled, 0)
    return max(-128, min(127, scaled - 128))


def convolve(x: list, layer: dict, numbers: dict, outside: int, dilations: list | None) -> list:
    """Every sum written out."""
    height, width, stride = len(x[0]), len(x[0][0]), layer["stride"]
    result = []
    for o in range(layer["channels"]):
        plane = []
        for i in range(-(-height // stride)):
            row = []
            for j in range(-(-width // stride)):
                d = dilations[0][i][j] if dilations else 1
                total = 0
                for c, u, v in itertools.product(range(layer["depth"]), range(layer["kernel"]), range(layer["kernel"])):
                    middle = layer["kernel"] // 2
                    a, b = stride * i + d * (u - middle), stride * j + d * (v - middle)
                    source = x[o if layer["depthwise"] else c]
                    sample = source[a][b] if 0 <= a < height and 0 <= b < width else outside
                    total += numbers["weight"][o][c][u][v] * sample
                row.append(requantise(total, numbers["multiplier"][o], numbers["bias"][o], layer))
            plane.append(row)
        result.append(plane)
    return result


def shuffle(x: list, parts: int) -> list:
    """Channel g (C / parts) + i becomes i parts + g."""
    size = len(x) // parts
    result = [None] * len(x)
    for g in range(parts):
        for i in range(size):
            result[i * parts + g] = x[g * size + i]
    return result


def upsample(x: list) -> list:
    """Every pixel twice in each direction."""
    return [[[q for q in row for _ in (0, 1)] for row in plane for _ in (0, 1)] for plane in x]


def max_pool(x: list) -> list:
    """3x3 at stride 2."""
    height, width = len(x[0]), len(x[0][0])
    return [
        [
            [
                max(plane[a][b] for a in range(max(0, 2 * i - 1), min(height, 2 * i + 2))
                    for b in range(max(0, 2 * j - 1), min(width, 2 * j + 2)))
                for j in range(-(-width // 2))
            ]
            for i in range(-(-height // 2))
        ]
        for plane in x
    ]  # fmt: skip


def run(case: dict) -> dict:
    """Every tensor by name."""
    header, tensors = case["header"], {"input": case["image"]}
    groups = {"input": header["input_group"]}
    for layer in header["layers"]:
        name, kind = layer["name"], layer["kind"]
        if kind == "concat":
            tensors[name] = [plane for source in layer["inputs"] for plane in tensors[source]]
            groups[name] = groups[layer["inputs"][0]]
            continue
        x, groups[name] = tensors[layer["input"]], layer.get("group", groups[layer["input"]])
        numbers = case["parameters"].get(name, {})
        if kind == "convolution":
            dilations = tensors[layer["dilation"]] if layer["dilation"] else None
            tensors[name] = convolve(x, layer, numbers, header["groups"][groups[layer["input"]]]["zero"], dilations)
        elif kind == "requantise":
            tensors[name] = [[[requantise(q, numbers["multiplier"][c], numbers["bias"][c], layer) for q in row]
                              for row in plane] for c, plane in enumerate(x)]  # fmt: skip
        elif kind == "channels":
            tensors[name] = x[layer["first"] : layer["first"] + layer["count"]]
        else:
            tensors[name] = (
                shuffle(x, layer["parts"])
                if kind == "shuffle"
                else {"upsample": upsample, "max_pool": max_pool}[kind](x)
            )
    return tensors


class Maker:
    """Draws cases."""

    def __init__(self) -> None:
        self.draw = random.Random(SEED)

    def convolution(self, name: str, source: str, depth: int, channels: int, kernel: int, **more) -> dict:
        """A layer as the header has it."""
        layer = {"kind": "convolution", "name": name, "input": source, "channels": channels, "depth": depth,
                 "kernel": kernel, "stride": 1, "depthwise": False, "bits": 4, "shift": 16, "relu": False, "group": 1,
                 "limits": None, "dilation": None}  # fmt: skip
        return {**layer, **more}

    def numbers(self, layer: dict, channels: int) -> dict:
        """Parameters of one layer; extremes of every type among them."""
        draw, found = self.draw, {}
        shift = layer["shift"]
        reach = 2**shift
        if layer["kind"] == "convolution":
            low, high = -(2 ** (layer["bits"] - 1)), 2 ** (layer["bits"] - 1) - 1
            size = layer["depth"] * layer["kernel"] ** 2
            flat = [[draw.choice((low, high)) if draw.random() < 0.1 else draw.randint(low, high) for _ in range(size)]
                    for _ in range(channels)]  # fmt: skip
            k = layer["kernel"]
            found["weight"] = [
                [[row[(c * k + u) * k :][:k] for u in range(k)] for c in range(layer["depth"])] for row in flat
            ]
            reach = 2**shift * (6 if layer["limits"] else 100) // (128 * size * high // 3)
        most = min(32767, max(1, reach))
        found["multiplier"] = [draw.randint(-most if draw.random() < 0.1 else most // 2, most) for _ in range(channels)]
        found["bias"] = [draw.randint(0, 8) if layer.get("limits") else draw.randint(-40, 200) for _ in range(channels)]
        return found

    def case(self, name: str, shape: tuple, layers: list, outputs: list, input_group: int = 0) -> dict:
        """A network, an image and every tensor."""
        header = {"schema": "edgevision.integer_network/1", "input_shape": list(shape), "input_group": input_group,
                  "groups": GROUPS, "layers": layers, "outputs": outputs}  # fmt: skip
        channels, height, width = shape
        image = [[[self.draw.randint(-128, 127) for _ in range(width)] for _ in range(height)] for _ in range(channels)]
        parameters = {layer["name"]: self.numbers(layer, layer.get("channels", channels)) for layer in layers
                      if layer["kind"] in ("convolution", "requantise")}  # fmt: skip
        made = {"name": name, "header": header, "parameters": parameters, "image": image}
        tensors = run(made)
        return {**made, "tensors": {name: tensors[name] for name in tensors if name != "input"}}


def square(make: Maker, name: str, source: str, channels: int, stride: int, **more) -> list:
    """A map of dilations by a 1x1 layer, and the deformable layer that reads it."""
    size = {"group": None, "limits": [0, 7], "bits": 8, "stride": stride}
    return [make.convolution(f"{name}.map", source, channels, 1, 1, **size),
            make.convolution(name, source, 1, channels, 3, stride=stride, depthwise=True, dilation=f"{name}.map",
                             **more)]  # fmt: skip


def main() -> None:
    """Write integer_networks.json beside this file."""
    make = Maker()
    conv = make.convolution
    unit = [
        {"kind": "channels", "name": "left", "input": "stem", "first": 0, "count": 4},
        {"kind": "channels", "name": "right", "input": "stem", "first": 4, "count": 4},
        conv("expand", "right", 4, 4, 1, relu=True),
        conv("deep", "expand", 1, 4, 3, depthwise=True, group=2),
        conv("project", "deep", 4, 4, 1, relu=True),
        {"kind": "concat", "name": "joined", "inputs": ["left", "project"]},
        {"kind": "shuffle", "name": "mixed", "input": "joined", "parts": 2},
    ]
    cases = [
        make.case("pointwise", (5, 3, 4), [conv("y", "input", 5, 6, 1)], ["y"]),
        make.case("pointwise_relu_shift", (5, 3, 3), [conv("y", "input", 5, 3, 1, relu=True, shift=9)], ["y"]),
        make.case("first_stride4", (3, 9, 8), [conv("y", "input", 3, 4, 3, stride=4, bits=8, relu=True)], ["y"], 2),
        make.case("first_stride2", (3, 5, 6), [conv("y", "input", 3, 4, 3, stride=2, bits=8, group=2)], ["y"], 2),
        make.case("depthwise", (3, 5, 6), [conv("y", "input", 1, 3, 3, depthwise=True)], ["y"]),
        make.case("depthwise_stride2", (3, 5, 6), [conv("y", "input", 1, 3, 3, stride=2, depthwise=True)], ["y"], 2),
        make.case("square", (4, 9, 10), square(make, "y", "input", 4, 1, relu=True), ["y"]),
        make.case("square_stride2", (3, 9, 10), square(make, "y", "input", 3, 2, group=2), ["y"], 2),
        make.case("requantise", (3, 4, 4), [{"kind": "requantise", "name": "y", "input": "input", "shift": 14,
                                             "group": 2, "relu": False}], ["y"]),
        make.case("shuffle", (6, 2, 2), [{"kind": "shuffle", "name": "y", "input": "input", "parts": 3}], ["y"]),
        make.case("upsample", (2, 2, 3), [{"kind": "upsample", "name": "y", "input": "input"}], ["y"]),
        make.case("max_pool", (2, 5, 6), [{"kind": "max_pool", "name": "y", "input": "input"}], ["y"]),
        make.case("channels", (5, 2, 2), [{"kind": "channels", "name": "y", "input": "input", "first": 1, "count": 3}],
                  ["y"]),
        make.case("concat", (2, 2, 2), [{"kind": "concat", "name": "y", "inputs": ["input", "input"]}], ["y"]),
        make.case(
            "network", (3, 16, 16),
            [conv("stem", "input", 3, 8, 3, stride=2, bits=8, relu=True), *unit,
             *square(make, "deform", "mixed", 8, 2, group=2), conv("point", "deform", 8, 5, 1, relu=True),
             {"kind": "upsample", "name": "up", "input": "point"}, conv("head", "up", 5, 3, 1, group=2)],
            ["head"], 2,
        ),
    ]  # fmt: skip
    text = json.dumps({"schema": "edgevision.golden.integer/1", "seed": SEED, "cases": cases}, separators=(",", ":"))
    Path(__file__).with_name("integer_networks.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
