"""`report`: the latency-accuracy trade-off of what is in a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgevision.api.choosing import usable
from edgevision.config import nearest
from edgevision.errors import EdgeVisionError, UsageError
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.bundle import Bundle
    from edgevision.compress.compressed import Compressed
    from edgevision.data.metric import Metric
    from edgevision.profile.profile import Profile
    from edgevision.report.tradeoff import Built, Picture, TradeOff, Waves

#: Model and data a report is about.
Subject = tuple[str, str]


@dataclass(frozen=True)
class Reported:
    """A trade-off and the files it was written to: HTML, Markdown, CSV, JSON."""

    html: Path
    files: tuple[Path, ...]
    trade_off: TradeOff


def report(
    *,
    model: str | None = None,
    data: str | None = None,
    out: Path | str = DEFAULT_OUT,
    overwrite: bool = False,
    command: str = "edgevision report",
) -> Reported:
    """Write the latency-accuracy trade-off of everything in `out` as HTML, Markdown, CSV and JSON.

    The latest profile of each device and number of threads is shown, with every compressed network and bundle of the
    same model and data. Measurements of a bundle or network that was made again since are left out, and artefacts that
    cannot be read are skipped; a remark names each. For a detector there are pictures of a few test images, where these
    still are where they were; for a network that predicts waves, of these and of its errors.

    Args:
        model, data: what the report is about; the newest artefact's without them.

    Raises:
        UsageError: there is nothing to report, nothing of that model or data, or a report is already there.
    """
    from edgevision import bundle as bundles
    from edgevision.compress.compressed import Compressed
    from edgevision.files import folder_aside, refuse_overwrite, write_atomic
    from edgevision.profile.profile import load
    from edgevision.report import html, tables
    from edgevision.report.current import latest
    from edgevision.report.tradeoff import trade_off

    workspace, skipped = Workspace(Path(out)), list[str]()
    refuse_overwrite(workspace.report, overwrite=overwrite)
    networks = usable(workspace.all_compressed(), Compressed.load, skipped)
    profiles = sorted(usable(workspace.all_profiles(), load, skipped), key=lambda profile: profile.created)
    built = usable(workspace.all_bundles(), bundles.load, skipped)
    timed = [(p.model, p.data) for p in profiles]
    about = _subject(workspace, model, data, timed, [(n.info.model, n.info.data) for n in networks], skipped)
    own = [n for n in networks if (n.info.model, n.info.data) == about]
    ours = [b for b in built if (b.manifest.origin.model, b.manifest.origin.data) == about]
    identities = {b.folder.name: b.identity for b in ours}
    graphs = {n.folder.name: n.info.onnx_sha256 for n in own}
    chosen, stale = latest([p for p in profiles if (p.model, p.data) == about], identities, graphs)
    remarks = [*stale, *(f"Skipped: {line}" for line in skipped)]
    shown, waves = _pictures(own, remarks), _waves(own, chosen, remarks)
    made = trade_off(
        chosen,
        own,
        _built(ours, chosen, own),
        command=command,
        about=about,
        remarks=remarks,
        pictures=shown,
        waves=waves,
    )
    texts = {
        "report.html": html.render(made),
        "report.md": tables.as_markdown(made),
        "report.csv": tables.as_csv(made),
        "report.json": tables.as_json(made),
    }
    with folder_aside(workspace.report, overwrite=overwrite) as folder:
        for name, text in texts.items():
            write_atomic(folder / name, text)
    files = tuple(workspace.report / name for name in texts)
    return Reported(files[0], files, made)


def _subject(
    workspace: Workspace,
    model: str | None,
    data: str | None,
    timed: Sequence[Subject],
    compressed: Sequence[Subject],
    skipped: Sequence[str],
) -> Subject:
    """The newest thing measured, or else compressed, that is of the model and data asked for."""
    from edgevision import zoo
    from edgevision.data.open import absolute

    known = [*compressed, *timed]
    if not known:
        raise UsageError(
            "there is nothing to report: no profile and no compressed network" + (" that is whole" if skipped else ""),
            where=str(workspace.root),
            reasons=skipped,
            fix="edgevision compress --model cas_vit --recipe w8a8, then edgevision deploy --target host --run",
        )
    # A network of the user's is called after its file.
    stem = Path(model).stem if model and model.endswith((".onnx", ".pt2")) else ""
    wanted = None if model is None else {model, zoo.full_name(model), stem}
    spec = None if data is None else {data, absolute(data)}
    fitting = [s for s in known if (wanted is None or s[0] in wanted) and (spec is None or s[1] in spec)]
    if fitting:
        return fitting[-1]
    models, sets = dict.fromkeys(s[0] for s in known), dict.fromkeys(s[1] for s in known)
    asked = (
        []
        if model is None or wanted is None
        else [f"model '{model}'{'' if wanted & models.keys() else nearest(model, models)}"]
    )
    asked += [] if data is None else [f"data '{data}'{'' if data in sets else nearest(data, sets)}"]
    raise UsageError(
        f"nothing here is of {' on '.join(asked)}",
        where=str(workspace.root),
        reasons=[f"there is --model {m}" + (f" --data {d}" if d else "") for m, d in dict.fromkeys(known)]
        + list(skipped),
        fix="name one of these, or choose another --out",
    )


def _pictures(networks: Sequence[Compressed], remarks: list[str]) -> tuple[Picture, ...]:
    """Test images as the detectors among `networks` see them; `remarks` gets why there are none."""
    from edgevision.data import open_detections
    from edgevision.report.pictures import pictures

    alike = _drawn_together(networks, "AP50")
    if not alike:
        return ()
    info = alike[0].info
    try:
        data = open_detections(info.data, info.preprocessing)
        if data.sha256 != info.data_sha256:
            raise UsageError("other images are there now", where=info.data)
        return pictures(alike, data)
    except EdgeVisionError as error:
        remarks.append(f"No pictures: {error.what}{f' ({error.where})' if error.where else ''}.")
        return ()


def _waves(networks: Sequence[Compressed], profiles: Sequence[Profile], remarks: list[str]) -> Waves | None:
    """Test waves as those of `networks` that predict waves go on with them; `remarks` gets why there are none."""
    from edgevision.data import WaveSet, open_set
    from edgevision.report.field_pictures import field_pictures, solver_speeds

    alike = _drawn_together(networks, "fit")
    if not alike:
        return None
    info = alike[0].info
    try:
        data = open_set(info.data or "", info.preprocessing)
        if not isinstance(data, WaveSet) or data.sha256 != info.data_sha256:
            raise UsageError("other waves are there now", where=info.data)
        return msgspec.structs.replace(field_pictures(alike, data), speeds=solver_speeds(profiles, data))
    except EdgeVisionError as error:
        remarks.append(f"No pictures: {error.what}{f' ({error.where})' if error.where else ''}.")
        return None


def _drawn_together(networks: Sequence[Compressed], metric: Metric) -> list[Compressed]:
    """Networks of that metric on the same data, the float one first, for the eye to compare with."""
    those = [network for network in networks if network.info.metric == metric and network.info.data]
    those.sort(key=lambda network: network.info.recipe.name != "fp32")
    return [network for network in those if network.info.preprocessing == those[0].info.preprocessing]


def _built(bundles: Sequence[Bundle], profiles: Sequence[Profile], networks: Sequence[Compressed]) -> list[Built]:
    from edgevision.report.tradeoff import Built

    timed = {engine.bundle for profile in profiles for engine in profile.engines}
    artefacts = {network.info.onnx_sha256: network.folder.name for network in networks}
    found = []
    for bundle in bundles:
        manifest, name = bundle.manifest, bundle.folder.name
        artefact = artefacts.get(manifest.origin.onnx_sha256 or "", name.split("@")[0])
        static = " --static" if manifest.static and manifest.target.libc != "musl" else ""
        integer = sum(step.macs for step in manifest.steps if step.integer)
        found.append(
            Built(
                name=name,
                artefact=artefact,
                target=manifest.target.name,
                title=manifest.target.title,
                arch=manifest.target.arch,
                size_bytes=bundle.size_bytes,
                arena_bytes=manifest.arena_bytes,
                integer_macs_share=integer / manifest.macs if manifest.macs else None,
                measured=name in timed,
                command=f"edgevision deploy {artefact} --target {manifest.target.name}{static}",
            )
        )
    return found
