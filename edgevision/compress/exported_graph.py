"""What an exporter gives to this room, which may not import the rooms after it."""

from __future__ import annotations

from typing import Protocol

import onnx


class ExportedGraph(Protocol):
    """What an exporter gives: the float graph, its largest difference to the source, and what it changed."""

    @property
    def graph(self) -> onnx.ModelProto:
        """The checked float graph, batch 1."""

    @property
    def max_abs_error(self) -> float:
        """Largest absolute difference of the outputs to the source's."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed on the way in."""
