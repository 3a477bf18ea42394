"""Files that are either whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgevision.errors import UsageError


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never half of it.

    Raises:
        UsageError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    with explained(path, need=len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def folder_aside(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a scratch folder that becomes `path` when the block ends well, and vanishes when it does not.

    Raises:
        UsageError: `path` exists and `overwrite` is false, or the disk cannot be written.
    """
    refuse_overwrite(path, overwrite=overwrite)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with explained(path):
            yield aside
            aside.chmod(0o755)
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                path.replace(old / path.name)
                try:
                    aside.replace(path)
                except OSError:
                    if not path.exists():
                        (old / path.name).replace(path)
                    raise
                finally:
                    shutil.rmtree(old, ignore_errors=True)
            else:
                aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_overwrite(path: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` when `path` exists and overwriting was not asked for."""
    if path.exists() and not overwrite:
        raise UsageError(
            "the output is already there and would be overwritten",
            where=str(path),
            fix="add --overwrite to replace it, or choose another --out",
        )


@contextlib.contextmanager
def explained(path: Path, *, need: int | None = None) -> Iterator[None]:
    """Turn a full disk, a limit on file sizes and missing rights into errors that say what to do.

    Args:
        path: what is being written.
        need: bytes that are to be written, where known.

    Raises:
        UsageError: in place of such an `OSError`; others pass.
    """
    try:
        yield
    except OSError as error:
        wanted = "" if need is None else f": {need} bytes were to be written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UsageError(
                f"the disk is full{wanted}; what was there before is unchanged",
                where=str(path),
                fix="free some space, or choose another --out, and run the command again",
            ) from error
        if error.errno == errno.EFBIG:
            raise UsageError(
                f"the file is larger than this process may write{wanted}; what was there before is unchanged",
                where=str(path),
                fix="raise the limit (ulimit -f) and run the command again",
            ) from error
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UsageError(
                "another command wrote the same output at the same time; its result was left in place",
                where=str(path),
                fix="run the command again when the other one has ended, or choose another --out",
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            raise UsageError(f"cannot write here: {error.strerror}", where=str(path)) from error
        raise
