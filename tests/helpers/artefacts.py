"""Made-up artefacts to draw and calculate with; nothing a user ever sees."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edgevision import recipe
from edgevision.compress.compressed import (
    Compressed,
    CompressedInfo,
    LayerSensitivity,
    LedgerEntry,
    MixedPoint,
    MixedSearch,
)
from edgevision.data.evaluate import Accuracy
from edgevision.data.preprocess import Preprocessing
from edgevision.profile import profile, statistics
from edgevision.profile.interleave import compare
from edgevision.report.tradeoff import Built
from edgevision.zoo.model import InputSpec, Provenance

MEDIANS = {"edgevision fp32": 1.31, "edgevision w8a8": 0.74, "onnxruntime fp32": 1.02, "onnxruntime int8": 1.66}
HITS = {"edgevision fp32": 347, "edgevision w8a8": 344, "onnxruntime fp32": 347, "onnxruntime int8": 344}
FAMILIES = ("gemm", "depthwise", "conv", "elementwise", "pool")


def share(hits: int, total: int) -> statistics.Interval:
    accuracy = Accuracy(hits, total)
    return statistics.Interval(accuracy.percent, *accuracy.interval)


def windows(seed: int) -> dict[str, list[list[int]]]:
    draw = np.random.default_rng(seed)
    return {
        name: [[int(1e6 * ms * draw.lognormal(0, 0.02)) for _ in range(9)] for _ in range(20)]
        for name, ms in MEDIANS.items()
    }


def make_profile(threads: int = 1, label: str = "stages.0.blocks.1.mlp.fc1 + gelu", flags: tuple[str, ...] = ()):
    timed = windows(threads)
    medians = {name: [float(np.median(w)) / 1e6 for w in ws] for name, ws in timed.items()}
    engines = []
    for name, ws in timed.items():
        runtime, variant = name.split(" ")
        ours = runtime == "edgevision"
        name_recipe = "fp32" if variant == "fp32" else "w8a8"
        steps = tuple(
            profile.StepProfile(
                i, f"{label} {i}", FAMILIES[i % 5], 4_000_000 if i % 5 < 3 else 0, i % 3 == 0, us, us / 630
            )
            for i, us in enumerate(range(60, 0, -2))
        )
        engines.append(
            profile.EngineProfile(
                name=name,
                runtime=runtime,
                artefact=f"cas_vit-digits-{name_recipe}",
                recipe=name_recipe,
                size_bytes=12_300_000 if variant == "fp32" else 4_100_000,
                timing="measured",
                latency=statistics.latency(ws),
                init_ms=14.2,
                first_ms=2.31,
                window_ms=tuple(medians[name]),
                bundle=f"{name_recipe}@host" if ours else None,
                peak_rss_bytes=21_000_000 if ours else None,
                arena_bytes=1_204_224 if ours else None,
                accuracy=share(HITS[name], 360),
                images=360,
                reference="onnxruntime" if ours else None,
                max_abs_error=3.1e-6 if ours else None,
                differing_predictions=0 if ours else None,
                steps=steps if ours else (),
            )
        )
    facts = {"model": "Example CPU", "cores": 2, "governor": None, "frequency_khz": 2_600_000, "temperature_c": 51.0}
    return profile.Profile(
        schema=profile.SCHEMA,
        created="2026-11-24T03:00:00+00:00",
        command=f"edgevision profile --against onnxruntime --threads {threads}",
        device="host",
        target="host",
        model="cas_vit",
        data="digits",
        threads=threads,
        affinity=(),
        protocol=profile.Protocol(),
        facts_before=facts,
        facts_after={**facts, "temperature_c": 58.5},
        versions={"edgevision": "0.1.0", "onnxruntime": "1.32.0"},
        flags=flags,
        engines=tuple(engines),
        comparisons=compare(medians, "onnxruntime fp32"),
    )


def make_network(name_recipe: str = "w8a8", classes: tuple[str, ...] = ("0", "1"), layer: str = "stages.0.0.mlp.fc1"):
    fold = "56 batch norms folded, two heads into one"
    entry = LedgerEntry("fold_batch_norm", fold, 2_979_700, 46_000_000, 11_918_800,
                        96.4, 96.4, 0.31)  # fmt: skip
    quantize = LedgerEntry("quantize", "8-bit weights and activations in 71 layers", 2_979_700, 46_000_000, 3_105_000,
                           96.4, 95.6, 11.2, ("softmax-free attention stays in integers",))  # fmt: skip
    worst = tuple(
        LayerSensitivity(
            f"{layer}{i}", 2_000_000, 31.5 + i, 2.2 - 0.4 * i, 0.28, f"--keep-fp {layer}{i}" if i < 3 else None
        )
        for i in range(5)
    )
    block = LayerSensitivity(
        "stages.0.0", 10_000_000, 34.0, 4.7, 0.4, f"--keep-fp {layer}0 --keep-fp {layer}1", kl_gain=0.012,
        alone_sqnr_db=35.5, alone_kl=0.004, metric_loss=0.2, operators=9,
    )  # fmt: skip
    points = tuple(
        MixedPoint(name, accuracy, cost, int(cost), noise, {f"{layer}0": bits})
        for name, accuracy, cost, noise, bits in (
            ("8 bit", 96.2, 3.1e6, -38.0, 8),
            ("cheapest", 91.0, 1.6e6, -12.0, 4),
            ("noise -25.0 dB", 95.9, 2.2e6, -26.1, 4),
        )
    )  # fmt: skip
    quantized = name_recipe != "fp32"
    info = CompressedInfo(
        schema="edgevision.compressed/1",
        name=f"cas_vit-digits-{name_recipe}",
        model="cas_vit",
        recipe=recipe.load(name_recipe),
        input=InputSpec("image", (1, 3, 64, 64)),
        preprocessing=Preprocessing(64, 64),
        provenance=Provenance("trained on digits"),
        classes=classes,
        ledger=(entry, quantize) if quantized else (entry,),
        sensitivity=worst if quantized else (),
        blocks=(block,) if quantized else (),
        mixed=MixedSearch("bytes", "bytes of weights as stored", 95.9, True, "noise -25.0 dB", points)
        if quantized
        else None,
        keep_fp=(),
        data="digits",
        data_sha256="0" * 64,
        evaluated_images=360,
        seed=0,
        versions={"torch": "2.13.0"},
        onnx_sha256="0" * 64,
        command=f"edgevision compress --model cas_vit --recipe {name_recipe}",
        export_max_abs_error=1.9e-7,
    )
    return Compressed(Path(info.name), info)


def make_built(target: str = "rpi4", measured: bool = False) -> Built:
    return Built(
        name=f"cas_vit-digits-w8a8@{target}",
        artefact="cas_vit-digits-w8a8",
        target=target,
        title="Raspberry Pi 4",
        arch="aarch64",
        size_bytes=4_000_000,
        arena_bytes=1_204_224,
        integer_macs_share=0.97,
        measured=measured,
        command=f"edgevision deploy --target {target}",
    )


def with_info(network: Compressed, **changes: object) -> Compressed:
    return Compressed(network.folder, msgspec.structs.replace(network.info, **changes))
