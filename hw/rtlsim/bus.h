// A model of the memory behind the engine's AXI ports: latency, bursts in order, one bandwidth for all ports together,
// and, where it is asked for, ports that hold back at random. What the bus would not carry stops the simulation.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>
#include <string>
#include <vector>

namespace bus {

[[noreturn]] inline void fail(const std::string &why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(1);
}

// What all ports share.
class Memory {
public:
    Memory(unsigned bytes_per_1000_cycles, unsigned stall_percent, unsigned seed)
        : rate_(bytes_per_1000_cycles), stall_(stall_percent), random_(seed) {}

    void next_cycle() {
        saved_ += rate_;
        // The rate is a mean: queues in front of a memory even out one burst of every port.
        if (saved_ > 512 * 1000) saved_ = 512 * 1000;
    }
    bool has(unsigned bytes) const { return saved_ >= bytes * 1000; }
    void take(unsigned bytes) { saved_ -= bytes * 1000; }
    void take_back(unsigned bytes) { saved_ += bytes * 1000; }
    bool stalls() { return stall_ && random_() % 100 < stall_; }

private:
    unsigned rate_, stall_, saved_ = 0;
    std::mt19937 random_;
};

struct Region {
    std::vector<uint8_t> &bytes;
    uint32_t begin;
};

struct Traffic {
    std::string name;
    uint64_t bursts = 0, beats = 0, longest = 0;

    void print() const {
        std::printf("port %s %llu %llu %llu\n", name.c_str(), (unsigned long long)bursts, (unsigned long long)beats,
                    (unsigned long long)longest);
    }
};

struct Burst {
    uint32_t at;  // in the region
    unsigned left;
    uint64_t ready;
};

inline Burst checked(const Region &region, Traffic &traffic, uint32_t address, unsigned len, unsigned beat_bytes,
                     uint64_t ready) {
    const unsigned beats = len + 1;
    const uint64_t end = uint64_t(address) + uint64_t(beats) * beat_bytes;
    const std::string where = "a burst of '" + traffic.name + "' of " + std::to_string(beats) + " beats at byte "
                              + std::to_string(int64_t(address) - region.begin);
    if (address < region.begin || end > uint64_t(region.begin) + region.bytes.size()) fail(where + " leaves the memory");
    if (address % beat_bytes) fail(where + " is not aligned");
    if (beats > LONGEST_BURST) fail(where + ", expected at most " + std::to_string(LONGEST_BURST));
    if (address / 4096 != (end - 1) / 4096) fail(where + " crosses 4 KiB");
    traffic.bursts++;
    if (beats > traffic.longest) traffic.longest = beats;
    return {address - region.begin, beats, ready};
}

class ReadPort {
public:
    ReadPort(const char *name, Region &region, unsigned beat_bytes, uint64_t latency)
        : traffic{name}, region_(region), beat_bytes_(beat_bytes), latency_(latency) {}

    template <typename Bit>
    void drive(Memory &memory, uint64_t cycle, Bit &ar_ready, Bit &r_valid, Bit &r_last, void *r_data) {
        ready_ = !memory.stalls();
        // A beat that was offered stays until it is taken.
        if (!offered_ && !bursts_.empty() && bursts_.front().ready <= cycle && memory.has(beat_bytes_)
            && !memory.stalls()) {
            memory.take(beat_bytes_);
            offered_ = true;
        }
        ar_ready = ready_;
        r_valid = offered_;
        r_last = offered_ && bursts_.front().left == 1;
        if (offered_) std::memcpy(r_data, region_.bytes.data() + bursts_.front().at, beat_bytes_);
    }

    bool accept(Memory &, uint64_t cycle, bool ar_valid, uint32_t address, unsigned len, bool r_ready) {
        bool moved = false;
        if (offered_ && r_ready) {
            Burst &burst = bursts_.front();
            burst.at += beat_bytes_;
            traffic.beats++;
            if (--burst.left == 0) bursts_.pop_front();
            offered_ = false;
            moved = true;
        }
        if (ar_valid && ready_) {
            bursts_.push_back(checked(region_, traffic, address, len, beat_bytes_, cycle + latency_));
            moved = true;
        }
        return moved;
    }

    void at_end() const {
        if (!bursts_.empty()) fail("the engine ended while '" + traffic.name + "' was being read");
    }

    Traffic traffic;

private:
    Region &region_;
    unsigned beat_bytes_;
    uint64_t latency_;
    std::deque<Burst> bursts_;
    bool ready_ = false, offered_ = false;
};

class WritePort {
public:
    WritePort(const char *name, Region &region, unsigned beat_bytes, uint64_t latency)
        : traffic{name}, region_(region), beat_bytes_(beat_bytes), latency_(latency) {}

    template <typename Bit>
    void drive(Memory &memory, uint64_t cycle, Bit &aw_ready, Bit &w_ready, Bit &b_valid) {
        aw_ready_ = bursts_.size() < 4 && !memory.stalls();
        w_ready_ = !bursts_.empty() && memory.has(beat_bytes_) && !memory.stalls();
        if (w_ready_) memory.take(beat_bytes_);
        if (!acknowledges_) acknowledges_ = !written_.empty() && written_.front() <= cycle;
        aw_ready = aw_ready_;
        w_ready = w_ready_;
        b_valid = acknowledges_;
    }

    bool accept(Memory &memory, uint64_t cycle, bool aw_valid, uint32_t address, unsigned len, bool w_valid,
                bool w_last, const void *w_data, bool b_ready) {
        bool moved = false;
        if (acknowledges_ && b_ready) {
            written_.pop_front();
            acknowledges_ = false;
            moved = true;
        }
        if (w_ready_ && !w_valid) memory.take_back(beat_bytes_);
        if (w_ready_ && w_valid) {
            Burst &burst = bursts_.front();
            std::memcpy(region_.bytes.data() + burst.at, w_data, beat_bytes_);
            burst.at += beat_bytes_;
            traffic.beats++;
            if (w_last != (--burst.left == 0)) fail("the last beat of a burst of '" + traffic.name + "' is marked wrong");
            if (burst.left == 0) {
                bursts_.pop_front();
                written_.push_back(cycle + latency_);
            }
            moved = true;
        }
        if (aw_valid && aw_ready_) {
            bursts_.push_back(checked(region_, traffic, address, len, beat_bytes_, 0));
            moved = true;
        }
        return moved;
    }

    void at_end() const {
        if (!bursts_.empty() || !written_.empty()) fail("the engine ended while results were being written");
    }

    Traffic traffic;

private:
    Region &region_;
    unsigned beat_bytes_;
    uint64_t latency_;
    std::deque<Burst> bursts_;
    std::deque<uint64_t> written_;
    bool aw_ready_ = false, w_ready_ = false, acknowledges_ = false;
};

}  // namespace bus
