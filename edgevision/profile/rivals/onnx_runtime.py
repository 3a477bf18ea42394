"""onnxruntime on this host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edgevision.compress.session import options_for
from edgevision.profile.rivals.timing import RivalEngine


@dataclass
class OnnxRuntimeEngine(RivalEngine):
    """An ONNX file in onnxruntime: all optimisations on, inputs and outputs bound beforehand, threads spinning."""

    _session: Any = field(init=False, repr=False)

    def _load(self) -> Callable[[], object]:
        import onnxruntime

        options = options_for(onnx.load(str(self.path), load_external_data=False), self.threads)
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._session.get_inputs()[0].name, self.sample)
        for output in self._session.get_outputs():
            binding.bind_output(output.name)
        return lambda: self._session.run_with_iobinding(binding)

    def _output(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._session.get_inputs()[0].name: image})[0])
