// The 1x1 array: LANES inputs times COLUMNS outputs a cycle, two int8 x int4 products in each DSP48E1.
//
// (w1 << 17) + w0 is made by the DSP's pre-adder and multiplied by the byte both outputs share; a product of int8 and
// a 5-bit weight has 12 bits, so LANES <= 32 of them stay within the 17 bits that are w0's. What w0's sum borrows from
// w1's is its sign, which is added back once per pair.
// 8-bit weights are two passes over the same pixel: the signed high halves, times 16, then the unsigned low halves.
//
// The weight memory is a ring. While one call computes, the weights of the next fill what it does not use.
#pragma once
#include "types.h"

namespace engine {

typedef ap_uint<ROW_BITS> WeightRow;  // LANES weights of one output channel

struct WeightRing {
    WeightRow rows[COLUMNS][WEIGHT_BLOCKS];
    int ahead;    // whole blocks that are there and were not released
    int block;    // block that is being filled
    int column, part;
    WeightRow row;
};

inline void fill(WeightRing &ring, Word word) {
#pragma HLS INLINE
    if (ROW_WORDS == 1) {
        ring.row = WeightRow(word);
    } else {
        ring.row = (ring.row >> 64) | (WeightRow(word) << (ROW_BITS - 64));
    }
    ring.part++;
    if (ring.part < ROW_WORDS) return;
    ring.part = 0;
    ring.rows[ring.column][ring.block] = ring.row;
    ring.column++;
    if (ring.column < COLUMNS) return;
    ring.column = 0;
    ring.block = (ring.block + 1) % WEIGHT_BLOCKS;
    ring.ahead++;
}

// Widths matter to synthesis alone: two packed weights have 22 bits, and a simulation's integers hold the same numbers.
#ifdef ENGINE_CSIM
typedef int Packed;
typedef int Product;
typedef long long Cascade;
typedef int Byte;
#else
typedef ap_int<25> Packed;
typedef ap_int<33> Product;
typedef ap_int<48> Cascade;
typedef ap_int<8> Byte;
#endif

// Weight `lane` of a row: signed, or without a sign in the low halves of 8-bit weights.
inline int weight_of(WeightRow row, int lane, bool is_signed) {
#pragma HLS INLINE
    const int bits = (row >> (4 * lane)).to_uint() & 15;
    return is_signed && bits > 7 ? bits - 16 : bits;
}

// Sums of products of one pixel and two output channels.
inline void two_products(const Vector &x, WeightRow row0, WeightRow row1, bool is_signed, Sum &sum0, Sum &sum1) {
#pragma HLS INLINE
    Cascade cascade = 0;
    for (int lane = 0; lane < LANES; lane++) {
#pragma HLS UNROLL
        const Packed high = weight_of(row1, lane, is_signed) * (1 << 17);
        const Packed both = high + weight_of(row0, lane, is_signed);
        const Product product = both * Byte(x.lane[lane]);
#pragma HLS BIND_OP variable=product op=mul impl=dsp
        cascade += product;
    }
    const ap_int<17> low = cascade;
    sum0 = low;
    sum1 = (cascade >> 17) + ap_uint<1>(cascade >> 16);
}

inline void pointwise(Packets &packets, hls::stream<Word, 64> &weights, Vectors &features, Vectors &spatial,
                      hls::stream<ColumnSums, 16> &out) {
    static WeightRing ring;
#pragma HLS ARRAY_PARTITION variable=ring.rows dim=1 complete
#pragma HLS BIND_STORAGE variable=ring.rows type=ram_s2p impl=bram
    static Vector pixels[2][MAX_GROUPS];
#pragma HLS AGGREGATE variable=pixels compact=bit
#pragma HLS ARRAY_PARTITION variable=pixels dim=1 complete
    ring.ahead = 0;
    ring.block = 0;
    ring.column = 0;
    ring.part = 0;
    int base = 0;
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        bool from_spatial = head[1], halves = head[2];
        int groups = head.range(31, 16), outputs = head.range(47, 32);
        int count = packets.read().range(31, 0);
        int steps = groups * outputs * (halves ? 2 : 1);
        while (ring.ahead < steps) {
#pragma HLS PIPELINE II=1
            fill(ring, weights.read());
        }
        for (int group = 0; group < groups; group++) {
#pragma HLS PIPELINE II=1
            pixels[0][group] = from_spatial ? spatial.read() : features.read();
        }
        ColumnSums sums;
#pragma HLS ARRAY_PARTITION variable=sums.lane complete
        int pixel = 0, step = 0, group = 0;
        bool low = false;
        // One loop over pixels and blocks, so that a pixel does not wait for the pipeline to empty.
        for (int index = 0; index < count * steps; index++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=pixels inter false
#pragma HLS DEPENDENCE variable=ring.rows inter false
            if (step < groups && pixel + 1 < count)
                pixels[(pixel + 1) % 2][step] = from_spatial ? spatial.read() : features.read();
            // The ring holds WEIGHT_BLOCKS; the one being filled is none of those in use.
            if (ring.ahead < WEIGHT_BLOCKS && !weights.empty()) fill(ring, weights.read());

            const Vector x = pixels[pixel % 2][group];
            int address = (base + step) % WEIGHT_BLOCKS;
            for (int pair = 0; pair < COLUMNS / 2; pair++) {
#pragma HLS UNROLL
                Sum add[2];
                two_products(x, ring.rows[2 * pair][address], ring.rows[2 * pair + 1][address], !low, add[0],
                             add[1]);
                for (int side = 0; side < 2; side++) {
#pragma HLS UNROLL
                    Sum before = sums.lane[2 * pair + side];
                    if (group == 0) before = low ? Sum(before << 4) : Sum(0);
                    sums.lane[2 * pair + side] = before + add[side];
                }
            }
            group++;
            if (group == groups) {
                group = 0;
                if (low || !halves) out.write(sums);
                low = halves && !low;
            }
            step++;
            if (step == steps) {
                step = 0;
                pixel++;
            }
        }
        base = (base + steps) % WEIGHT_BLOCKS;
        ring.ahead -= steps;
    }
}

}  // namespace engine
