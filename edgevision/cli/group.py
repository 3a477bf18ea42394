"""The command `edgevision`: finds the verb, runs it, and turns every ending into its exit code."""

from __future__ import annotations

import importlib
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

import edgevision
from edgevision.cli.options import Settings, flags, merged
from edgevision.config import nearest
from edgevision.errors import EdgeVisionError, UsageError

#: Verb to the module that holds it; loaded when called, so that --help is quick.
VERBS = {
    "list": ("listing", "Models, recipes, targets or devices."),
    "train": ("train", "Train a model of the zoo on a data set."),
    "compress": ("compress", "Make a network small by a recipe."),
    "check": ("check", "Will it compile, will it fit: every reason at once, before any build."),
    "deploy": ("deploy", "Compile a compressed network for a target and bundle it."),
    "profile": ("profile", "Time bundles, in turns with other runtimes."),
    "report": ("report", "The latency-accuracy trade-off as one offline HTML file."),
    "verify": ("verify", "Re-hash a bundle and re-run its golden vectors."),
    "reproduce": ("reproduce", "Build a bundle again from its manifest and compare every byte."),
    "doctor": ("doctor", "What is installed, what is missing, what that disables."),
}
INTERRUPTED = 130


class Verbs(click.Group):
    """The group of verbs, each imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order the work goes."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's click command."""
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"edgevision.cli.{VERBS[cmd_name][0]}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in VERBS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the verb; an unknown one is answered with the nearest."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise UsageError(f"unknown command '{args[0]}'{nearest(args[0], VERBS)}", fix=f"one of: {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(edgevision.__version__, prog_name="edgevision")
@flags
@click.pass_context
def cli(context: click.Context, **given: Any) -> None:
    """Compress a vision network, compile it for a board, run it there, and report what it cost and gained.

    Exit codes: 0 ok, 1 bug, 2 usage, 3 tool missing, 4 unsupported, 5 does not fit, 6 accuracy target missed,
    7 device unreachable or timed out, 8 verification mismatch, 130 interrupted.
    """
    context.obj = merged(context.obj or Settings(), given)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    # Errors can come before the flags are parsed, so these two are read by hand.
    settings = Settings(as_json="--json" in arguments, verbose=sum(a in ("-v", "--verbose", "-vv") for a in arguments))
    console = settings.console
    try:
        start = Settings(typed=reproducible(arguments))
        code = cli.main(args=arguments, prog_name="edgevision", standalone_mode=False, obj=start)
        return code if isinstance(code, int) else 0
    except EdgeVisionError as error:
        console.error(error)
        return error.exit_code
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        fix = f"{error.ctx.command_path} --help" if isinstance(error, click.UsageError) and error.ctx else None
        console.error(UsageError(error.format_message(), fix=fix))
        return UsageError.exit_code
    except (KeyboardInterrupt, click.Abort) as stop:
        # click turns ^C into its own exception; what the stage had to say is its cause.
        said = str(stop) or str(stop.__cause__ or "")
        if said:
            console.note(said)
        console.note(f"interrupted; {after_interruption(arguments)}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, less) left; that is not an error of ours.
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except Exception as error:
        return _bug(error, arguments, console, verbose=bool(settings.verbose))


#: Flags that change how a command talks or what it may replace, not what it makes.
_MANNERS = ("--overwrite", "--resume", "--json", "--quiet", "-q", "--verbose", "-v", "-vv")


def reproducible(arguments: Sequence[str]) -> str:
    """The command line without the flags that do not change the artefact.

    >>> reproducible(["compress", "--recipe", "w8a8", "--overwrite", "-q"])
    'edgevision compress --recipe w8a8'
    """
    return shlex.join(["edgevision", *(a for a in arguments if a not in _MANNERS)])


#: What an interrupted verb keeps; the others keep nothing.
_RESUMABLE = ("train", "compress")
_CACHING = ("deploy",)


def after_interruption(arguments: Sequence[str]) -> str:
    """What an interrupted command kept, and the command line that goes on.

    `--overwrite` stays: with `--resume` it throws no state away, and without it an output that is already there would
    be refused.

    >>> after_interruption(["compress", "--model", "my net.onnx", "--overwrite"])
    "go on with: edgevision compress --model 'my net.onnx' --overwrite --resume"
    >>> after_interruption(["report"])
    'nothing of it is kept; start again with: edgevision report'
    """
    kept = [argument for argument in arguments if argument != "--resume"]
    verb = next((argument for argument in arguments if argument in VERBS), "")
    if verb in _RESUMABLE:
        return "go on with: " + shlex.join(["edgevision", *kept, "--resume"])
    command = shlex.join(["edgevision", *arguments])
    if "--calibrate" in arguments:
        onward = shlex.join(["edgevision", *(argument for argument in arguments if argument != "--overwrite")])
        return f"networks that were timed are kept; go on with: {onward}"
    if verb in _CACHING:
        return f"finished kernels and measured candidates are in the cache; go on with: {command}"
    return f"nothing of it is kept; start again with: {command}"


def _bug(error: Exception, arguments: Sequence[str], console: Any, *, verbose: bool) -> int:
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="edgevision-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"edgevision {edgevision.__version__}\n{shlex.join(['edgevision', *arguments])}\n\n{text}")
    if verbose:
        console.err.print(text, markup=False)
    bug = EdgeVisionError(
        f"this is a bug in edgevision: {type(error).__name__}: {error}",
        where=f"traceback saved in {Path(file.name)}",
        fix="report it with that file; -v shows the traceback here",
    )
    bug.kind = "bug"
    console.error(bug)
    return bug.exit_code
