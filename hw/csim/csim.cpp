// Runs the engine's processes as threads and reports what the streams and the buses saw; called from Python.
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "engine.h"
#include "hls_stream.h"

namespace {

struct Waiting {
    const csim::StreamBase *stream = nullptr;
    bool writes = false;
};

struct Traffic {
    std::uint64_t bursts = 0, beats = 0, longest = 0;
};

// One run at a time.
struct Simulation {
    std::mutex mutex;
    std::vector<csim::StreamBase *> streams;
    std::vector<Waiting> waiting;
    std::map<std::string, Traffic> traffic;
    int alive = 0, blocked = 0;
    std::atomic<bool> stopped{false};
    std::string error;
    std::ostringstream report;
    const void *program = nullptr;
    std::uint64_t program_bytes = 0, map_bytes = 0;

    void stop(const std::string &why) {
        if (error.empty()) error = why;
        if (!program) std::cerr << why << '\n';
        stopped = true;
    }

    // A deadlock is when every thread waits for a stream that would still make it wait.
    void look() {
        std::lock_guard<std::mutex> lock(mutex);
        if (blocked != alive || stopped) return;
        std::ostringstream text;
        text << "deadlock:";
        for (const auto &one : waiting) {
            if (!one.stream) continue;
            if (one.writes ? !one.stream->full() : !one.stream->empty()) return;
            text << " one process " << (one.writes ? "writes '" : "reads '") << one.stream->name << "' ("
                 << one.stream->size() << " of " << one.stream->depth << ");";
        }
        stop(text.str());
    }
};

Simulation simulation;
thread_local std::size_t thread_index = 0;

}  // namespace

namespace csim {

StreamBase::StreamBase(const char *stream_name, unsigned stream_depth) : name(stream_name), depth(stream_depth) {
    std::lock_guard<std::mutex> lock(simulation.mutex);
    simulation.streams.push_back(this);
}

StreamBase::~StreamBase() {
    std::lock_guard<std::mutex> lock(simulation.mutex);
    simulation.report << "stream " << name << ' ' << depth << ' ' << largest << ' ' << written.load() << '\n';
    if (size() && !simulation.stopped)
        simulation.stop("stream '" + name + "' ends with " + std::to_string(size()) + " values nobody has read");
    auto &all = simulation.streams;
    for (std::size_t index = 0; index < all.size(); index++)
        if (all[index] == this) all.erase(all.begin() + index--);
}

void StreamBase::begin_waiting(bool writes) {
    std::lock_guard<std::mutex> lock(simulation.mutex);
    simulation.blocked++;
    simulation.waiting[thread_index] = {this, writes};
}

void StreamBase::end_waiting() {
    std::lock_guard<std::mutex> lock(simulation.mutex);
    simulation.blocked--;
    simulation.waiting[thread_index] = {};
}

bool StreamBase::sleep(std::unique_lock<std::mutex> &lock) {
    if (changed_.wait_for(lock, std::chrono::milliseconds(200)) == std::cv_status::timeout) simulation.look();
    return simulation.stopped;
}

void StreamBase::wake_slowly() {
    { std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
}

}  // namespace csim

namespace engine {

void run_processes(const std::vector<std::function<void()>> &processes) {
    std::vector<std::thread> threads;
    simulation.alive = int(processes.size());
    simulation.blocked = 0;
    simulation.waiting.assign(processes.size(), {});
    for (std::size_t index = 0; index < processes.size(); index++) {
        threads.emplace_back([&, index] {
            thread_index = index;
            try {
                processes[index]();
            } catch (const csim::Stopped &) {
            }
            std::lock_guard<std::mutex> lock(simulation.mutex);
            simulation.alive--;
        });
    }
    for (auto &thread : threads) thread.join();
}

void check_burst(const char *port, const void *memory, unsigned beat_bytes, unsigned first, unsigned beats) {
    bool program = memory == simulation.program;
    std::uint64_t begin = std::uint64_t(first) * beat_bytes, end = begin + std::uint64_t(beats) * beat_bytes;
    std::ostringstream text;
    const std::uint64_t limit = program ? simulation.program_bytes : simulation.map_bytes;
    // The test bench does not say how large its memories are.
    if (simulation.program && end > limit)
        text << "leaves the memory";
    else if (beats < 1 || beats > BURST_BEATS)
        text << "has " << beats << " beats, expected 1 to " << BURST_BEATS;
    std::lock_guard<std::mutex> lock(simulation.mutex);
    if (!text.str().empty()) {
        simulation.stop("a burst of '" + std::string(port) + "' at byte " + std::to_string(begin) + " " + text.str());
        throw csim::Stopped();
    }
    Traffic &traffic = simulation.traffic[port];
    // The bus adapter splits what crosses 4 KiB.
    traffic.bursts += 1 + (end - 1) / 4096 - begin / 4096;
    traffic.beats += beats;
    if (beats > traffic.longest) traffic.longest = beats;
}

}  // namespace engine

// 0, or 1 when the run failed; `text` receives a report or the error, cut to `text_bytes`.
extern "C" __attribute__((visibility("default"))) int edgevision_csim(
    const std::uint64_t *program, std::uint32_t words, std::uint8_t *maps, std::uint64_t map_bytes, char *text,
    std::uint64_t text_bytes) {
    static std::mutex one_run;
    std::lock_guard<std::mutex> lock(one_run);
    simulation.program = program;
    simulation.program_bytes = std::uint64_t(words) * 8;
    simulation.map_bytes = map_bytes;
    simulation.stopped = false;
    simulation.error.clear();
    simulation.report.str("");
    simulation.traffic.clear();
    ap_uint<32> finished = 0;
    auto *memory = reinterpret_cast<engine::AxiWord *>(maps);
    edgevision_engine(reinterpret_cast<const engine::Word *>(program), words, memory, memory, memory, finished);
    for (const auto &[port, traffic] : simulation.traffic)
        simulation.report << "port " << port << ' ' << traffic.bursts << ' ' << traffic.beats << ' ' << traffic.longest
                          << '\n';
    simulation.report << "calls " << finished.to_uint() << '\n';
    std::string said = simulation.stopped ? simulation.error : simulation.report.str();
    std::strncpy(text, said.c_str(), text_bytes - 1);
    text[text_bytes - 1] = 0;
    return simulation.stopped ? 1 : 0;
}
