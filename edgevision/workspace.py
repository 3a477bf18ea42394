"""Where the commands put their artefacts under `--out`, and which one a command means when none is named.

weights/<model>-<data>.safetensors      train
compressed/<model>-<data>-<recipe>/     compress
bundles/<compressed>@<target>/          deploy
profiles/<device>-<threads>t-<time>.json  profile
modelled/<bundle>-<time>.json           profile, of a simulated engine
report/                                 report
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgevision.errors import UsageError

DEFAULT_OUT = Path("edgevision-out")


@dataclass(frozen=True)
class Workspace:
    """The folder given by `--out`.

    >>> Workspace(Path("edgevision-out")).compressed("cas_vit", "digits", "w8a8").as_posix()
    'edgevision-out/compressed/cas_vit-digits-w8a8'
    """

    root: Path

    def weights(self, model: str, data: str, form: str = "") -> Path:
        """The trained weights of `model` on `data`; `form` is what was changed of it before."""
        return self.root / "weights" / f"{self.form(model, form)}-{slug(data)}.safetensors"

    def checkpoint(self, model: str, data: str, form: str = "") -> Path:
        """The training run that `--resume` goes on with."""
        return self.root / "weights" / f"{self.form(model, form)}-{slug(data)}.training"

    @staticmethod
    def form(model: str, form: str = "") -> str:
        """How the files of a model begin that was changed before its training.

        >>> Workspace.form("resnet18", "tensor-r4"), Workspace.form("resnet18")
        ('resnet18+tensor-r4', 'resnet18')
        """
        return f"{slug(model)}+{slug(form)}" if form else slug(model)

    def compressed(self, model: str, data: str | None, recipe: str) -> Path:
        """The folder of a compressed network."""
        parts = [slug(model), slug(data) if data else "", slug(recipe)]
        return self.root / "compressed" / "-".join(part for part in parts if part)

    def bundle(self, artefact: str, target: str) -> Path:
        """The folder of a bundle."""
        return self.root / "bundles" / f"{slug(artefact)}@{target}"

    def profile(self, device: str, threads: int, now: datetime | None = None) -> Path:
        """A new file for a profile; the time in its name keeps earlier ones."""
        stamp = (now or datetime.now(timezone.utc)).strftime("%Y%m%d-%H%M%S-%f")
        return self.root / "profiles" / f"{slug(device)}-{threads}t-{stamp}.json"

    def modelled(self, bundle: str, now: datetime | None = None) -> Path:
        """A new file for what was modelled of a bundle."""
        stamp = (now or datetime.now(timezone.utc)).strftime("%Y%m%d-%H%M%S-%f")
        return self.root / "modelled" / f"{slug(bundle)}-{stamp}.json"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / "report"

    def all_compressed(self) -> list[Path]:
        """Folders of compressed networks, newest last."""
        return _by_age((self.root / "compressed").glob("*/compressed.json"))

    def all_bundles(self) -> list[Path]:
        """Folders of bundles, newest last."""
        return _by_age((self.root / "bundles").glob("*/manifest.json"))

    def all_profiles(self) -> list[Path]:
        """Profile files, newest last."""
        return sorted((self.root / "profiles").glob("*.json"), key=lambda path: (_age(path), path.name))

    def find_compressed(self, named: str | None) -> Path:
        """The compressed network called `named` (a folder, or its name here); the newest when None.

        Raises:
            UsageError: there is none; the ones there are, are listed.
        """
        return _find(named, "compressed.json", self.root / "compressed", self.all_compressed(), "compressed network",
                     "edgevision compress --model cas_vit --recipe w8a8")  # fmt: skip

    def find_bundle(self, named: str | None) -> Path:
        """The bundle called `named` (a folder, or its name here); the newest when None.

        Raises:
            UsageError: there is none; the ones there are, are listed.
        """
        return _find(named, "manifest.json", self.root / "bundles", self.all_bundles(), "bundle",
                     "edgevision deploy --target host")  # fmt: skip


def slug(text: str) -> str:
    """`text` as one file name: a path keeps its stem, other characters become dashes.

    >>> slug("folder:/data/cats and dogs"), slug("models/my net.onnx"), slug("w8+w8a8")
    ('cats-and-dogs', 'my-net', 'w8+w8a8')
    """
    name = text.rstrip("/").rsplit("/", 1)[-1] if "/" in text else text
    for suffix in (".onnx", ".pt2", ".tar.gz", ".tgz", ".toml"):
        name = name.removesuffix(suffix)
    name = name.rsplit(":", 1)[-1] if name.startswith(("folder:", "imagenet:", "voc:", "coco:", "wave:")) else name
    return re.sub(r"[^A-Za-z0-9_.+@]+", "-", name).strip("-.") or "unnamed"


def _by_age(manifests: object) -> list[Path]:
    found = sorted(manifests, key=lambda path: (_age(path), path.as_posix()))  # type: ignore[call-overload]
    return [path.parent for path in found if not path.parent.name.startswith(".")]


def _age(path: Path) -> int:
    """Time of the last change; of a file another command is just replacing, the beginning of time."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _find(named: str | None, manifest: str, room: Path, known: list[Path], kind: str, make: str) -> Path:
    if named is None:
        if known:
            return known[-1]
        raise UsageError(f"there is no {kind} yet", where=str(room), fix=make)
    for folder in (Path(named), room / named):
        if (folder / manifest).is_file():
            return folder
    raise UsageError(
        f"there is no {kind} '{named}'",
        where=f"looked for {Path(named) / manifest} and {room / named / manifest}",
        fix=f"one of: {', '.join(path.name for path in known)}" if known else make,
    )
