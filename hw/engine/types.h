// What travels between the processes of the engine. Sizes come from engine_config.h, generated from a target.
#pragma once
#include <ap_int.h>
#include <hls_burst_maxi.h>
#include <hls_stream.h>

#include "engine_config.h"

// Macro arguments inside a pragma need _Pragma.
#define ENGINE_TEXT(x) #x
#define ENGINE_PRAGMA(x) _Pragma(ENGINE_TEXT(x))

// Bursts that are asked for and not read, and that are written and not answered. At most twice as many are under way on
// the bus, because its adapter makes two of a burst across 4 KiB. Macros, because they stand in pragmas.
#define READS_AHEAD 8
#define WRITES_AHEAD 8
#define BUS_AHEAD 16

namespace engine {

typedef ap_uint<64> Word;           // of the program
typedef ap_uint<AXI_BITS> AxiWord;  // of feature maps in memory
typedef ap_int<SUM_BITS> Sum;

// One pixel of one plane: LANES channels.
struct Vector {
    ap_int<8> lane[LANES];
};

// Sums of products of one pixel of one plane, before requantisation.
struct Sums {
    Sum lane[LANES];
};

// Sums of one step of the 1x1 array: COLUMNS output channels.
struct ColumnSums {
    Sum lane[COLUMNS];
};

const int WORD_LANES = 8;                        // int8 in a Word
const int VECTOR_WORDS = LANES / WORD_LANES;     // Words of one int8 Vector
const int VECTOR_BEATS = LANES * 8 / AXI_BITS;   // AxiWords of one Vector
const int ROW_BITS = LANES * 4;                  // weights of one output channel and one plane
const int ROW_WORDS = (ROW_BITS + 63) / 64;      // Words of the same
const int LARGEST_DILATION = 7;                  // what LINE_ROWS rows can serve

typedef hls::stream<Word, 64> Packets;           // configuration of one process
typedef hls::stream<Word, 512> DeepPackets;      // the same with the numbers of a layer, fetched ahead
typedef hls::stream<Vector, 32> Vectors;

// Every packet for a process begins with a Word whose bit 0 is set; END ends the program.
const int END = 0;

inline ap_int<8> byte_of(Word word, int index) {
#pragma HLS INLINE
    return ap_int<8>(word.range(8 * index + 7, 8 * index));
}

inline Vector read_vector(hls::stream<Word, 512> &packets) {
#pragma HLS INLINE
    Vector vector;
    for (int part = 0; part < VECTOR_WORDS; part++) {
        Word word = packets.read();
        for (int index = 0; index < WORD_LANES; index++) {
#pragma HLS UNROLL
            vector.lane[part * WORD_LANES + index] = byte_of(word, index);
        }
    }
    return vector;
}

}  // namespace engine
