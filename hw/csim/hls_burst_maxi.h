// hls::burst_maxi for a C simulation: bursts are asked for before they are read or written, as on the bus.
//
// What would make the hardware wait for ever, a beat that nobody asked for or an answer to a burst that was not written,
// stops the simulation, and so does a burst that the bus would not carry.
#pragma once
#include <cstddef>
#include <deque>

namespace csim {

// One port's bursts under way; tells the simulation what happens.
class Port {
public:
    explicit Port(const char *name) : name_(name) {}

protected:
    // A burst of `beats` at `first`, in a memory of beats of `beat_bytes`.
    void ask(const void *memory, unsigned beat_bytes, std::size_t first, std::size_t beats, bool writes);
    // Index of the next beat.
    std::size_t next(bool writes) {
        if (open_.empty() || open_.front().writes != writes) refuse(writes ? "a beat is written" : "a beat is read");
        Burst &burst = open_.front();
        std::size_t at = burst.at++;
        if (burst.at == burst.end) {
            open_.pop_front();
            written_ += writes;
        }
        return at;
    }
    void answer() {
        if (written_ == 0) refuse("an answer is expected");
        written_--;
    }

private:
    struct Burst {
        std::size_t at, end;
        bool writes;
    };
    [[noreturn]] void refuse(const char *what);

    const char *name_;
    std::deque<Burst> open_;
    std::size_t written_ = 0;  // bursts without an answer
};

}  // namespace csim

namespace hls {

template <typename T>
class burst_maxi : public csim::Port {
public:
    burst_maxi(T *memory, const char *name = "memory") : csim::Port(name), memory_(memory) {}

    void read_request(std::size_t offset, std::size_t length) { ask(memory_, sizeof(T), offset, length, false); }
    T read() { return memory_[next(false)]; }
    void write_request(std::size_t offset, std::size_t length) { ask(memory_, sizeof(T), offset, length, true); }
    void write(const T &value) { memory_[next(true)] = value; }
    void write_response() { answer(); }

private:
    T *memory_;
};

}  // namespace hls
