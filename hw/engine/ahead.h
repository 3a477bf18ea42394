// Requests to memory that run ahead of the beats they bring, so that the memory's latency passes once a call and not
// once a burst.
#pragma once
#include "types.h"

namespace engine {

// The bursts of one run through memory: how many were asked for, how many have been read, and the beats of those between.
struct Ahead {
    int bursts, asked, taken;
    int beat;
    int length[READS_AHEAD];

    void begin(int count) {
#pragma HLS INLINE
        bursts = count;
        asked = taken = beat = 0;
    }

    bool more() const { return taken < bursts; }

    // Whether another burst is to be asked for in this cycle.
    bool asks() const { return asked < bursts && asked - taken < READS_AHEAD; }

    // Whether a beat is to be read in this cycle: not before all requests that may be ahead have been made.
    bool reads() const { return asked == bursts || asked - taken >= READS_AHEAD - 1; }

    void ask(int beats) {
#pragma HLS INLINE
        length[asked % READS_AHEAD] = beats;
        asked++;
    }

    void read() {
#pragma HLS INLINE
        beat++;
        if (beat < length[taken % READS_AHEAD]) return;
        beat = 0;
        taken++;
    }
};

}  // namespace engine
