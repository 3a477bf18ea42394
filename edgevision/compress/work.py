"""What an interrupted compression has finished already: a folder beside the output, gone when the output is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import onnx

from edgevision.files import explained, write_atomic
from edgevision.progress import Progress, silent


@dataclass
class Rows:
    """Results by key, appended to a file of JSON lines; a line cut short by an interruption is dropped."""

    path: Path | None = None
    known: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def at(path: Path) -> Rows:
        """Read what `path` has."""
        rows = Rows(path)
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            try:
                key, value = msgspec.json.decode(line, type=tuple[str, float])
            except msgspec.DecodeError:
                continue
            rows.known[key] = value
        return rows

    def get(self, key: str, compute: Callable[[], float]) -> float:
        """The value of `key`, computed and written down when it is new.

        Raises:
            UsageError: the disk is full or cannot be written; the rows written before stay.
        """
        if key not in self.known:
            self.known[key] = compute()
            if self.path is not None:
                # The leading newline ends a line that an interruption cut short.
                line = b"\n" + msgspec.json.encode((key, self.known[key])) + b"\n"
                with explained(self.path, need=len(line)), self.path.open("ab") as file:
                    file.write(line)
        return self.known[key]


class Facts(msgspec.Struct, frozen=True):
    """What a stage has to say beside its graph."""

    change: str = ""
    notes: tuple[str, ...] = ()
    max_abs_error: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Work:
    """The folder of one compression, named after its output and the hash of everything that goes in."""

    folder: Path

    @staticmethod
    def open(out: Path, key: str, *, resume: bool, progress: Progress = silent) -> Work:
        """Take up the folder of the same compression when `resume`, else start an empty one.

        `progress` is told when there is nothing to take up.

        Raises:
            UsageError: the place of the output cannot be written.
        """
        work = Work(out.parent / f".{out.name}.work-{key[:12]}")
        if not resume:
            shutil.rmtree(work.folder, ignore_errors=True)
        elif not work.folder.is_dir():
            progress("resume", 1, 1, "nothing is kept of this compression, it starts from the beginning")
        write_atomic(work.folder / "key", key)
        return work

    def rows(self) -> Rows:
        """Accuracies and sensitivities known so far."""
        return Rows.at(self.folder / "rows.jsonl")

    def graph(self, name: str, make: Callable[[], tuple[onnx.ModelProto, Facts]]) -> tuple[onnx.ModelProto, Facts]:
        """The graph and facts of stage `name`, made when they are not there."""
        path, facts_path = self.folder / f"{name}.onnx", self.folder / f"{name}.json"
        if facts_path.is_file() and path.is_file():
            return onnx.load(str(path)), msgspec.json.decode(facts_path.read_bytes(), type=Facts)
        model, facts = make()
        write_atomic(path, model.SerializeToString(deterministic=True))
        write_atomic(facts_path, msgspec.json.encode(facts))
        return model, facts

    @staticmethod
    def remove_all(out: Path) -> None:
        """Drop every work folder of `out`: it has been written."""
        for folder in out.parent.glob(f".{out.name}.work-*"):
            shutil.rmtree(folder, ignore_errors=True)
