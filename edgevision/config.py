"""Checked configuration: TOML or JSON read into frozen msgspec structs, every unknown key refused by name.

All problems of a file are reported at once, each unknown key with the nearest known one.
"""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgevision.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

S = TypeVar("S")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or an empty string.

    >>> nearest("activatons", ["weights", "activations"])
    " (did you mean 'activations'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def read_toml(path: Path, type_: type[S]) -> S:
    """Read the TOML file at `path` as a `type_`.

    Raises:
        UsageError: the file is missing, is not TOML, or does not fit the type; every reason is listed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"expected UTF-8 text, got bytes that are not ({error.reason})", where=str(path)) from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the file is not valid TOML: {error}", where=str(path)) from error
    return checked(raw, type_, where=str(path))


def checked(raw: Any, type_: type[S], *, where: str) -> S:
    """Convert plain data to `type_`; raise one `UsageError` that names every unknown key and the first bad value."""
    reasons = list(_unknown_keys(raw, type_, "$"))
    try:
        value = msgspec.convert(raw, type_)
    except msgspec.ValidationError as error:
        if not reasons or "unknown field" not in str(error):
            reasons.append(str(error))
        value = None
    if reasons or value is None:
        raise UsageError("the configuration does not fit", where=where, reasons=reasons)
    return value


def _unknown_keys(raw: Any, type_: Any, path: str) -> typing.Iterator[str]:
    origin = typing.get_origin(type_)
    if origin in (typing.Union, types.UnionType):
        members = [t for t in typing.get_args(type_) if t is not type(None)]
        yield from _unknown_keys(raw, _pick(raw, members), path)
    elif origin in (tuple, list) and isinstance(raw, list):
        inner = typing.get_args(type_)[0]
        for index, item in enumerate(raw):
            yield from _unknown_keys(item, inner, f"{path}[{index}]")
    elif isinstance(type_, type) and issubclass(type_, msgspec.Struct) and isinstance(raw, Mapping):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(type_)}
        tag_field = type_.__struct_config__.tag_field
        for key, item in raw.items():
            if key in fields:
                yield from _unknown_keys(item, fields[key], f"{path}.{key}")
            elif key != tag_field:
                yield f"unknown key '{key}' at {path}{nearest(key, fields)}"


def _pick(raw: Any, members: list[Any]) -> Any:
    """The member of a tagged union that `raw` names, else the first struct among them, else anything."""
    structs = [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]
    for member in structs:
        config = member.__struct_config__
        if config.tag_field and isinstance(raw, Mapping) and raw.get(config.tag_field) == config.tag:
            return member
    return structs[0] if len(structs) == 1 else None
