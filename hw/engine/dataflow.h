// How the processes of the engine run: in hardware side by side, as DATAFLOW has it; in a C simulation taking turns,
// because a program that runs them one after another cannot follow streams that run back.
#pragma once

#ifdef __SYNTHESIS__
#define ENGINE_PROCESSES_BEGIN
#define ENGINE_PROCESS(call) call
#define ENGINE_PROCESSES_END
#else
#include <functional>
#include <thread>
#include <vector>

namespace engine {
#ifdef ENGINE_CSIM
void run_processes(const std::vector<std::function<void()>> &processes);
#else
// Vitis C simulation: compile with -DHLS_STREAM_THREAD_SAFE, so that reading an empty stream waits.
inline void run_processes(const std::vector<std::function<void()>> &processes) {
    std::vector<std::thread> threads;
    for (const auto &process : processes) threads.emplace_back(process);
    for (auto &thread : threads) thread.join();
}
#endif
}  // namespace engine

#define ENGINE_PROCESSES_BEGIN std::vector<std::function<void()>> processes;
#define ENGINE_PROCESS(call) processes.push_back([&] { call; })
#define ENGINE_PROCESSES_END engine::run_processes(processes);
#endif
