"""What is compared: each arm is a tuple of stages; all arms of a network train for the same number of epochs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edgevision.recipe import Binarize

_BASELINE = Binarize(part="all", activation_bits=32, attention="sign", scales="mean")
_ONE_STEP = Binarize(part="all", activation_bits=32)

#: Stages by arm. Attention 1/1 and MLP 1/32 unless the name says full (1/1); distillation unless it says labels.
ARMS: dict[str, tuple[Binarize, ...]] = {
    "sign": (_BASELINE,),
    "sign-labels": (msgspec.structs.replace(_BASELINE, distill=False),),
    "sab": (Binarize(part="all", activation_bits=32, scales="mean"),),
    "sab+pws": (_ONE_STEP,),
    "sab+pws-no-row-scale": (msgspec.structs.replace(_ONE_STEP, row_scale=False),),
    "bivit": (Binarize(part="attention"), Binarize(part="mlp", activation_bits=32)),
    "attention": (Binarize(part="attention"),),
    "full-sign": (Binarize(part="all", attention="sign", scales="mean"),),
    "full-one-step": (Binarize(part="all"),),
    "full": (Binarize(part="attention"), Binarize(part="mlp")),
}


def stages(arm: str, epochs: int, lr: float) -> tuple[Binarize, ...]:
    """The stages of `arm`, which share `epochs`: two stages take half each, the second what is left over."""
    steps = ARMS[arm]
    shares = [epochs] if len(steps) == 1 else [epochs // 2, epochs - epochs // 2]
    change: Callable[..., Binarize] = msgspec.structs.replace
    return tuple(
        change(step, epochs=share, warmup_epochs=min(1.0, share / 10), lr=lr)
        for step, share in zip(steps, shares, strict=True)
    )
