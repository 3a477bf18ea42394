"""`edgevision deploy`."""

from __future__ import annotations

from pathlib import Path

import click

from edgevision.cli import engine, options


@click.command(name="deploy")
@click.argument("artefact", required=False)
@click.option("--target", required=True, help="A board or machine (edgevision list targets).")
@click.option("--run", is_flag=True, help="Run the bundle's golden vectors on the device afterwards.")
@click.option("--device", help="Where to run (edgevision list devices).  [default: the target's own]")
@click.option(
    "--tune",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Search faster loops for operators without a kernel of ours, timed here or on an rpc: device.",
)
@click.option("--static", is_flag=True, help="Runner and kernels in one file, for boards without a matching libc.")
@click.option(
    "--bitstream",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="engine.bit, with engine.hwh beside it, for the engine of an FPGA (make -C BUNDLE/hw bitstream).",
)
@options.command
def command(
    settings: options.Settings,
    artefact: str | None,
    target: str,
    run: bool,
    device: str | None,
    tune: float | None,
    static: bool,
    bitstream: Path | None,
) -> None:
    """Compile ARTEFACT, a compressed network, for a target and bundle it; the newest network without it."""
    from edgevision import api
    from edgevision.errors import UsageError
    from edgevision.report import words

    if device and not run and tune is None:
        raise UsageError(
            "--device says where to run, but nothing is run", fix="add --run or --tune, or leave --device out"
        )
    console = settings.console
    if artefact is None:
        artefact = str(settings.workspace.find_compressed(None))
        console.note(f"deploying {artefact}")
    with console.progress() as progress:
        done = api.deploy(
            artefact, target, run=run, device=device, static=static, bitstream=bitstream, tune=tune, out=settings.out,
            timeout=settings.timeout, overwrite=settings.overwrite, progress=progress,
        )  # fmt: skip
    manifest, verified = done.bundle.manifest, done.verified
    console.table(
        f"{done.artefact} for {manifest.target.title}",
        ("file", "size"),
        [(entry.path, words.size(entry.size)) for entry in manifest.files if "/" not in entry.path],
    )
    integer = sum(step.macs for step in manifest.steps if step.integer)
    share = 100 * integer / max(manifest.macs, 1)
    console.say(
        f"{len(manifest.steps)} steps, {words.count(manifest.macs)} MACs ({share:.1f} % integer), "
        f"arena {words.size(manifest.arena_bytes)}; {words.size(done.bundle.size_bytes)} on the board"
    )
    if done.engine:
        engine.tell(console, done.engine, manifest.target.name)
    if manifest.engine is not None and not manifest.engine.bitstream:
        console.say(f"No bitstream yet: make -C {done.bundle.folder / 'hw'} bitstream TARGET={manifest.target.name}")
    if done.unreached:
        console.note(f"simulated, because the board did not answer: {done.unreached}")
    if verified and verified.layers:
        console.say(f"{verified.layers} layers agree byte by byte on {verified.device}")
    if verified:
        where = f"{verified.device}, which checks results and has no speed" if done.emulated else (
            verified.device
        )  # fmt: skip
        console.say(f"{verified.vectors} golden vectors agree on {where} (max abs error {verified.max_abs_error:.1e})")
    console.say(str(done.bundle.folder))
    console.result(
        {
            "schema": "edgevision.deployed/1",
            "folder": str(done.bundle.folder),
            "artefact": done.artefact,
            "target": manifest.target.name,
            "size_bytes": done.bundle.size_bytes,
            "arena_bytes": manifest.arena_bytes,
            "live_bytes": manifest.live_bytes,
            "steps": len(manifest.steps),
            "macs": manifest.macs,
            "integer_macs": integer,
            "manifest_sha256": done.bundle.identity,
            "device": verified.device if verified else None,
            "golden_vectors": verified.vectors if verified else 0,
            "max_abs_error": verified.max_abs_error if verified else None,
            "golden_layers": verified.layers if verified else 0,
            "unreached": done.unreached,
            "engine": engine.as_dict(done.engine),
        }
    )
