// Feature maps between memory and the engine, in bursts of at most BURST_BEATS.
//
// A map lies in memory as planes of LANES channels: pixel by pixel, LANES bytes each, planes anywhere. Channels are
// therefore concatenated, split and shuffled by the plane addresses in a packet and by the order of weights; no map
// is ever copied for it.
#pragma once
#include "types.h"

namespace engine {

typedef hls::stream<bool, 16> Tokens;

// Address of a plane and, in bit 0, whether it is read twice in each direction.
typedef ap_uint<32> PlaneEntry;

inline ap_uint<32> axi_index(PlaneEntry entry) {
#pragma HLS INLINE
    return (entry >> 4) * (128 / AXI_BITS);
}

inline void read_planes(Packets &packets, PlaneEntry table[MAX_PLANES], int planes) {
    for (int pair = 0; pair < planes; pair += 2) {
#pragma HLS PIPELINE II=2
        Word word = packets.read();
        table[pair] = word.range(31, 0);
        if (pair + 1 < planes) table[pair + 1] = word.range(63, 32);
    }
}

// Tile by tile and plane by plane, at most `tile` pixels of one row at once.
inline void load(const AxiWord *memory, Packets &packets, Tokens &stored, Tokens &dilation_may, Vectors &out) {
    PlaneEntry table[MAX_PLANES];
    ap_uint<32> begun = 0, finished = 0;
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        int planes = head.range(31, 16), tile = head.range(47, 32);
        ap_uint<16> ahead = head.range(63, 48);
        Word size = packets.read();
        int rows = size.range(31, 0), width = size.range(63, 32);
        read_planes(packets, table, planes);
        // What this call reads was written by a call at least `ahead` + 1 before it.
        while (finished + ahead < begun) {
            stored.read();
            finished++;
        }
        begun++;
        if (head[1]) dilation_may.write(true);
        for (int row = 0; row < rows; row++) {
            for (int first = 0; first < width; first += tile) {
                int pixels = width - first < tile ? width - first : tile;
                for (int plane = 0; plane < planes; plane++) {
                    PlaneEntry entry = table[plane];
                    bool twice = entry[0];
                    int pixel = twice ? (row / 2) * (width / 2) + first / 2 : row * width + first;
                    int beats = (twice ? pixels / 2 : pixels) * VECTOR_BEATS;
                    ap_uint<32> begin = axi_index(entry) + pixel * VECTOR_BEATS;
                    ENGINE_CHECK_BURST("features", memory, begin, beats);
                    Vector vector;
                    for (int beat = 0; beat < beats; beat++) {
#pragma HLS PIPELINE II=1
                        AxiWord word = memory[begin + beat];
                        int part = beat % VECTOR_BEATS;
                        for (int index = 0; index < AXI_BITS / 8; index++) {
#pragma HLS UNROLL
                            vector.lane[part * (AXI_BITS / 8) + index] =
                                ap_int<8>(word.range(8 * index + 7, 8 * index));
                        }
                        if (part == VECTOR_BEATS - 1) out.write(vector);
                    }
                }
            }
        }
    }
    while (finished < begun) {
        stored.read();
        finished++;
    }
}

// The dilation of every output pixel: one lane of one plane.
inline void load_dilations(const AxiWord *memory, Packets &packets, Tokens &may, hls::stream<ap_uint<8>, 64> &out) {
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        int lane = head.range(15, 8), tile = head.range(47, 32);
        Word where = packets.read();
        int pixels = where.range(31, 0);
        ap_uint<32> begin = axi_index(where.range(63, 32));
        may.read();
        int part = lane / (AXI_BITS / 8), index = lane % (AXI_BITS / 8);
        for (int first = 0; first < pixels; first += tile) {
            int count = pixels - first < tile ? pixels - first : tile;
            ENGINE_CHECK_BURST("dilations", memory, begin + first * VECTOR_BEATS, count * VECTOR_BEATS);
            for (int beat = 0; beat < count * VECTOR_BEATS; beat++) {
#pragma HLS PIPELINE II=1
                AxiWord word = memory[begin + first * VECTOR_BEATS + beat];
                if (beat % VECTOR_BEATS == part) out.write(ap_uint<8>(word >> (8 * index)));
            }
        }
    }
}

// Tile by tile and plane by plane, to memory; `stored` tells the loader that the call's planes are there.
inline void store(AxiWord *memory, Packets &packets, Vectors &in, Tokens &stored, ap_uint<32> &finished) {
    PlaneEntry table[MAX_PLANES];
    ap_uint<32> calls = 0;
    finished = 0;
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        int planes = head.range(31, 16), tile = head.range(47, 32);
        int pixels = packets.read().range(31, 0);
        read_planes(packets, table, planes);
        for (int first = 0; first < pixels; first += tile) {
            int count = pixels - first < tile ? pixels - first : tile;
            for (int plane = 0; plane < planes; plane++) {
                ap_uint<32> begin = axi_index(table[plane]) + first * VECTOR_BEATS;
                ENGINE_CHECK_BURST("results", memory, begin, count * VECTOR_BEATS);
                Vector vector;
                for (int beat = 0; beat < count * VECTOR_BEATS; beat++) {
#pragma HLS PIPELINE II=1
                    int part = beat % VECTOR_BEATS;
                    if (part == 0) vector = in.read();
                    AxiWord word;
                    for (int index = 0; index < AXI_BITS / 8; index++) {
#pragma HLS UNROLL
                        word.range(8 * index + 7, 8 * index) = vector.lane[part * (AXI_BITS / 8) + index];
                    }
                    memory[begin + beat] = word;
                }
            }
        }
        calls++;
        finished = calls;
        stored.write(true);
    }
}

}  // namespace engine
