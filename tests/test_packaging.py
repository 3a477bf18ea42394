"""What the wheel carries, and that it works away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_carries_data_runner_and_templates(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for room in ("quant", "targets", "hw"):
        files = [p for p in (ROOT / room).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        assert files
        assert {f"edgevision/_shipped/{path.relative_to(ROOT).as_posix()}" for path in files} <= names
    runner = [path.relative_to(ROOT).as_posix() for path in (ROOT / "edgevision/bundle/runner").glob("*.[ch]")]
    assert runner and set(runner) <= names
    assert "edgevision/report/templates/report.html.j2" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_carries_nothing_but_the_package(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgevision"}


def test_installed_wheel_lists_its_targets_and_recipes(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    code = (
        "import edgevision.target as t, edgevision.recipe as r, edgevision.resources as s;"
        "print(t.__file__); print(len([t.load(n) for n in t.names()])); print(r.names()); print(s.shipped('hw'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(target)}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    module, count, recipes, hw = done.stdout.splitlines()
    assert module.startswith(str(target)) and hw.startswith(str(target))
    assert int(count) == len(list((ROOT / "targets").glob("*.toml")))
    assert "w8a8" in recipes
