"""What a compression depends on, as one hash; and the versions of what computed it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from edgevision.data.metric import AnySet
from edgevision.installed import versions_of
from edgevision.recipe import Recipe
from edgevision.zoo.model import Model

_VERSIONED = ("edgevision", "torch", "onnx", "onnxruntime", "onnxscript", "onnx-ir", "nncf", "numpy")


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide the result; "unknown" for one that is not installed."""
    return versions_of(_VERSIONED)


def key_of(
    model: Model, recipe: Recipe, data: AnySet | None, keep_fp: Sequence[str], evaluate_limit: int | None, seed: int = 0
) -> str:
    """Hash of all that decides what the stages compute; what is cached under another key is another network's."""
    digest = hashlib.sha256()
    facts = [
        model.name,
        model.input,
        model.preprocessing,
        recipe,
        data.sha256 if data else None,
        [data.spec, data.preprocessing] if data else None,
        list(keep_fp),
        evaluate_limit,
        seed if recipe.trains() else None,
        versions(),
    ]
    digest.update(msgspec.json.encode(facts))
    if model.onnx is not None:
        digest.update(model.onnx.SerializeToString(deterministic=True))
    if model.module is not None:
        digest.update(str(model.module).encode())
        for name, tensor in sorted(model.module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
