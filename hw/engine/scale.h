// Requantisation (quant/INTEGER_NETWORKS.md): t = ((P multiplier + 2^(n-1)) >> n) + bias, q = clamp(t - offset, low, high).
//
// A ReLU needs nothing here: it goes with zero point -128, where the clamp to -128 is the same thing.
// SCALE_LANES multipliers take PARTS cycles for a vector.
#pragma once
#include "types.h"

namespace engine {

const int PARTS = LANES / SCALE_LANES;

struct ScaleCall {
    bool to_store;
    int planes, kept;  // whose numbers take turns, and the first of them that go on
    int vectors;
    int shift, offset;
    ap_int<8> low, high;
};

inline ap_int<8> scaled(Sum sum, ap_int<16> multiplier, ap_int<16> bias, const ScaleCall &call) {
#pragma HLS INLINE
    ap_int<48> product = sum * multiplier;
#pragma HLS BIND_OP variable=product op=mul impl=dsp
    ap_int<48> half = (ap_int<48>(1) << call.shift) >> 1;
    ap_int<48> shifted = ((product + half) >> call.shift) + bias - call.offset;
    return shifted < call.low ? call.low : shifted > call.high ? call.high : ap_int<8>(shifted);
}

// GROUP vectors come as one `In`.
template <int GROUP, typename In, int DEPTH>
void requantise(DeepPackets &packets, hls::stream<In, DEPTH> &in, Vectors &to_other, Vectors &to_store) {
    // [plane and part of it][lane of the part]
    static ap_int<16> multiplier[MAX_PLANES * PARTS][SCALE_LANES], bias[MAX_PLANES * PARTS][SCALE_LANES];
#pragma HLS ARRAY_RESHAPE variable=multiplier dim=2 complete
#pragma HLS ARRAY_RESHAPE variable=bias dim=2 complete
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        Word more = packets.read();
        ScaleCall call;
        call.to_store = head[1];
        call.planes = head.range(31, 16);
        call.vectors = head.range(63, 32);
        call.shift = more.range(7, 0);
        call.offset = more.range(15, 8);
        call.kept = more.range(47, 32);
        call.low = byte_of(more, 2);
        call.high = byte_of(more, 3);
        for (int plane = 0; plane < call.planes; plane++) {
            for (int index = 0; index < 2 * LANES; index += 4) {
#pragma HLS PIPELINE II=1
                Word word = packets.read();
                for (int quarter = 0; quarter < 4; quarter++) {
#pragma HLS UNROLL
                    ap_int<16> value = word.range(16 * quarter + 15, 16 * quarter);
                    int lane = index % LANES + quarter;
                    int row = plane * PARTS + lane / SCALE_LANES;
                    if (index < LANES)
                        multiplier[row][lane % SCALE_LANES] = value;
                    else
                        bias[row][lane % SCALE_LANES] = value;
                }
            }
        }
        int plane = 0, part = 0, step = 0;
        In sums;
        Vector done;
        // One loop, so that a vector does not wait for the pipeline to empty.
        for (int index = 0; index < call.vectors * PARTS; index++) {
#pragma HLS PIPELINE II=1
            if (part == 0 && step == 0) sums = in.read();
            int row = plane * PARTS + step;
            for (int lane = 0; lane < SCALE_LANES; lane++) {
#pragma HLS UNROLL
                Sum sum = sums.lane[part * LANES + step * SCALE_LANES + lane];
                done.lane[step * SCALE_LANES + lane] = scaled(sum, multiplier[row][lane], bias[row][lane], call);
            }
            step++;
            if (step < PARTS) continue;
            step = 0;
            // The last columns of the 1x1 array may be no channels of the layer.
            if (plane < call.kept) {
                if (call.to_store)
                    to_store.write(done);
                else
                    to_other.write(done);
            }
            part = part + 1 == GROUP ? 0 : part + 1;
            plane = plane + 1 == call.planes ? 0 : plane + 1;
        }
    }
}

}  // namespace engine
