"""What the benchmarks share: a clean environment, their flags, and the file they write."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

# Set on some machines to work around old processors; either would slow numpy and torch down here.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)


def flags(description: str) -> argparse.ArgumentParser:
    """The flags every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("edgevision-bench"), help="folder for what is built")
    return parser


def progress(stage: str, done: int, total: int, detail: str = "") -> None:
    """One line on stderr when a stage ends."""
    if done >= total:
        print(f"{stage} {detail}".rstrip(), file=sys.stderr, flush=True)


def write(path: Path, schema: str, result: dict[str, Any]) -> None:
    """Write the result with what it was obtained on."""
    where = {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()}
    text = json.dumps({"schema": schema, "command": sys.argv, "where": where, **result}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(path)
