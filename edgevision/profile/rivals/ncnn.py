"""ncnn on this host, from the ONNX file by pnnx."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import Unsupported
from edgevision.profile.rivals.needs import need
from edgevision.profile.rivals.timing import RivalEngine

_SECONDS = 600
#: Everything that would compute a float network in less than float32.
_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed")


@dataclass
class NcnnEngine(RivalEngine):
    """A float ONNX file in ncnn: float32 throughout, packed layout and Winograd on, as many threads as asked.

    Raises:
        ToolMissing: ncnn or pnnx is not installed.
        Unsupported: pnnx or ncnn cannot take the network.
    """

    _net: Any = field(init=False, repr=False)

    def _load(self) -> Callable[[], object]:
        ncnn = need("ncnn")
        self._net = ncnn.Net()
        self._net.opt.num_threads = self.threads
        self._net.opt.use_vulkan_compute = False
        self._net.opt.use_packing_layout = True
        for option in _HALF:
            setattr(self._net.opt, option, False)
        with tempfile.TemporaryDirectory(prefix="edgevision-") as scratch:
            param, weights = convert(self.path, self.sample.shape, Path(scratch))
            if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
                raise Unsupported("ncnn cannot load what pnnx made of the network", where=str(self.path))
        still = self._mat(self.sample)
        return lambda: self._extract(still)

    def _output(self, image: np.ndarray) -> np.ndarray:
        return np.array(self._extract(self._mat(image)))[None]

    def _mat(self, image: np.ndarray) -> Any:
        # A clone owns its pixels; a Mat made from an array points into it.
        return need("ncnn").Mat(np.ascontiguousarray(image[0])).clone()

    def _extract(self, image: Any) -> Any:
        extractor = self._net.create_extractor()
        extractor.input(self._net.input_names()[0], image)
        code, output = extractor.extract(self._net.output_names()[0])
        if code:
            raise Unsupported(f"ncnn stopped with code {code}", where=str(self.path))
        return output


def convert(path: Path, shape: tuple[int, ...], out: Path) -> tuple[Path, Path]:
    """Convert an ONNX file with one float32 input of `shape` to ncnn's .param and .bin in the folder `out`.

    Raises:
        ToolMissing: pnnx is not installed.
        Unsupported: pnnx fails or takes longer than ten minutes.
    """
    pnnx = need("pnnx")
    # pnnx writes a dozen files beside its input.
    beside = out / "model.onnx"
    beside.write_bytes(path.read_bytes())
    sides = ",".join(map(str, shape))
    words = [pnnx.EXEC_PATH, beside.name, f"inputshape=[{sides}]f32", "fp16=0"]
    try:
        done = subprocess.run(words, cwd=out, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unsupported(f"pnnx takes longer than {_SECONDS} s", where=str(path)) from error
    made = (out / "model.ncnn.param", out / "model.ncnn.bin")
    if done.returncode or not all(file.is_file() for file in made):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unsupported(f"pnnx cannot convert the network: {said[-1] if said else done.returncode}", where=str(path))
    return made
