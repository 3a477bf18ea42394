"""The engine's C++ sources: no warnings of two compilers, packed products as in a DSP, ports as a bus wants them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.engines import Z2, random_image, require_csim
from helpers.layers_of_integers import dense, network
from helpers.tools import need

from edgevision.engine import csim
from edgevision.engine.csim import ap_types
from edgevision.engine.hardware import header_text
from edgevision.engine.program import compiled
from edgevision.resources import shipped

HW = shipped("hw")


def compile_with(compiler: str, folder: Path, *arguments: str, source: str = "") -> None:
    (folder / "engine_config.h").write_text(header_text(Z2))
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{folder}", f"-I{HW / 'engine'}",
               f"-I{HW / 'csim'}", "-isystem", str(ap_types()), *arguments]  # fmt: skip
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_sources_give_no_warning(compiler, tmp_path):
    require_csim()
    need(compiler)
    compile_with(compiler, tmp_path, "-std=c++14", "-fsyntax-only", str(HW / "engine" / "engine.cpp"))
    for name in ("engine/engine.cpp", "csim/csim.cpp", "csim/processes.cpp", "testbench/main.cpp"):
        compile_with(compiler, tmp_path, "-std=c++17", "-DENGINE_CSIM", "-fsyntax-only", str(HW / name))


PRODUCTS = """
#include <cstdio>
#include "pointwise.h"
int main() {
    unsigned seed = 1, wrong = 0;
    auto next = [&] { return seed = seed * 1664525u + 1013904223u, seed >> 16; };
    for (int round = 0; round < 400; round++) {
        engine::Vector x;
        engine::WeightRow row0 = 0, row1 = 0;
        long sum0 = 0, sum1 = 0;
        bool is_signed = round % 2;
        for (int lane = 0; lane < LANES; lane++) {
            int byte = round < 40 ? (round & 4 ? 127 : -128) : int(next() & 255) - 128;
            int bits0 = round < 40 ? (round & 8 ? 7 : 8) + 8 * (round & 1 ? 0 : round & 8 ? 1 : 0) : int(next() & 15);
            int bits1 = round < 40 ? (round & 16 ? 7 : 8) : int(next() & 15);
            x.lane[lane] = byte;
            row0 |= engine::WeightRow(bits0) << (4 * lane);
            row1 |= engine::WeightRow(bits1) << (4 * lane);
            sum0 += byte * (is_signed && bits0 > 7 ? bits0 - 16 : bits0);
            sum1 += byte * (is_signed && bits1 > 7 ? bits1 - 16 : bits1);
        }
        engine::Sum got0, got1;
        engine::two_products(x, row0, row1, is_signed, got0, got1);
        wrong += got0.to_int() != sum0 || got1.to_int() != sum1;
    }
    std::printf("%u wrong\\n", wrong);
}
"""


#: No process waits for a stream or a port here.
STREAMS = """
#include <cstdlib>
namespace csim {
void StreamBase::wait(bool) { std::abort(); }
StreamBase::StreamBase(const char *given, unsigned size) : name(given), depth(size) {}
StreamBase::~StreamBase() {}
void Port::ask(const void *, unsigned, std::size_t, std::size_t, bool) { std::abort(); }
void Port::refuse(const char *) { std::abort(); }
}
"""


@pytest.mark.parametrize("widths", ["synthesis", "simulation"])
def test_two_packed_products_are_two_products(widths, tmp_path):
    require_csim()
    need("g++")
    (tmp_path / "main.cpp").write_text(PRODUCTS + STREAMS)
    flags = ["-DENGINE_CSIM"] if widths == "simulation" else []
    # Without warnings: the ap_int headers read what they are about to overwrite.
    compile_with("g++", tmp_path, "-std=c++17", "-O1", "-w", *flags, str(tmp_path / "main.cpp"), "-o",
                 str(tmp_path / "products"))  # fmt: skip
    assert subprocess.run([tmp_path / "products"], capture_output=True, text=True, check=True).stdout == "0 wrong\n"


PORTS = """
#include <cstdio>
#include "hls_burst_maxi.h"
struct Wrong {};
namespace csim {
void Port::ask(const void *, unsigned, std::size_t first, std::size_t beats, bool writes) {
    open_.push_back({first, first + beats, writes});
}
void Port::refuse(const char *what) { std::printf("%s\\n", what); throw Wrong(); }
}
template <typename F> void expect(F use) { try { use(); std::printf("well\\n"); } catch (const Wrong &) {} }
int main() {
    int memory[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    hls::burst_maxi<int> port(memory);
    expect([&] { port.read_request(6, 1); port.read_request(2, 2); std::printf("%d%d%d ", port.read(), 0, 0); });
    expect([&] { port.read(); port.read(); port.read(); });
    expect([&] { port.write(1); });
    expect([&] { port.write_response(); });
    expect([&] { port.write_request(0, 2); port.write(9); port.write_response(); });
    expect([&] { port.write(8); port.write_response(); std::printf("%d%d ", memory[0], memory[1]); });
}
"""


def test_a_port_is_used_only_as_it_was_asked(tmp_path):
    need("g++")
    (tmp_path / "main.cpp").write_text(PORTS)
    command = ["g++", "-std=c++14", f"-I{HW / 'csim'}", str(tmp_path / "main.cpp"), "-o", str(tmp_path / "ports")]
    subprocess.run(command, check=True)
    said = subprocess.run([tmp_path / "ports"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["600 well", "a beat is read", "a beat is written", "an answer is expected", "an answer is expected",
                    "98 well"]  # fmt: skip


def test_bursts_are_asked_for_ahead_of_those_that_are_read():
    require_csim()
    one = network((40, 24, 24), dense("y", "input", 40, 40))
    ports = {port.name: port for port in csim.run(compiled(one, Z2), Z2, random_image(one.header)).ports}
    assert {name: ports[name].ahead for name in ("features", "program", "results")} == dict.fromkeys(
        ("features", "program", "results"), 8
    )
    assert np.all([port.longest <= Z2.burst_beats for port in ports.values()])
