// Runs the engine in a C simulation and reports what its streams and ports saw; called from Python.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>

#include "engine.h"
#include "processes.h"

namespace {

struct Traffic {
    std::uint64_t bursts = 0, beats = 0, longest = 0, ahead = 0;
};

// One run at a time.
struct Simulation {
    std::map<std::string, Traffic> traffic;
    std::string error;
    std::ostringstream report;
    const void *program = nullptr;
    std::uint64_t program_bytes = 0, map_bytes = 0;
};

Simulation simulation;

}  // namespace

namespace csim {

void stop(const std::string &why) {
    if (simulation.error.empty()) simulation.error = why;
    // The test bench has nobody who would ask.
    if (!simulation.program) std::cerr << why << '\n';
}

bool stopped() { return !simulation.error.empty(); }

StreamBase::StreamBase(const char *stream_name, unsigned stream_depth) : name(stream_name), depth(stream_depth) {}

StreamBase::~StreamBase() {
    simulation.report << "stream " << name << ' ' << depth << ' ' << largest << ' ' << written << '\n';
    if (size() && !stopped()) stop("stream '" + name + "' ends with " + std::to_string(size()) + " values nobody has read");
}

void Port::refuse(const char *what) {
    stop("port '" + std::string(name_) + "': " + what + " without a burst that was asked for");
    throw Stopped();
}

void Port::ask(const void *memory, unsigned beat_bytes, std::size_t first, std::size_t beats, bool writes) {
    const std::uint64_t begin = std::uint64_t(first) * beat_bytes, end = begin + std::uint64_t(beats) * beat_bytes;
    const std::uint64_t limit = memory == simulation.program ? simulation.program_bytes : simulation.map_bytes;
    std::string wrong;
    // The test bench does not say how large its memories are.
    if (simulation.program && end > limit)
        wrong = "leaves the memory";
    else if (beats < 1 || beats > BURST_BEATS)
        wrong = "has " + std::to_string(beats) + " beats, expected 1 to " + std::to_string(BURST_BEATS);
    if (!wrong.empty()) {
        stop("a burst of '" + std::string(name_) + "' at byte " + std::to_string(begin) + " " + wrong);
        throw Stopped();
    }
    open_.push_back({first, first + beats, writes});
    Traffic &traffic = simulation.traffic[name_];
    // The bus adapter splits what crosses 4 KiB.
    traffic.bursts += 1 + (end - 1) / 4096 - begin / 4096;
    traffic.beats += beats;
    traffic.longest = std::max<std::uint64_t>(traffic.longest, beats);
    traffic.ahead = std::max<std::uint64_t>(traffic.ahead, open_.size() + written_);
}

}  // namespace csim

// 0, or 1 when the run failed; `text` receives a report or the error, cut to `text_bytes`.
extern "C" __attribute__((visibility("default"))) int edgevision_csim(
    const std::uint64_t *program, std::uint32_t words, std::uint8_t *maps, std::uint64_t map_bytes, char *text,
    std::uint64_t text_bytes) {
    static std::mutex one_run;
    std::lock_guard<std::mutex> lock(one_run);
    simulation.program = program;
    simulation.program_bytes = std::uint64_t(words) * 8;
    simulation.map_bytes = map_bytes;
    simulation.error.clear();
    simulation.report.str("");
    simulation.traffic.clear();
    ap_uint<32> finished = 0;
    auto *code = reinterpret_cast<engine::Word *>(const_cast<std::uint64_t *>(program));
    auto *memory = reinterpret_cast<engine::AxiWord *>(maps);
    edgevision_engine({code, "program"}, words, {memory, "features"}, {memory, "dilations"}, {memory, "results"},
                      finished);
    for (const auto &[port, traffic] : simulation.traffic)
        simulation.report << "port " << port << ' ' << traffic.bursts << ' ' << traffic.beats << ' ' << traffic.longest
                          << ' ' << traffic.ahead << '\n';
    simulation.report << "calls " << finished.to_uint() << '\n';
    std::string said = csim::stopped() ? simulation.error : simulation.report.str();
    std::strncpy(text, said.c_str(), text_bytes - 1);
    text[text_bytes - 1] = 0;
    return csim::stopped() ? 1 : 0;
}
