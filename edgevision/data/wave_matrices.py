"""Linear finite elements for d2u/dt2 = div(c^2 grad u) + f: stiffness, lumped mass, lumped damping of the borders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from edgevision.data.wave_mesh import SIDES, Mesh
from edgevision.errors import UsageError

#: "fixed": u = 0, reflects with the sign turned. "free": no flux, reflects. "absorbing": du/dt = -c du/dn, exact for
#: waves that meet it head-on (Engquist and Majda, 1977).
Border = Literal["fixed", "free", "absorbing"]
BORDERS: tuple[Border, ...] = get_args(Border)


@dataclass(frozen=True, eq=False)
class Matrices:
    """M u'' + C u' + K u = f on the nodes that may move.

    Attributes:
        mass: float64 (N,), the diagonal of the lumped M.
        damping: float64 (N,), the diagonal of C.
        stiffness: K, float64 (N, N).
        moving: bool (N,), False where a fixed border holds the node.
        largest_step: seconds; below it explicit Newmark is stable.
    """

    mass: np.ndarray
    damping: np.ndarray
    stiffness: sparse.csr_matrix
    moving: np.ndarray
    largest_step: float


def assemble(mesh: Mesh, speed: np.ndarray, borders: Sequence[Border] = ("free",) * 4) -> Matrices:
    """Assemble the matrices.

    Args:
        mesh: of triangles.
        speed: of the waves in each triangle, float64 (T,).
        borders: of left, right, bottom and top.

    Raises:
        UsageError: speeds or borders that are none; all reasons at once.
    """
    reasons = []
    if speed.shape != mesh.areas.shape:
        reasons.append(f"expected a speed for each of {len(mesh.areas)} triangles, got an array of {speed.shape}")
    if not (np.isfinite(speed).all() and (speed > 0).all()):
        reasons.append(f"expected finite speeds above 0, got {speed.min():g} to {speed.max():g}")
    if len(borders) != len(SIDES) or any(border not in BORDERS for border in borders):
        reasons.append(f"expected for each of {', '.join(SIDES)} one of {', '.join(BORDERS)}, got {tuple(borders)}")
    if reasons:
        raise UsageError("the waves cannot be computed", reasons=reasons)
    nodes = len(mesh.nodes)
    elements = element_stiffness(mesh, speed)
    rows, columns = np.repeat(mesh.triangles, 3, axis=1), np.tile(mesh.triangles, 3)
    stiffness = sparse.coo_matrix((elements.ravel(), (rows.ravel(), columns.ravel())), shape=(nodes, nodes)).tocsr()
    # The legs of a right angle do not couple: their sums are exact zeros, stored.
    stiffness.eliminate_zeros()
    mass = np.bincount(mesh.triangles.ravel(), np.repeat(mesh.areas / 3, 3), nodes)
    damping, moving = np.zeros(nodes), np.ones(nodes, bool)
    fastest = np.zeros(nodes)
    np.maximum.at(fastest, mesh.triangles.ravel(), np.repeat(speed, 3))
    for edges, border in zip(mesh.edges, borders, strict=True):
        if border == "fixed":
            moving[edges] = False
        elif border == "absorbing":
            lengths = np.linalg.norm(np.diff(mesh.nodes[edges], axis=1)[:, 0], axis=1)
            np.add.at(damping, edges, (lengths / 2)[:, None] * fastest[edges])
    return Matrices(mass, damping, stiffness, moving, _largest_step(mesh, elements))


def element_stiffness(mesh: Mesh, speed: np.ndarray) -> np.ndarray:
    """c^2 times the integrals of products of the hat functions' gradients, float64 (T, 3, 3)."""
    corners = mesh.nodes[mesh.triangles]
    # The gradient of a hat is the opposite edge, turned by a right angle, over twice the area.
    opposite = np.roll(corners, -2, axis=1) - np.roll(corners, -1, axis=1)
    return (speed**2 / (4 * mesh.areas))[:, None, None] * (opposite @ opposite.transpose(0, 2, 1))


def _largest_step(mesh: Mesh, elements: np.ndarray) -> float:
    """2 / w, w^2 the largest eigenvalue of any single element, which none of the whole exceeds (Irons and Treharne)."""
    largest = np.linalg.eigvalsh(elements)[:, -1] * 3 / mesh.areas
    return 2 / math.sqrt(float(largest.max()))
