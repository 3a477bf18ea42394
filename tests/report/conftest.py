from __future__ import annotations

from datetime import datetime, timezone

import pytest
from helpers.artefacts import make_built, make_network, make_profile

from edgevision.report.tradeoff import TradeOff, trade_off


@pytest.fixture
def example() -> TradeOff:
    return trade_off(
        [
            make_profile(1),
            make_profile(2, flags=("noisy: other processes kept 0.9 cores busy during the measurement",)),
        ],
        [make_network("fp32"), make_network("w8a8")],
        [make_built("host", True), make_built("rpi4")],
        now=datetime(2026, 11, 24, 3, 14, tzinfo=timezone.utc),
    )
