"""What Linux says about a machine: cores, model, governor, frequency, temperature.

One list of files, read here with pathlib and on a board by a script of a few lines that any POSIX shell runs, both in
the same form; the parsing is pure.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CPU = "/sys/devices/system/cpu"
#: Files and patterns; reading is bounded, a file that cannot be read is left out.
_PATTERNS = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    "/proc/sys/kernel/osrelease",
    "/proc/loadavg",
    f"{_CPU}/online",
    f"{_CPU}/cpu[0-9]*/cpufreq/scaling_governor",
    f"{_CPU}/cpu[0-9]*/cpufreq/scaling_cur_freq",
    f"{_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/class/thermal/thermal_zone[0-9]*/type",
)
_MAX_BYTES = 1 << 20
#: The same for a device that cannot list folders: the first core and zone stand for all.
FIXED = tuple(pattern.replace("[0-9]*", "0") for pattern in _PATTERNS)
_MARK = "==> "

#: For a board: prints each file under a line that names it. Zero bytes (device tree) would end a line early.
SCRIPT = (
    "uname -m; "
    f"for f in {' '.join(_PATTERNS)}; do "
    f'[ -r "$f" ] && echo && echo "{_MARK}$f" && head -c {_MAX_BYTES} "$f" 2>/dev/null | tr -d "\\000"; '
    "done; true"
)


def read_local() -> dict[str, str]:
    """Read the files of this machine, as `path: text`; "" holds the machine type."""
    texts = {"": platform.machine()}
    for pattern in _PATTERNS:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            try:
                with path.open("rb") as file:
                    texts[str(path)] = file.read(_MAX_BYTES).replace(b"\0", b"").decode(errors="replace")
            except OSError:
                continue
    return texts


def read_printed(text: str) -> dict[str, str]:
    """Read what `SCRIPT` printed on a board, in the form of `read_local`."""
    first, *parts = re.split(rf"^{re.escape(_MARK)}", text, flags=re.MULTILINE)
    texts = {"": first.strip()}
    for part in parts:
        path, _, content = part.partition("\n")
        texts[path.strip()] = content
    return texts


def unknown() -> dict[str, Any]:
    """Every key of `parse`, each None."""
    return dict.fromkeys(
        ("model", "arch", "cores", "governor", "frequency_khz", "frequency_max_khz", "temperature_c", "ram_mib",
         "load_1min", "kernel", "features")
    )  # fmt: skip


def parse(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts in `texts`; None where unknown.

    `frequency_khz` is the highest current frequency of a core, `frequency_max_khz` the highest it can have,
    `governor` names every governor in use, `temperature_c` is the hottest zone that is not out of range.
    """
    cpuinfo = texts.get("/proc/cpuinfo", "")
    features = _field(cpuinfo, "flags|Features")
    return {
        "model": (texts.get("/proc/device-tree/model", "").strip() or _field(cpuinfo, "model name|Model|Hardware")),
        "arch": texts.get("", "").strip() or None,
        "cores": _count(texts.get(f"{_CPU}/online", "")) or len(re.findall(r"^processor\s*:", cpuinfo, re.M)) or None,
        "governor": ", ".join(sorted({v.strip() for v in _values(texts, "scaling_governor")})) or None,
        "frequency_khz": max(_numbers(_values(texts, "scaling_cur_freq")), default=None) or _cpuinfo_khz(cpuinfo),
        "frequency_max_khz": max(_numbers(_values(texts, "cpuinfo_max_freq")), default=None),
        "temperature_c": _temperature(texts),
        "ram_mib": _ram_mib(texts.get("/proc/meminfo", "")),
        "load_1min": _load(texts.get("/proc/loadavg", "")),
        "kernel": texts.get("/proc/sys/kernel/osrelease", "").strip() or None,
        "features": " ".join(sorted(features.split())) if features else None,
    }


def _values(texts: Mapping[str, str], name: str) -> list[str]:
    return [text for path, text in texts.items() if path.endswith(f"/{name}")]


def _numbers(texts: list[str]) -> list[int]:
    return [int(text) for text in texts if text.strip().lstrip("-").isdigit()]


def _field(cpuinfo: str, name: str) -> str | None:
    found = re.search(rf"^(?:{name})\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else None


def _count(ranges: str) -> int:
    """Number of CPUs in a list such as "0-3,6"."""
    pairs = re.findall(r"(\d+)(?:-(\d+))?", ranges)
    return sum(int(last or first) - int(first) + 1 for first, last in pairs)


def _cpuinfo_khz(cpuinfo: str) -> int | None:
    found = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo, re.MULTILINE)
    return round(max(map(float, found)) * 1000) if found else None


def _temperature(texts: Mapping[str, str]) -> float | None:
    """Zones report millidegrees; sensors that are off report nonsense such as -274000 or 0."""
    zones = [degrees / 1000 for degrees in _numbers(_values(texts, "temp"))]
    return max((z for z in zones if -40 <= z <= 150 and z != 0), default=None)


def _ram_mib(meminfo: str) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) // 1024 if found else None


def _load(loadavg: str) -> float | None:
    found = re.match(r"[\d.]+", loadavg)
    return float(found.group()) if found else None
