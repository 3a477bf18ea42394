"""A compressed network on disk: `model.onnx` and `compressed.json`, written aside and renamed into place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from edgevision.data.metric import Metric
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError
from edgevision.recipe import Recipe
from edgevision.zoo.model import InputSpec, Provenance

SCHEMA = "edgevision.compressed/1"


class LedgerEntry(msgspec.Struct, frozen=True):
    """What one recipe step changed. Bytes are those of the weights as stored in the ONNX file."""

    step: str
    change: str
    parameters: int
    macs: int
    weight_bytes: int
    #: Accuracy in percent, by `CompressedInfo.metric` on the evaluation split, measured with onnxruntime on the ONNX
    #: file; None without data.
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class LayerSensitivity(msgspec.Struct, frozen=True):
    """What quantising one layer costs, one operator without weights, such as an Add, or one block of them.

    Attributes:
        sqnr_db: signal to quantisation noise at the network's output, to the float graph, when this layer alone is
            left in float.
        sqnr_gain_db: the same minus that with every layer quantised; larger means the layer hurts more.
        metric_gain: accuracy points gained when this layer alone is left in float; None where not measured.
        keep_fp: the flags to paste, "--keep-fp NAME", on the few layers or blocks that hurt most.
        kl_gain: nats by which the classes the network says come closer to the float graph's (Kullback-Leibler) when
            this layer alone is left in float; None where outputs are no classes.
        alone_sqnr_db, alone_kl: noise at the output when this layer alone is quantised; None but of a full ranking.
        metric_loss: accuracy points lost when this layer alone is quantised; None where not measured.
        operators: of a block, how many it has.
    """

    layer: str
    macs: int
    sqnr_db: float
    sqnr_gain_db: float
    metric_gain: float | None
    keep_fp: str | None = None
    kl_gain: float | None = None
    alone_sqnr_db: float | None = None
    alone_kl: float | None = None
    metric_loss: float | None = None
    operators: int = 1


class MixedPoint(msgspec.Struct, frozen=True):
    """One assignment of bits to layers, measured.

    Attributes:
        cost: in the units of `MixedSearch.basis`.
        weight_bytes: of its graph, as in the ledger.
        noise_db: sum over the layers of noise over signal, each quantised alone; what the integer programme bounds.
        bits: of each quantised operator: 4, 8, or 32 for float.
    """

    name: str
    accuracy: float
    cost: float
    weight_bytes: int
    noise_db: float
    bits: dict[str, int]


class MixedSearch(msgspec.Struct, frozen=True):
    """A search for bits layer by layer.

    Attributes:
        minimise: bytes or latency.
        basis: what costs are: stored bytes, measured times or modelled work.
        target: accuracy that was to be reached, in percent.
        met: whether `best` reaches it.
        best: name of the point that was written.
        points: all that were measured, in order.
        finished: false when the time was up first.
    """

    minimise: str
    basis: str
    target: float
    met: bool
    best: str
    points: tuple[MixedPoint, ...]
    finished: bool = True


class CompressedInfo(msgspec.Struct, frozen=True):
    """Everything about a compressed network but its graph (`compressed.json`)."""

    schema: str
    name: str
    model: str
    recipe: Recipe
    input: InputSpec
    preprocessing: Preprocessing
    provenance: Provenance
    classes: tuple[str, ...]
    ledger: tuple[LedgerEntry, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    keep_fp: tuple[str, ...]
    data: str
    data_sha256: str | None
    evaluated_images: int
    seed: int
    versions: dict[str, str]
    onnx_sha256: str
    command: str
    #: Largest absolute difference of the exported float graph, run in onnxruntime, to the torch module.
    export_max_abs_error: float | None
    #: What every accuracy here is measured by; a file from before there were detectors does not say it.
    metric: Metric = "top-1"
    #: Blocks of layers, ranked as `sensitivity` ranks layers; empty but of a full ranking.
    blocks: tuple[LayerSensitivity, ...] = ()
    #: How bits were chosen layer by layer, where they were.
    mixed: MixedSearch | None = None


@dataclass(frozen=True)
class Compressed:
    """A compressed network: its ONNX graph and everything known about it."""

    folder: Path
    info: CompressedInfo

    @property
    def onnx_path(self) -> Path:
        """The graph."""
        return self.folder / "model.onnx"

    def graph(self) -> onnx.ModelProto:
        """Load the ONNX graph."""
        return onnx.load(str(self.onnx_path))

    @staticmethod
    def load(folder: Path) -> Compressed:
        """Read a folder written by `compress`.

        Raises:
            UsageError: a file is missing, is not JSON of the known schema, or the graph's hash differs.
        """
        from edgevision.files import sha256_of

        path = folder / "compressed.json"
        try:
            info = msgspec.json.decode(path.read_bytes(), type=CompressedInfo)
        except OSError as error:
            raise UsageError(
                f"cannot read the compressed network: {error.strerror}",
                where=str(path),
                fix="edgevision compress --model NAME --recipe NAME",
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"the file is not a compressed.json: {error}", where=str(path)) from error
        if info.schema != SCHEMA:
            raise UsageError(f"expected schema {SCHEMA}, got {info.schema}", where=str(path))
        compressed = Compressed(folder, info)
        got = sha256_of(compressed.onnx_path) if compressed.onnx_path.is_file() else "no file"
        if got != info.onnx_sha256:
            raise UsageError(
                f"model.onnx is not the file compressed.json was written for: expected sha256 {info.onnx_sha256[:12]}, "
                f"got {got[:12]}",
                where=str(compressed.onnx_path),
                fix="run the compress command again with --overwrite",
            )
        return compressed
