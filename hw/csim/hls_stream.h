// hls::stream for a C simulation: bounded as the FIFO in hardware is.
//
// A read of an empty stream and a write to a full one wait, and another process goes on. When every process waits, that
// is a deadlock: the simulation stops and says which stream each of them waits for. Streams keep their largest fill.
#pragma once
#include <string>
#include <vector>

namespace csim {

class StreamBase {
public:
    StreamBase(const char *name, unsigned depth);
    virtual ~StreamBase();
    StreamBase(const StreamBase &) = delete;
    StreamBase &operator=(const StreamBase &) = delete;

    const std::string name;
    const unsigned depth;
    unsigned written = 0, taken = 0, largest = 0;

    bool empty() const { return written == taken; }
    bool full() const { return written - taken == depth; }
    unsigned size() const { return written - taken; }

protected:
    // Until somebody has written or read; leaves the process by an exception when the simulation is stopped.
    void wait(bool writes);
};

}  // namespace csim

namespace hls {

template <typename T, int DEPTH = 2>
class stream : public csim::StreamBase {
public:
    explicit stream(const char *stream_name = "") : StreamBase(stream_name, DEPTH), slots_(DEPTH) {}

    T read() {
        if (empty()) wait(false);
        return slots_[taken++ % DEPTH];
    }

    void write(const T &value) {
        if (full()) wait(true);
        slots_[written++ % DEPTH] = value;
        if (size() > largest) largest = size();
    }

private:
    std::vector<T> slots_;
};

}  // namespace hls
