"""A report joins measurements only with the very bundles and networks they were taken of."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest
from helpers import programs
from helpers.artefacts import make_network, make_profile

from edgevision import api, bundle
from edgevision.compress.compressed import Compressed
from edgevision.errors import UsageError
from edgevision.profile.profile import Profile
from edgevision.profile.statistics import paired_ratio
from edgevision.report.current import current, latest

NETWORKS = {"cas_vit-digits-fp32": "net32", "cas_vit-digits-w8a8": "net8"}
BUNDLES = {"fp32@host": "made32", "w8a8@host": "made8"}


def measured(threads: int = 1) -> Profile:
    """A profile whose engines name what they are of."""
    made = make_profile(threads)
    engines = tuple(
        msgspec.structs.replace(
            e, onnx_sha256=NETWORKS[e.artefact], bundle_sha256=BUNDLES.get(e.bundle) if e.bundle else None
        )
        for e in made.engines
    )
    return msgspec.structs.replace(made, engines=engines)


def names(profile: Profile | None) -> list[str]:
    return [engine.name for engine in profile.engines] if profile else []


def test_what_has_not_changed_stays_as_it_was():
    assert current(measured(), BUNDLES, NETWORKS) == (measured(), {})
    # A folder that is gone does not make what was measured wrong.
    assert current(measured(), {}, {}) == (measured(), {})


def test_a_bundle_deployed_again_is_left_out_and_said_to_be():
    kept, stale = current(measured(), BUNDLES | {"w8a8@host": "new"}, NETWORKS)
    assert names(kept) == ["edgevision fp32", "onnxruntime fp32", "onnxruntime int8"]
    (remark,) = stale.values()
    assert "edgevision w8a8 on host with 1 thread was measured before w8a8@host was deployed again" in remark
    assert remark.endswith("measure it again: edgevision profile --against onnxruntime --threads 1")


def test_a_network_compressed_again_takes_every_runtime_with_it_and_ratios_find_another_base():
    kept, stale = current(measured(), BUNDLES, NETWORKS | {"cas_vit-digits-fp32": "new"})
    assert kept is not None and names(kept) == ["edgevision w8a8", "onnxruntime int8"]
    assert set(stale) == {"edgevision fp32", "onnxruntime fp32"}
    assert "edgevision deploy cas_vit-digits-fp32 --target host --overwrite, then" in stale["edgevision fp32"]
    (comparison,) = kept.comparisons
    ours, theirs = (engine.window_ms for engine in kept.engines)
    assert comparison.baseline == "edgevision w8a8"
    assert comparison.ratio == paired_ratio(theirs, ours, seed=kept.protocol.seed)


def test_a_profile_that_names_nothing_by_hash_is_not_trusted():
    kept, stale = current(make_profile(), BUNDLES, NETWORKS)
    assert kept is None and len(stale) == 4


def test_the_newest_profile_that_still_holds_is_shown():
    older = measured()
    newer = msgspec.structs.replace(
        older, engines=tuple(msgspec.structs.replace(e, bundle_sha256="x") for e in older.engines[:1])
    )
    chosen, remarks = latest([older, newer], BUNDLES, NETWORKS)
    assert chosen == [older] and len(remarks) == 1
    assert latest([newer, older], BUNDLES, NETWORKS) == ([older], [])


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle, its profile, and a compressed network of the same model."""
    programs.bundled(tmp_path / "bundles/tiny@host")
    done = api.profile(out=tmp_path, seconds=0.001, command="edgevision profile tiny@host").profile
    assert done.created <= datetime.now(timezone.utc).isoformat()
    return tmp_path


def deploy_again(out: Path) -> None:
    origin = msgspec.structs.replace(programs.origin(), weights="trained longer")
    bundle.write(programs.program(), origin, out / "bundles/tiny@host", golden=programs.golden(), overwrite=True)


def test_all_formats_drop_a_stale_row_and_say_how_to_measure_again(out: Path):
    assert "Left out" not in "".join(path.read_text() for path in api.report(out=out).files)
    deploy_again(out)
    made = api.report(out=out, overwrite=True)
    assert made.trade_off.groups == () and made.trade_off.verdict.startswith("Nothing was measured")
    assert [b.measured for b in made.trade_off.built] == [False]
    html, markdown, table, data = (path.read_text() for path in made.files)
    for text in (html, markdown, *json.loads(data)["remarks"][:1]):
        assert "Left out: edgevision fp32 on host" in text and "edgevision profile tiny@host" in text
    assert len(table.splitlines()) == 1


def test_one_broken_artefact_of_each_kind_does_not_stop_a_report(out: Path):
    programs.bundled(out / "bundles/other@host")
    (out / "bundles/other@host/weights.bin").write_bytes(b"damaged")
    (out / "profiles/half.json").write_text('{"schema":')
    (out / "compressed/bad").mkdir(parents=True)
    (out / "compressed/bad/compressed.json").write_text("[]")
    made = api.report(out=out)
    assert len(made.trade_off.groups) == 1
    skipped = [remark for remark in made.trade_off.remarks if remark.startswith("Skipped: ")]
    assert len(skipped) == 3
    for place in ("compressed/bad", "profiles/half.json", "bundles/other@host"):
        assert any(str(out / place) in remark for remark in skipped)
        assert str(out / place) in made.html.read_text()


def test_only_broken_artefacts_are_an_error_with_every_reason(tmp_path: Path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/a.json").write_bytes(b'{"schema": "\xff"}')
    (tmp_path / "profiles/b.json").write_bytes(b"[" * 100_000)
    with pytest.raises(UsageError, match="nothing to report") as caught:
        api.report(out=tmp_path)
    assert len(caught.value.reasons) == 2


def test_an_unknown_model_is_answered_with_the_nearest(out: Path):
    with pytest.raises(UsageError, match=r"model 'tony' \(did you mean 'tiny'\?\)") as caught:
        api.report(model="tony", out=out)
    assert caught.value.reasons == ("there is --model tiny",)
    with pytest.raises(UsageError, match="model 'tiny' on data 'digits'"):
        api.report(model="tiny", data="digits", out=out)
    assert not (out / "report").exists()


def test_a_model_that_was_never_timed_is_reported_all_the_same(out: Path, monkeypatch: pytest.MonkeyPatch):
    network = make_network()
    (out / "compressed/c").mkdir(parents=True)
    (out / "compressed/c/compressed.json").write_text("{}")
    monkeypatch.setattr(Compressed, "load", staticmethod(lambda folder: Compressed(folder, network.info)))
    assert api.report(model=network.info.model, out=out).trade_off.model == network.info.model
    assert api.report(out=out, overwrite=True).trade_off.model == "tiny"
