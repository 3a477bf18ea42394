"""OpenVINO's CPU plugin on this host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevision.profile.rivals.needs import need
from edgevision.profile.rivals.timing import RivalEngine


@dataclass
class OpenVinoEngine(RivalEngine):
    """An ONNX file, or an OpenVINO model (.xml), in OpenVINO with the latency hint and as many threads as asked.

    Attributes:
        precision: of what is not quantised: "f32", or "default" for what the plugin chooses, which is bfloat16 on
            processors that multiply it.

    Raises:
        ToolMissing: OpenVINO is not installed.
    """

    precision: str = "f32"
    _request: Any = field(init=False, repr=False)
    #: What the plugin says it computes in.
    chosen: str = field(init=False)

    def _load(self) -> Callable[[], object]:
        openvino = need("openvino")
        asked = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            **({} if self.precision == "default" else {"INFERENCE_PRECISION_HINT": self.precision}),
        }
        compiled = openvino.Core().compile_model(str(self.path), "CPU", asked)
        self.chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._request = compiled.create_infer_request()
        # Arrays are shared, so that no copy is timed.
        self._request.set_input_tensor(openvino.Tensor(self.sample, shared_memory=True))
        return self._request.infer

    def _output(self, image: np.ndarray) -> np.ndarray:
        bound = self._request.get_input_tensor()
        kept = bound.data.copy()
        bound.data[...] = image
        self._request.infer()
        output = self._request.get_output_tensor().data.copy()
        bound.data[...] = kept
        return np.asarray(output)
