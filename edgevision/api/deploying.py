"""`check`, `deploy`, `verify`: from a compressed network to a bundle that runs on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.errors import DoesNotFit, EdgeVisionError, Unsupported, UsageError
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from edgevision.api.engines import EngineCheck
    from edgevision.bundle import Bundle, Origin, Verified
    from edgevision.compiler import Coverage, Program
    from edgevision.compiler.tuning import Tuner
    from edgevision.compress.compressed import Compressed, CompressedInfo
    from edgevision.engine.network import IntegerNetwork
    from edgevision.target import Target

#: Golden inputs a bundle carries.
GOLDEN_IMAGES = 2


@dataclass(frozen=True)
class Checked:
    """The answer of `check`.

    Attributes:
        coverage: operators, shares of the MACs and memory; None when the graph cannot even be read.
        problems: every reason why it would not compile or fit, as the errors `deploy` would raise.
        engine: what the target's engine would do with it, modelled; None where there is none.
        predicted_ms: modelled latency; None where the target was not calibrated, or nothing would be built.
    """

    artefact: str
    target: Target
    coverage: Coverage | None
    problems: tuple[EdgeVisionError, ...]
    engine: EngineCheck | None = None
    predicted_ms: float | None = None


@dataclass(frozen=True)
class Deployed:
    """A bundle, and what running it gave where that was asked for.

    Attributes:
        verified: golden vectors run on the device; None without `run`.
        emulated: the device emulates the target, so nothing about its speed is known.
        engine: what the target's engine does with it, or could do, modelled; None where there is none.
        unreached: why the results are simulated and not the board's.
    """

    bundle: Bundle
    artefact: str
    verified: Verified | None = None
    emulated: bool = False
    engine: EngineCheck | None = None
    unreached: str | None = None


def check(
    artefact: Path | str | None = None,
    target: str = "host",
    *,
    image_size: int | None = None,
    threads: int = 1,
    out: Path | str = DEFAULT_OUT,
) -> Checked:
    """Say whether a network will compile for a target and fit it, every reason at once; nothing is built.

    Args:
        artefact: a compressed network (its folder, or its name in `out`; the newest without it), or an `.onnx` file
            or `.pt2` exported program.
        target: a name of `edgevision list targets`.
        image_size: height and width where an `.onnx` file leaves them free.
        threads: the latency is predicted for, where the target was calibrated with as many.

    Raises:
        UsageError: no such artefact or target.
    """
    from edgevision import compiler
    from edgevision.api.engines import engine_check
    from edgevision.profile import calibration
    from edgevision.profile.work import works_before

    chosen = _target(target)
    name, graph = _graph(artefact, Workspace(Path(out)), image_size)
    try:
        coverage = compiler.check(graph, chosen)
    except Unsupported as problem:
        return Checked(name, chosen, None, (problem,))
    engine = engine_check(graph, chosen)
    problems: list[EdgeVisionError] = [*(engine.problems if engine else ())]
    if coverage.unsupported:
        problems.append(Unsupported("operators that cannot be compiled", where=name, reasons=coverage.unsupported))
    need, have = coverage.weight_bytes + coverage.activation_bytes, chosen.memory.ram_mib
    if have is not None and need > have << 20:
        problems.append(DoesNotFit(f"needs at least {need >> 20} MiB of memory, {target} has {have} MiB", where=name))
    model = None if problems else calibration.known(chosen, threads)
    predicted = None if model is None else model.whole_ms(model.predictor().predict(works_before(graph, chosen)))
    return Checked(name, chosen, coverage, tuple(problems), engine, predicted)


def deploy(
    artefact: Path | str | None = None,
    target: str = "host",
    *,
    run: bool = False,
    device: str | None = None,
    static: bool = False,
    bitstream: Path | None = None,
    tune: float | None = None,
    out: Path | str = DEFAULT_OUT,
    timeout: float = 60,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Deployed:
    """Compile a compressed network for a target and write it as a bundle.

    Args:
        artefact: a compressed network (its folder, or its name in `out`); the newest without it.
        target: a name of `edgevision list targets`.
        run: run the bundle's golden vectors afterwards.
        device: where; without it, the target's own default.
        tune: minutes to search faster loops for operators that have no kernel of ours, timed on this machine or on a
            `rpc:` device. What was searched before counts, so the same command again takes seconds.
        static: runner and kernels in one file.
        bitstream: engine.bit, with engine.hwh beside it, for a target with an engine and a network that it runs.
        timeout: seconds the device may take for one step.

    Raises:
        UsageError: no such artefact, target or device, nowhere to time what is tuned, or the bundle is already there.
        Unsupported, DoesNotFit, ToolMissing: nothing was built; every reason.
        DeviceError: the device cannot be reached, and nothing was built; or running the bundle that was built failed.
        Mismatch: the bundle is built, but it gives other outputs.
    """
    from edgevision import bundle as bundles
    from edgevision.api import engines
    from edgevision.compress.compressed import Compressed
    from edgevision.device import open_device
    from edgevision.device.tuning import tuner_for
    from edgevision.files import refuse_overwrite

    workspace = Workspace(Path(out))
    if artefact is not None and str(artefact).endswith((".onnx", ".pt2")) and not Path(artefact).is_dir():
        raise UsageError(
            "expected a compressed network, got a network file",
            where=str(artefact),
            fix=f"edgevision compress --model {artefact} --recipe fp32 (or another recipe), then deploy its result",
        )
    compressed = Compressed.load(workspace.find_compressed(str(artefact) if artefact else None))
    chosen = _target(target)
    name = compressed.folder.name
    place = workspace.bundle(f"{name}-static" if static else name, target)
    refuse_overwrite(place, overwrite=overwrite)
    # What the board needs follows from the graph only where there is an engine; others are asked before it is read.
    graph = compressed.graph() if chosen.engine is not None else None
    network = engines.network_for(graph, chosen) if graph is not None else None
    if network is not None:
        return _deploy_engine(
            network, compressed.info, chosen, place, name=name, run=run, device=device, bitstream=bitstream,
            static=static, overwrite=overwrite, timeout=timeout, tune=tune, progress=progress,
        )  # fmt: skip
    if bitstream is not None:
        raise UsageError(
            "a bitstream was given, but nothing of this network runs on an engine",
            where=f"{name} for {target}", fix="leave --bitstream out; edgevision check says what the engine runs",
        )  # fmt: skip
    where = open_device(device or chosen.default_device, chosen, timeout=timeout) if run else None
    if where is not None:
        # A device that is not there, or is something else, should not cost the time of a build.
        progress("device", 0, 1, where.name)
        where.ready(chosen, static=static, need_bytes=compressed.onnx_path.stat().st_size)
        progress("device", 1, 1, where.name)
    tuner = None if tune is None else tuner_for(device, chosen, minutes=tune, timeout=timeout)
    made = build(
        compressed, chosen, place, static=static, tuner=tuner, tune_minutes=tune, overwrite=overwrite, progress=progress
    )
    engine = engines.engine_check(graph, chosen) if graph is not None else None
    if where is None:
        return Deployed(made, name, engine=engine)
    progress("run", 0, 1, where.name)
    verified = bundles.verify(made, where)
    progress("run", 1, 1, where.name)
    return Deployed(made, name, verified, emulated=where.name.startswith("qemu"), engine=engine)


def build(
    compressed: Compressed,
    target: Target,
    place: Path,
    *,
    static: bool = False,
    tuner: Tuner | None = None,
    tune_minutes: float | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Compile a compressed network for a resolved target and write the bundle `place`; the same gives the same bytes.

    Args:
        tune_minutes: what the tuner was given, for the manifest.

    Raises:
        Unsupported, DoesNotFit, ToolMissing, UsageError: nothing is written; every reason.
    """
    from edgevision import bundle as bundles
    from edgevision import compiler

    graph = compressed.graph()
    program = compiler.compile_graph(graph, target, tuner=tuner, progress=progress)
    images = _images(compressed.info)
    progress("golden vectors", 0, 1)
    expected = _expected(graph, program, images)
    progress("golden vectors", 1, 1)
    golden = [(images[i : i + 1], expected[i : i + 1]) for i in range(len(images))]
    progress("link", 0, 1)
    made = bundles.write(
        program, _origin(compressed.info), place,
        golden=golden, static=static, tune_minutes=tune_minutes, overwrite=overwrite,
    )  # fmt: skip
    progress("link", 1, 1)
    return made


def verify(
    bundle: Path | str | None = None,
    *,
    device: str | None = None,
    out: Path | str = DEFAULT_OUT,
    timeout: float = 60,
) -> Verified:
    """Hash every file of a bundle again and re-run its golden vectors on a device.

    Args:
        bundle: a folder, or its name in `out`; the newest without it.
        device: where; without it, the default of the target it was built for.

    Raises:
        UsageError: no such bundle or device.
        Mismatch: a file or an output is not what it was.
        DeviceError: the device cannot be reached or timed out.
    """
    from edgevision import bundle as bundles
    from edgevision.device import open_device

    loaded = bundles.load(Workspace(Path(out)).find_bundle(str(bundle) if bundle else None))
    target = loaded.manifest.target
    default = "csim" if loaded.manifest.engine is not None else target.default_device
    return bundles.verify(loaded, open_device(device or default, target, timeout=timeout))


def _deploy_engine(
    network: IntegerNetwork, info: CompressedInfo, target: Target, place: Path, *, name: str,
    run: bool, device: str | None, bitstream: Path | None, static: bool, overwrite: bool, timeout: float,
    tune: float | None, progress: Progress,
) -> Deployed:  # fmt: skip
    """The bundle of a network that runs on the engine, verified layer by layer where it is to be run."""
    from edgevision import bundle as bundles
    from edgevision.api import engines

    if tune is not None:
        raise UsageError("there is nothing to tune: every layer runs on the engine", fix="leave --tune out")
    where = engines.open_engine_device(device, target, bitstream, timeout=timeout) if run else None
    unreached = None
    if where is not None:
        progress("device", 0, 1, where.name)
        need = 0 if bitstream is None else 2 * bitstream.stat().st_size if bitstream.is_file() else 0
        where, unreached = engines.answering(where, target, need_bytes=need, timeout=timeout)
        progress("device", 1, 1, where.name)
    progress("engine program", 0, 1)
    made = engines.write_engine_bundle(
        network, target, _origin(info), _images(info), place, bitstream=bitstream, static=static, overwrite=overwrite
    )
    progress("engine program", 1, 1)
    engine = engines.network_check(network, target)
    if where is None:
        return Deployed(made, name, engine=engine)
    progress("run", 0, 1, where.name)
    verified = bundles.verify(made, where)
    progress("run", 1, 1, where.name)
    return Deployed(made, name, verified, emulated=where.name == "csim", engine=engine, unreached=unreached)


def _target(name: str) -> Target:
    from edgevision import target
    from edgevision.machine import resolve

    return resolve(target.load(name))


def _graph(artefact: Path | str | None, workspace: Workspace, image_size: int | None) -> tuple[str, onnx.ModelProto]:
    if artefact is not None and str(artefact).endswith((".onnx", ".pt2")):
        from edgevision import zoo
        from edgevision.graph.export import export

        if not Path(artefact).is_file():
            raise UsageError("cannot read the network: No such file or directory", where=str(artefact))
        return str(artefact), export(zoo.load_model(str(artefact), image_size=image_size)).graph
    if image_size is not None:
        raise UsageError("a compressed network has its image size", fix="give --image-size with an .onnx file only")
    from edgevision.compress.compressed import Compressed

    compressed = Compressed.load(workspace.find_compressed(str(artefact) if artefact else None))
    return compressed.folder.name, compressed.graph()


def _origin(info: CompressedInfo) -> Origin:
    from edgevision.bundle import Origin

    return Origin(
        model=info.model,
        recipe=info.recipe.name,
        seed=info.seed,
        input_name=info.input.name,
        preprocessing=info.preprocessing,
        classes=info.classes,
        data=info.data,
        data_sha256=info.data_sha256,
        weights=info.provenance.origin,
        onnx_sha256=info.onnx_sha256,
        weights_sha256=info.provenance.sha256,
        steps=info.recipe.steps,
        keep_fp=info.keep_fp,
        versions=info.versions,
        metric=info.metric,
    )


def _images(info: CompressedInfo) -> np.ndarray:
    """Golden inputs: noise of the input's own scale, the same every time, so that no image leaves its owner."""
    import numpy as np

    shape = (GOLDEN_IMAGES, *info.input.shape[1:])
    return np.random.default_rng(info.seed).standard_normal(shape).astype(np.float32)


def _expected(graph: onnx.ModelProto, program: Program, images: np.ndarray) -> np.ndarray:
    """Outputs a bundle must give, from outside the compiler.

    onnxruntime's for a float network; for integers, where quant/NUMERICS.md fixes every bit and onnxruntime rounds in
    its own way, those of the numpy reference.
    """
    import numpy as np

    from edgevision.compress.session import predictor
    from edgevision.graph import reference

    if not any(step.integer for step in program.steps):
        return predictor(graph)(images)
    return np.concatenate([reference.run(graph, images[i : i + 1])[0] for i in range(len(images))])
