"""A bundle for the engine, run from Python on the board: `python3 -m edgevision.engine.onboard BUNDLE IMAGES MAPS`.

Needs numpy, msgspec (tomli too before Python 3.11) and, on the board, pynq 4. A bundle carries this module and all it
imports in `driver/`. Images and maps are .npy files: float32 (N, C, H, W), normalised, and what the network makes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgevision.engine import bitstream, fileformat, programfile
from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.deployed import BITSTREAM, LAYERS, NETWORK, PROGRAM
from edgevision.engine.driver import Board, EngineDriver
from edgevision.engine.hardware import checked, fingerprint
from edgevision.engine.pynq_board import PynqBoard
from edgevision.errors import EdgeVisionError, Mismatch, Unsupported, UsageError
from edgevision.files import sha256_of
from edgevision.target import Engine


class EngineBundle:
    """A bundle's programs on a board.

    Args:
        folder: the bundle.
        board: where to run; without it the board this is, with the bundle's bitstream.
        timeout: seconds one image may take.

    Raises:
        UsageError: no bundle for the engine, no bitstream in it, or damaged files.
        Mismatch: a file, or the bitstream, is not what the bundle was made with.
        Unsupported: the programs are for another engine.
        DoesNotFit: the board has no memory for them.
    """

    def __init__(self, folder: Path, board: Board | None = None, *, timeout: float = 10.0) -> None:
        self.folder, self.timeout = folder, timeout
        self.engine = _engine_of(folder, [PROGRAM, LAYERS, NETWORK, *([] if board is not None else [BITSTREAM])])
        self.network = fileformat.read(folder / NETWORK)
        program = programfile.read(folder / PROGRAM, self.engine)
        if board is None:
            path = folder / BITSTREAM
            bitstream.require(bitstream.read(path.read_bytes(), str(path)), self.engine, str(path))
            board = PynqBoard(path)
        self.board = board
        self._driver = EngineDriver(program, self.engine, board, timeout=timeout)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Maps (N, C', H', W') of normalised images, float32 (N, C, H, W)."""
        return np.stack([self._maps(image) for image in images])

    def layers(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every tensor that reaches memory when each layer is a call of its own, by name; image float32 (C, H, W)."""
        program = programfile.read(self.folder / LAYERS, self.engine)
        driver = EngineDriver(program, self.engine, self.board, timeout=self.timeout)
        try:
            return driver.run(quantised_image(self.network, image))
        finally:
            driver.close()

    def close(self) -> None:
        """Give the board's memory back."""
        self._driver.close()

    def _maps(self, image: np.ndarray) -> np.ndarray:
        return real_outputs(self.network, self._driver.run(quantised_image(self.network, image)))


def _engine_of(folder: Path, needed: list[str]) -> Engine:
    """The engine the bundle was made for, when the files it needs are those its manifest names."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        info, hashes = manifest["engine"], {entry["path"]: entry["sha256"] for entry in manifest["files"]}
        if info is None:
            raise UsageError(
                "the bundle is not for the engine", where=str(path), fix="edgevision deploy --target pynq-z2"
            )
        engine = checked(msgspec.convert(manifest["target"]["engine"], Engine), str(path))
        made_for = info["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        raise UsageError(f"expected the manifest of a bundle: {error}", where=str(path)) from error
    if BITSTREAM in needed and BITSTREAM not in hashes:
        raise UsageError(
            "the bundle has no bitstream", where=str(folder),
            fix="make -C hw bitstream, then edgevision deploy --target pynq-z2 --bitstream hw/build/pynq-z2/engine.bit",
        )  # fmt: skip
    if made_for != fingerprint(engine):
        raise Unsupported(f"the bundle is for engine {made_for}, its target describes {fingerprint(engine)}",
                          where=str(path), fix="deploy it again")  # fmt: skip
    reasons = [
        f"{name}: expected sha256 {str(hashes.get(name))[:12]}, got {got[:12]}"
        for name in needed
        if (got := sha256_of(folder / name) if (folder / name).is_file() else "no file") != hashes.get(name)
    ]
    if reasons:
        raise Mismatch("the bundle is not what its manifest says", where=str(folder), reasons=reasons,
                       fix="copy it again, or deploy it again")  # fmt: skip
    return engine


def main(words: list[str]) -> int:
    """The command; its exit code."""
    if len(words) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, images, maps = map(Path, words)
    try:
        bundle = EngineBundle(folder)
        np.save(maps, bundle.run(np.load(images, allow_pickle=False)))
    except EdgeVisionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(f"cannot read the images or write the maps: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
