"""From what a user writes after `--data` to a data set."""

from __future__ import annotations

from pathlib import Path

from edgevision.config import nearest
from edgevision.data.dataset import DataSet
from edgevision.data.digits import open_digits
from edgevision.data.folder import open_folder
from edgevision.data.imagenet import open_imagenet
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError

_KINDS = {"folder": open_folder, "imagenet": open_imagenet}


def open_data(spec: str, preprocessing: Preprocessing | None = None) -> DataSet:
    """Open `digits`, `folder:PATH` or `imagenet:PATH`; a path may be a folder, `.tar`, `.tar.gz` or `.tgz`.

    Args:
        spec: what to open.
        preprocessing: what is done to each image; the data set's own default without it.

    Raises:
        UsageError: an unknown kind (the nearest is given), a missing path, or data that cannot be used.

    >>> open_data("digits").classes[:3]
    ('0', '1', '2')
    """
    known_data(spec)
    kind, _, path = absolute(spec).partition(":")
    return _KINDS[kind](Path(path), preprocessing) if path else open_digits(preprocessing)


def known_data(spec: str) -> None:
    """Raise `UsageError`, with the nearest kind, unless `spec` is of a kind `open_data` knows; nothing is read."""
    kind, colon, path = spec.partition(":")
    if (kind == "digits" and not colon) or (kind in _KINDS and path):
        return
    raise UsageError(
        f"unknown data '{spec}'{nearest(kind, ['digits', *_KINDS])}",
        fix="digits, folder:PATH or imagenet:PATH (folder or .tar.gz)",
    )


def absolute(spec: str) -> str:
    """`spec` with its path made absolute, so that what records it can be used from any folder.

    >>> absolute("digits"), absolute("folder:/data/pets")
    ('digits', 'folder:/data/pets')
    """
    kind, _, path = spec.partition(":")
    return f"{kind}:{Path(path).expanduser().resolve()}" if kind in _KINDS and path else spec
