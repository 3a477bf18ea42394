"""`edgevision check`."""

from __future__ import annotations

import click

from edgevision.cli import engine, options


@click.command(name="check")
@click.argument("artefact", required=False)
@click.option("--target", required=True, help="A board or machine (edgevision list targets).")
@click.option("--image-size", type=click.IntRange(1), help="Height and width where an .onnx file leaves them free.")
@options.command
def command(settings: options.Settings, artefact: str | None, target: str, image_size: int | None) -> int:
    """Will ARTEFACT compile for a target, will it fit: every reason at once, nothing is built.

    ARTEFACT is a compressed network, an .onnx file or a .pt2 exported program; the newest compressed network without
    it.
    """
    from edgevision import api
    from edgevision.report import words

    console = settings.console
    if artefact is None:
        artefact = str(settings.workspace.find_compressed(None))
        console.note(f"checking {artefact}")
    found = api.check(artefact, target, image_size=image_size, threads=settings.threads, out=settings.out)
    coverage = found.coverage
    if coverage:
        rows = [(o.op, kind, str(o.count), words.count(o.macs) if o.macs else "–")
                for kind, counts in (("ours", coverage.generated), ("TVM", coverage.tvm)) for o in counts]  # fmt: skip
        console.table(f"{found.artefact} for {target}", ("operator", "kernel", "count", "MACs"), rows, left=2)
        console.say(
            f"{words.count(coverage.macs)} multiply-accumulates, {100 * coverage.float_mac_share:.1f} % in float; "
            f"{words.size(coverage.weight_bytes)} of weights, at least {words.size(coverage.activation_bytes)} of arena"
        )
    if found.engine:
        engine.tell(console, found.engine, target)
    if found.predicted_ms is not None:
        threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
        console.say(f"About {words.milliseconds(found.predicted_ms)} ms an image on {threads} (modelled).")
    for problem in found.problems:
        console.error(problem, as_result=False)
    console.say("It will not be built." if found.problems else "It compiles and fits.")
    console.result(
        {
            "schema": "edgevision.check/1",
            "artefact": found.artefact,
            "target": target,
            "ok": not found.problems,
            "problems": [problem.as_dict() for problem in found.problems],
            "macs": coverage.macs if coverage else None,
            "float_mac_share": coverage.float_mac_share if coverage else None,
            "float_step_share": coverage.float_step_share if coverage else None,
            "weight_bytes": coverage.weight_bytes if coverage else None,
            "activation_bytes": coverage.activation_bytes if coverage else None,
            "engine": engine.as_dict(found.engine),
            "predicted_ms": found.predicted_ms,
        }
    )
    return found.problems[0].exit_code if found.problems else 0
