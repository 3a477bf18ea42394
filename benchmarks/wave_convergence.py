"""How fast the wave solver converges: standing waves of the unit square, for which the solution is a formula.

`python benchmarks/wave_convergence.py --out convergence.json` prints a table and writes it as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgevision.data.wave_matrices import Border
from edgevision.data.wave_mesh import triangulated_square
from edgevision.data.wave_solver import Waves

#: Half waves along x and y, speed, seconds: about one and a half periods, ending where u and du/dt both are large.
ALONG_X, ALONG_Y, SPEED, SECONDS = 2, 3, 1.3, 0.63
#: Share of the CFL bound.
COURANT = 0.8


@dataclass(frozen=True)
class Row:
    """One mesh: relative L2 error at the end, order against the mesh before, largest relative drift of the energy."""

    cells: int
    steps: int
    error: float
    order: float | None
    energy_drift: float


def convergence(borders: Border, cells: tuple[int, ...] = (8, 16, 32, 64, 128)) -> list[Row]:
    """Errors on ever finer meshes, the step in proportion; `borders` is "fixed" (sines) or "free" (cosines)."""
    shape = np.sin if borders == "fixed" else np.cos
    omega = SPEED * math.pi * math.hypot(ALONG_X, ALONG_Y)
    rows: list[Row] = []
    for count in cells:
        mesh = triangulated_square(count)
        x, y = mesh.nodes.T
        start = shape(ALONG_X * math.pi * x) * shape(ALONG_Y * math.pi * y)
        speed = np.full(len(mesh.triangles), SPEED)
        bound = Waves(mesh, speed, 1e-9).matrices.largest_step
        steps = math.ceil(SECONDS / (COURANT * bound))
        waves = Waves(mesh, speed, SECONDS / steps, (borders,) * 4, start=start)
        before, drift = waves.energy, 0.0
        for _ in range(steps):
            waves.advance(1)
            drift = max(drift, abs(waves.energy / before - 1))
        wanted = start * math.cos(omega * SECONDS)
        error = float(np.linalg.norm(waves.u - wanted) / np.linalg.norm(wanted))
        order = math.log(rows[-1].error / error) / math.log(count / rows[-1].cells) if rows else None
        rows.append(Row(count, steps, error, order, drift))
    return rows


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    tables = {borders: convergence(borders) for borders in ("fixed", "free")}  # type: ignore[arg-type]
    print(
        f"standing wave ({ALONG_X}, {ALONG_Y}), speed {SPEED}, after {SECONDS} s, Courant number {COURANT} of the bound"
    )
    print("| borders | cells | steps | relative L2 error | order | energy drift |\n|---|---:|---:|---:|---:|---:|")
    for borders, rows in tables.items():
        for row in rows:
            order = "–" if row.order is None else f"{row.order:.2f}"
            print(f"| {borders} | {row.cells} | {row.steps} | {row.error:.2e} | {order} | {row.energy_drift:.1e} |")
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": "edgevision.wave_convergence/1",
        "half_waves": [ALONG_X, ALONG_Y],
        "speed": SPEED,
        "seconds": SECONDS,
        "courant": COURANT,
        "rows": {borders: [asdict(row) for row in rows] for borders, rows in tables.items()},
    }
    out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
