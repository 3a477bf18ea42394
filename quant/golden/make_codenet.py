"""Make codenet.json: what a whole small detector, codenet.evintnet, gives for one image, in Python's integers.

Run from anywhere: `python quant/golden/make_codenet.py`. Only the standard library; it reads the file by
INTEGER_NETWORKS.md on its own, and computes with make_integer.py. The network is a CoDeNet of a few channels that was
trained quantised for twenty steps (`detector(0)` of tests/helpers/detectors.py, learned ranges), exported by
`edgevision.engine.from_qat` and committed; whatever made it, the vectors follow from its bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
from pathlib import Path

from make_integer import run

HERE = Path(__file__).parent
SEED = 7


def parsed(data: bytes) -> tuple[dict, dict]:
    """Header and parameters of a file, nested lists of integers."""
    size = struct.unpack_from("<I", data, 8)[0]
    header = json.loads(data[12 : 12 + size])
    position, parameters, channels = 12 + size, {}, {"input": header["input_shape"][0]}
    for layer in header["layers"]:
        name = layer["name"]
        if layer["kind"] == "concat":
            channels[name] = sum(channels[source] for source in layer["inputs"])
            continue
        channels[name] = layer.get("channels", layer.get("count", channels[layer["input"]]))
        if layer["kind"] not in ("convolution", "requantise"):
            continue
        numbers = {}
        if layer["kind"] == "convolution":
            shape = (layer["channels"], layer["depth"], layer["kernel"], layer["kernel"])
            position += -position % 16
            count = shape[0] * shape[1] * shape[2] * shape[3]
            flat, position = integers(data, position, count, layer["bits"])
            numbers["weight"] = nested(flat, shape[1:])
        for kind in ("multiplier", "bias"):
            position += -position % 16
            numbers[kind], position = integers(data, position, channels[name], 16)
        parameters[name] = numbers
    assert data[:8] == b"EVINTNET" and position == len(data)
    return header, parameters


def integers(data: bytes, position: int, count: int, bits: int) -> tuple[list, int]:
    """Signed little-endian integers, those of 4 bits two to a byte; and where they end."""
    if bits == 4:
        end = position + (count + 1) // 2
        halves = [half for byte in data[position:end] for half in (byte & 15, byte >> 4)]
        return [half - 16 if half > 7 else half for half in halves[:count]], end
    kind = "b" if bits == 8 else "h"
    return list(struct.unpack_from(f"<{count}{kind}", data, position)), position + count * bits // 8


def nested(flat: list, shape: tuple) -> list:
    """A list of lists; the innermost have the last size."""
    for size in reversed(shape):
        flat = [flat[i : i + size] for i in range(0, len(flat), size)]
    return flat


def packed(tensor: list) -> bytes:
    """One byte for each value, row major, int8 as two's complement."""
    return bytes(q & 255 for plane in tensor for row in plane for q in row)


def main() -> None:
    """Write codenet.json beside this file."""
    header, parameters = parsed((HERE / "codenet.evintnet").read_bytes())
    draw = random.Random(SEED)
    channels, height, width = header["input_shape"]
    image = [[[draw.randint(-128, 127) for _ in range(width)] for _ in range(height)] for _ in range(channels)]
    tensors = run({"header": header, "parameters": parameters, "image": image})
    maps = [layer["name"] for layer in header["layers"] if layer.get("limits")]
    shown = ["input", *maps, *header["outputs"]]
    made = {
        "schema": "edgevision.golden.network/1",
        "tensors": {name: {"shape": [len(tensors[name]), len(tensors[name][0]), len(tensors[name][0][0])],
                           "bytes": base64.b64encode(packed(tensors[name])).decode()} for name in shown},
        "sha256": {name: hashlib.sha256(packed(tensor)).hexdigest() for name, tensor in tensors.items()},
    }  # fmt: skip
    (HERE / "codenet.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
