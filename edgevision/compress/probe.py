"""One network of which any layers can be put back into float, and what that does to its outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edgevision.compress.bypass import SWITCH, switchable
from edgevision.compress.noise import kl_divergence, sqnr_db
from edgevision.compress.session import batched, session

#: Outputs (N, ...) of images float32 (N, C, H, W).
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Noise:
    """How far outputs are from those of the float graph: `sqnr_db`, and `kl` in nats of the classes they say."""

    sqnr_db: float
    kl: float


@dataclass
class Probe:
    """A quantised graph with a switch for each layer, and its float twin; sessions are made when first asked for.

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        images: the noise is taken on, float32 (N, C, H, W).
        names: layers that have a switch.
    """

    quantised: onnx.ModelProto
    original: onnx.ModelProto
    images: np.ndarray
    names: Sequence[str]
    _last: tuple[frozenset[str], Noise] | None = field(default=None, init=False)

    def noise(self, floats: Collection[str]) -> Noise:
        """Noise at the output with the layers `floats` in float and all others quantised."""
        asked = frozenset(floats)
        if self._last is None or self._last[0] != asked:
            got = self.predict(asked)(self.images)
            self._last = asked, Noise(sqnr_db(self._reference, got), kl_divergence(self._reference, got))
        return self._last[1]

    def predict(self, floats: Collection[str]) -> Predict:
        """The network with the layers `floats` in float."""
        switch = np.array([name in floats for name in self.names], np.bool_)

        def run(images: np.ndarray) -> np.ndarray:
            runner, batch, name = self._switched
            return _outputs(runner, name, images, {SWITCH: switch}, batch)

        return run

    @functools.cached_property
    def _reference(self) -> np.ndarray:
        return _outputs(session(self.original), self.original.graph.input[0].name, self.images, {}, 1)

    @functools.cached_property
    def _switched(self) -> tuple[Any, int, str]:
        """The session, the images it takes at a time, and the name of its input."""
        graph, batch = switchable(self.quantised, self.original, self.names), min(len(self.images), 8)
        many = batched(graph, batch, optimise=False, more={SWITCH: np.zeros(len(self.names), np.bool_)})
        return many or session(graph, optimise=False), batch if many else 1, graph.graph.input[0].name


def _outputs(runner: Any, name: str, images: np.ndarray, more: dict[str, np.ndarray], batch: int) -> np.ndarray:
    return np.concatenate(list(_parts(runner, name, images, more, batch)))


def _parts(runner: Any, name: str, images: np.ndarray, more: dict[str, np.ndarray], batch: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        short = batch - len(part)
        full = np.concatenate([part, np.zeros((short, *part.shape[1:]), part.dtype)]) if short else part
        yield runner.run(None, {name: full, **more})[0][: len(part)]
