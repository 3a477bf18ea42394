// Runs the engine in SystemVerilog on one program and one region of feature maps, behind a model of the memory, and counts
// cycles. Called from Python (edgevision/engine/rtlsim.py) as a program of its own.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vengine.h"
#include "bus.h"
#include "registers.h"
#include "verilated.h"

namespace {

// Where the two regions lie on the bus; the last plane of the maps ends inside a page of its own.
const uint32_t PROGRAM_AT = 0x08000000, MAPS_AT = 0x10000000;

std::vector<uint8_t> contents(const std::string &path) {
    std::vector<uint8_t> bytes;
    FILE *file = std::fopen(path.c_str(), "rb");
    if (!file) bus::fail("cannot read " + path);
    uint8_t part[1 << 16];
    size_t got;
    while ((got = std::fread(part, 1, sizeof part, file)) > 0) bytes.insert(bytes.end(), part, part + got);
    std::fclose(file);
    return bytes;
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 9) {
        std::fprintf(stderr, "sim PROGRAM MAPS RESULT READ_LATENCY WRITE_LATENCY BYTES_PER_1000_CYCLES STALL_PERCENT SEED\n");
        return 2;
    }
    std::vector<uint8_t> program = contents(arguments[1]), maps = contents(arguments[2]);
    const uint64_t read_latency = std::strtoull(arguments[4], nullptr, 10);
    const uint64_t write_latency = std::strtoull(arguments[5], nullptr, 10);
    bus::Memory memory(std::strtoul(arguments[6], nullptr, 10), std::strtoul(arguments[7], nullptr, 10),
                       std::strtoul(arguments[8], nullptr, 10));
    bus::Region words{program, PROGRAM_AT}, features{maps, MAPS_AT};

    auto top = std::make_unique<Vengine>();
    const unsigned beat_bytes = sizeof(top->m_axi_features_rdata);
    bus::ReadPort ports[3] = {{"program", words, 8, read_latency},
                              {"features", features, beat_bytes, read_latency},
                              {"dilations", features, beat_bytes, read_latency}};
    bus::WritePort results("results", features, beat_bytes, write_latency);
    registers::Master master({{registers::PROGRAM, PROGRAM_AT}, {registers::WORDS, uint32_t(program.size() / 8)},
                              {registers::FEATURES, MAPS_AT}, {registers::DILATIONS, MAPS_AT},
                              {registers::RESULTS, MAPS_AT}, {registers::ENABLE, 1}, {registers::INTERRUPTS, 1},
                              {registers::CONTROL, 1}});

    top->ap_rst_n = 0;
    for (int cycle = 0; cycle < 4; cycle++) {
        top->ap_clk = 0;
        top->eval();
        top->ap_clk = 1;
        top->eval();
    }
    top->ap_rst_n = 1;

    uint64_t cycle = 0, moved_at = 0;
    for (; !master.done(); cycle++) {
        memory.next_cycle();
        top->ap_clk = 0;
#define READ_PORT(index, name)                                                                                  \
    ports[index].drive(memory, cycle, top->m_axi_##name##_arready, top->m_axi_##name##_rvalid,                  \
                       top->m_axi_##name##_rlast, &top->m_axi_##name##_rdata)
        // Who is first to be served takes turns.
        for (unsigned turn = 0; turn < 4; turn++) {
            switch ((cycle + turn) % 4) {
                case 0: READ_PORT(0, program); break;
                case 1: READ_PORT(1, features); break;
                case 2: READ_PORT(2, dilations); break;
                default:
                    results.drive(memory, cycle, top->m_axi_results_awready, top->m_axi_results_wready,
                                  top->m_axi_results_bvalid);
            }
        }
        master.drive(*top);
        top->eval();
#define ACCEPT(index, name)                                                                                      \
    moved |= ports[index].accept(memory, cycle, top->m_axi_##name##_arvalid, top->m_axi_##name##_araddr,         \
                                 top->m_axi_##name##_arlen, top->m_axi_##name##_rready)
        bool moved = false;
        ACCEPT(0, program);
        ACCEPT(1, features);
        ACCEPT(2, dilations);
        moved |= results.accept(memory, cycle, top->m_axi_results_awvalid, top->m_axi_results_awaddr,
                                top->m_axi_results_awlen, top->m_axi_results_wvalid, top->m_axi_results_wlast,
                                &top->m_axi_results_wdata, top->m_axi_results_bready);
        master.accept(*top, cycle);
        if (moved) moved_at = cycle;
        // Longer than any call computes between two bursts.
        if (cycle - moved_at > 200000) bus::fail("the engine has moved nothing for 200000 cycles; "
                                                  + std::to_string(master.finished()) + " calls have ended");
        top->ap_clk = 1;
        top->eval();
    }
    results.at_end();
    for (const bus::ReadPort &port : ports) port.at_end();

    FILE *file = std::fopen(arguments[3], "wb");
    if (!file || std::fwrite(maps.data(), 1, maps.size(), file) != maps.size() || std::fclose(file))
        bus::fail(std::string("cannot write ") + arguments[3]);
    std::printf("cycles %llu\ncalls %u\n", (unsigned long long)(master.ended() - master.started()), master.finished());
    for (const bus::ReadPort &port : ports) port.traffic.print();
    results.traffic.print();
    for (uint64_t at : master.call_ends()) std::printf("call %llu\n", (unsigned long long)(at - master.started()));
    return 0;
}
