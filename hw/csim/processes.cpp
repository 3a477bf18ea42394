// The engine's processes as contexts of one thread: each runs until it waits for a stream, so that a simulation takes
// the same way every time and no operating system has to switch between them.
#include "processes.h"

#include <ucontext.h>

#include <functional>
#include <memory>
#include <sstream>
#include <vector>

namespace {

const std::size_t STACK_BYTES = 1 << 18;

struct Process {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    const std::function<void()> *body;
    const csim::StreamBase *stream = nullptr;  // it waits for
    bool writes = false, done = false;

    bool waits() const { return stream && (writes ? stream->full() : stream->empty()); }
};

ucontext_t scheduler;
Process *current = nullptr;

void enter() {
    try {
        (*current->body)();
    } catch (const csim::Stopped &) {
    }
    current->done = true;
    swapcontext(&current->context, &scheduler);
}

void resume(Process &process) {
    current = &process;
    swapcontext(&scheduler, &process.context);
    current = nullptr;
}

std::string deadlock(const std::vector<Process> &processes) {
    std::ostringstream text;
    text << "deadlock:";
    for (const auto &one : processes)
        if (!one.done)
            text << " one process " << (one.writes ? "writes '" : "reads '") << one.stream->name << "' ("
                 << one.stream->size() << " of " << one.stream->depth << ");";
    return text.str();
}

}  // namespace

void csim::StreamBase::wait(bool writes) {
    if (!current) {
        stop("stream '" + name + "' is used outside the engine's processes");
        throw Stopped();
    }
    current->stream = this;
    current->writes = writes;
    swapcontext(&current->context, &scheduler);
    if (current->waits()) throw Stopped();
    current->stream = nullptr;
}

namespace engine {

void run_processes(const std::vector<std::function<void()>> &bodies) {
    std::vector<Process> processes(bodies.size());
    for (std::size_t index = 0; index < bodies.size(); index++) {
        Process &one = processes[index];
        one.body = &bodies[index];
        one.stack.reset(new char[STACK_BYTES]);
        getcontext(&one.context);
        one.context.uc_stack.ss_sp = one.stack.get();
        one.context.uc_stack.ss_size = STACK_BYTES;
        one.context.uc_link = nullptr;
        makecontext(&one.context, enter, 0);
    }
    while (true) {
        bool moved = false, alive = false;
        for (auto &one : processes) {
            if (one.done || csim::stopped()) continue;
            alive = true;
            if (one.waits()) continue;
            moved = true;
            resume(one);
        }
        if (!alive) break;
        if (!moved) csim::stop(deadlock(processes));
    }
    // Those that still wait leave by an exception, so that nothing of theirs stays behind.
    for (auto &one : processes)
        while (!one.done) resume(one);
}

}  // namespace engine
