"""The golden integer networks, by name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np

from edgevision.engine.network import Header, IntegerNetwork, Parameters
from edgevision.resources import shipped

_FILE = shipped("quant") / "golden" / "integer_networks.json"
CASES: dict[str, Any] = {case["name"]: case for case in json.loads(_FILE.read_text())["cases"]}


def network_of(case: dict[str, Any]) -> IntegerNetwork:
    """The network of a golden case."""
    header = msgspec.convert(case["header"], Header)
    parameters = {
        name: Parameters(
            np.array(numbers["multiplier"], np.int16), np.array(numbers["bias"], np.int16),
            np.array(numbers["weight"], np.int8) if "weight" in numbers else None,
        )
        for name, numbers in case["parameters"].items()
    }  # fmt: skip
    return IntegerNetwork(header, parameters)
