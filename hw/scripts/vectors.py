"""Vectors for the test bench from one of the golden integer networks.

python hw/scripts/vectors.py --target pynq-z2 --case network --out hw/build/pynq-z2
"""

import argparse
import json
from pathlib import Path

import msgspec
import numpy as np

from edgevision.engine.hardware import hardware
from edgevision.engine.network import Header, IntegerNetwork, Parameters
from edgevision.engine.project import write_project
from edgevision.resources import shipped


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="pynq-z2")
    parser.add_argument("--case", default="network")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    golden = json.loads((shipped("quant") / "golden" / "integer_networks.json").read_text())
    case = next(one for one in golden["cases"] if one["name"] == given.case)
    parameters = {
        name: Parameters(
            np.array(numbers["multiplier"], np.int16),
            np.array(numbers["bias"], np.int16),
            np.array(numbers["weight"], np.int8) if "weight" in numbers else None,
        )
        for name, numbers in case["parameters"].items()
    }
    network = IntegerNetwork(msgspec.convert(case["header"], Header), parameters)
    write_project(network, hardware(given.target), np.array(case["image"], np.int8), given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
