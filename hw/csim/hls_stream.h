// hls::stream for a C simulation: bounded as the FIFO in hardware is, one writing and one reading thread.
//
// A read of an empty stream and a write to a full one wait. When every thread waits, that is a deadlock: the simulation stops and says which stream each thread waits for. Streams keep their largest fill.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

namespace csim {

// Thrown in every thread once one has failed.
struct Stopped {};

class StreamBase {
public:
    StreamBase(const char *name, unsigned depth);
    virtual ~StreamBase();
    StreamBase(const StreamBase &) = delete;
    StreamBase &operator=(const StreamBase &) = delete;

    const std::string name;
    const unsigned depth;
    std::atomic<unsigned> written{0}, taken{0};
    unsigned largest = 0;
    std::atomic<int> readers_waiting{0}, writers_waiting{0};

    bool empty() const { return written.load() == taken.load(); }
    bool full() const { return written.load() - taken.load() == depth; }
    unsigned size() const { return written.load() - taken.load(); }

protected:
    // Until `ready`; the flag tells the other side that somebody is to be woken.
    template <typename Ready>
    void wait(std::atomic<int> &flag, bool writes, Ready ready) {
        if (!ready()) wait_slowly(flag, writes, ready);
    }
    void wake(std::atomic<int> &flag) {
        if (flag.load()) wake_slowly();
    }

private:
    template <typename Ready>
    void wait_slowly(std::atomic<int> &flag, bool writes, Ready ready) {
        begin_waiting(writes);
        flag.store(1);
        {
            std::unique_lock<std::mutex> lock(mutex_);
            while (!ready() && !sleep(lock)) {
            }
        }
        flag.store(0);
        end_waiting();
        if (!ready()) throw Stopped();
    }
    void begin_waiting(bool writes);
    void end_waiting();
    bool sleep(std::unique_lock<std::mutex> &lock);  // true: the simulation was stopped
    void wake_slowly();

    std::mutex mutex_;
    std::condition_variable changed_;
};

}  // namespace csim

namespace hls {

template <typename T, int DEPTH = 2>
class stream : public csim::StreamBase {
public:
    explicit stream(const char *name = "") : StreamBase(name, DEPTH), slots_(DEPTH) {}

    T read() {
        wait(readers_waiting, false, [&] { return !empty(); });
        unsigned at = taken.load();
        T value = slots_[at % DEPTH];
        taken.store(at + 1);
        wake(writers_waiting);
        return value;
    }

    void write(const T &value) {
        wait(writers_waiting, true, [&] { return !full(); });
        unsigned at = written.load();
        slots_[at % DEPTH] = value;
        written.store(at + 1);
        if (size() > largest) largest = size();
        wake(readers_waiting);
    }

private:
    std::vector<T> slots_;
};

}  // namespace hls
