"""A headless Chromium for tests: draws a page at a given width and says what went wrong in it."""

from __future__ import annotations

import html
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip

# The page sits in a frame of the width asked for, because a headless window cannot be narrower than 500 pixels.
PROBE = """<!doctype html><meta charset=utf-8><body style="margin:0">
<iframe id=f width=%d height=900 srcdoc="%s"></iframe>
<script>
document.getElementById('f').onload = function () {
  const d = this.contentDocument, w = this.contentWindow, root = d.documentElement;
  const tables = [...d.querySelectorAll('table')];
  document.title = JSON.stringify({
    page: root.scrollWidth, view: root.clientWidth,
    loose: tables.filter(t => !t.closest('.scroll')).length,
    escaping: [...d.querySelectorAll('main > *, section > *')]
      .filter(e => e.getBoundingClientRect().right > root.clientWidth + 1)
      .map(e => e.tagName + ' ' + e.className),
    requests: w.performance.getEntriesByType('resource').map(e => e.name),
    scripts: d.scripts.length, images: d.images.length, frames: d.querySelectorAll('iframe').length,
    handlers: [...d.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length,
    charts: [...d.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width > 0).length,
    smallest: Math.min(...[...d.querySelectorAll('svg text')]
      .map(t => t.getBoundingClientRect().height).filter(h => h > 0)),
    h1: d.querySelector('h1').getBoundingClientRect().height > 0, touched: !!w.touched,
  });
};
</script>"""


def chromium() -> str:
    """The browser's path; a missing one fails under CI and skips elsewhere."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        message = "no chromium: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return found


def look(page: str, width: int, folder: Path) -> dict:
    """Open `page` at `width` pixels; what was seen, with the browser's console lines under "console"."""
    probe = folder / f"probe-{width}.html"
    probe.write_text(PROBE % (width, html.escape(page)), encoding="utf-8")
    done = subprocess.run(
        [chromium(), *FLAGS, f"--user-data-dir={folder / f'user-{width}'}", f"file://{probe}"],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    title = done.stdout.split("<title>", 1)[1].split("</title>", 1)[0]
    seen = json.loads(html.unescape(title))
    return seen | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}
