// Reads the program, one linear run of memory, and hands each packet to the process it is for (hw/PROGRAM.md).
//
// The program is read in the order it is used, so whatever fits into the FIFOs and the weight memory is there before
// the layer that needs it begins: weights and parameters are double buffered without a second copy of anything.
#pragma once
#include "ahead.h"
#include "types.h"

namespace engine {

// Receivers of packets, as numbered in the program.
enum Receiver { LOAD, ARRANGE, DILATION, SPATIAL, SPATIAL_SCALE, POINTWISE, WEIGHTS, POINTWISE_SCALE, COLLECT, STORE };

inline void fetch(hls::burst_maxi<Word> program, ap_uint<32> words, hls::stream<Word, 64> &out) {
    Ahead requests;
#pragma HLS ARRAY_PARTITION variable=requests.length complete
    requests.begin((words + BURST_BEATS - 1) / BURST_BEATS);
    ap_uint<32> asked = 0;
    while (requests.more()) {
#pragma HLS PIPELINE II=1
        bool reads = requests.reads();
        if (requests.asks()) {
            ap_uint<32> left = words - asked;
            int beats = left < BURST_BEATS ? int(left) : BURST_BEATS;
            program.read_request(asked, beats);
            requests.ask(beats);
            asked += beats;
        }
        if (!reads) continue;
        out.write(program.read());
        requests.read();
    }
}

inline void dispatch(ap_uint<32> words, hls::stream<Word, 64> &in, Packets &load, Packets &arrange, Packets &dilation,
                     DeepPackets &spatial, DeepPackets &spatial_scale, Packets &pointwise,
                     hls::stream<Word, 64> &weights, DeepPackets &pointwise_scale, Packets &collect, Packets &store) {
    ap_uint<4> receiver = 0;
    ap_uint<32> left = 0;
    for (ap_uint<32> index = 0; index < words; index++) {
#pragma HLS PIPELINE II=1
        Word word = in.read();
        if (left == 0) {
            receiver = word.range(3, 0);
            left = word.range(63, 32);
            continue;
        }
        left--;
        switch (int(receiver)) {
            case LOAD: load.write(word); break;
            case ARRANGE: arrange.write(word); break;
            case DILATION: dilation.write(word); break;
            case SPATIAL: spatial.write(word); break;
            case SPATIAL_SCALE: spatial_scale.write(word); break;
            case POINTWISE: pointwise.write(word); break;
            case WEIGHTS: weights.write(word); break;
            case POINTWISE_SCALE: pointwise_scale.write(word); break;
            case COLLECT: collect.write(word); break;
            case STORE: store.write(word); break;
        }
    }
    load.write(END);
    arrange.write(END);
    dilation.write(END);
    spatial.write(END);
    spatial_scale.write(END);
    pointwise.write(END);
    pointwise_scale.write(END);
    collect.write(END);
    store.write(END);
}

}  // namespace engine
