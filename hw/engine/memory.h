// Feature maps between memory and the engine, in bursts of at most BURST_BEATS.
//
// A map lies in memory as planes of LANES channels: pixel by pixel, LANES bytes each, planes anywhere. Channels are
// therefore concatenated, split and shuffled by the plane addresses in a packet and by the order of weights; no map
// is ever copied for it.
#pragma once
#include "ahead.h"
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

// The bursts of one call: tile by tile and plane by plane, at most `tile` pixels of one row at once.
struct TileWalk {
    int width, tile, planes;
    int first, plane;       // pixel of the row, and plane
    bool odd;               // row
    int whole, half, line;  // pixel of a plane, of a plane that is read twice, and where the latter's row begins

    void begin(int row_width, int tile_pixels, int plane_count) {
#pragma HLS INLINE
        width = row_width;
        tile = tile_pixels;
        planes = plane_count;
        first = plane = whole = half = line = 0;
        odd = false;
    }

    int pixels() const { return width - first < tile ? width - first : tile; }

    void next() {
#pragma HLS INLINE
        plane++;
        if (plane < planes) return;
        plane = 0;
        whole += pixels();
        half += pixels() / 2;
        first += tile;
        if (first < width) return;
        first = 0;
        if (odd)
            line = half;
        else
            half = line;
        odd = !odd;
    }
};

inline void load(hls::burst_maxi<AxiWord> memory, Packets &packets, Tokens &stored, Tokens &dilation_may, Vectors &out) {
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
        TileWalk walk;
        walk.begin(width, tile, planes);
        Ahead requests;
#pragma HLS ARRAY_PARTITION variable=requests.length complete
        requests.begin(rows * ((width + tile - 1) / tile) * planes);
        Vector vector;
        int part = 0;
        while (requests.more()) {
#pragma HLS PIPELINE II=1
            bool reads = requests.reads();
            if (requests.asks()) {
                PlaneEntry entry = table[walk.plane];
                int pixels = entry[0] ? walk.pixels() / 2 : walk.pixels();
                ap_uint<32> pixel = entry[0] ? walk.half : walk.whole;
                memory.read_request(axi_index(entry) + pixel * VECTOR_BEATS, pixels * VECTOR_BEATS);
                requests.ask(pixels * VECTOR_BEATS);
                walk.next();
            }
            if (!reads) continue;
            AxiWord word = memory.read();
            requests.read();
            for (int index = 0; index < AXI_BITS / 8; index++) {
#pragma HLS UNROLL
                vector.lane[part * (AXI_BITS / 8) + index] = ap_int<8>(word.range(8 * index + 7, 8 * index));
            }
            part++;
            if (part < VECTOR_BEATS) continue;
            part = 0;
            out.write(vector);
        }
    }
    while (finished < begun) {
        stored.read();
        finished++;
    }
}

// The dilation of every output pixel: one lane of one plane.
inline void load_dilations(hls::burst_maxi<AxiWord> memory, Packets &packets, Tokens &may,
                           hls::stream<ap_uint<8>, 64> &out) {
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        int lane = head.range(15, 8), tile = head.range(47, 32);
        Word where = packets.read();
        int pixels = where.range(31, 0);
        ap_uint<32> next = axi_index(where.range(63, 32));
        may.read();
        int wanted = lane / (AXI_BITS / 8), index = lane % (AXI_BITS / 8);
        Ahead requests;
#pragma HLS ARRAY_PARTITION variable=requests.length complete
        requests.begin((pixels + tile - 1) / tile);
        int left = pixels, part = 0;
        while (requests.more()) {
#pragma HLS PIPELINE II=1
            bool reads = requests.reads();
            if (requests.asks()) {
                int beats = (left < tile ? left : tile) * VECTOR_BEATS;
                memory.read_request(next, beats);
                requests.ask(beats);
                next += beats;
                left -= tile;
            }
            if (!reads) continue;
            AxiWord word = memory.read();
            requests.read();
            if (part == wanted) out.write(ap_uint<8>(word >> (8 * index)));
            part = part + 1 == VECTOR_BEATS ? 0 : part + 1;
        }
    }
}

// Tile by tile and plane by plane, to memory; `stored` tells the loader that the call's planes are there.
inline void store(hls::burst_maxi<AxiWord> memory, Packets &packets, Vectors &in, Tokens &stored,
                  ap_uint<32> &finished) {
    PlaneEntry table[MAX_PLANES];
    ap_uint<32> calls = 0;
    finished = 0;
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        int planes = head.range(31, 16), tile = head.range(47, 32);
        int pixels = packets.read().range(31, 0);
        read_planes(packets, table, planes);
        TileWalk walk;
        walk.begin(pixels, tile, planes);
        int bursts = (pixels + tile - 1) / tile * planes;
        int beat = 0, beats = 0, part = 0, unanswered = 0;
        Vector vector;
        while (bursts > 0) {
#pragma HLS PIPELINE II=1
            if (beat == 0) {
                beats = walk.pixels() * VECTOR_BEATS;
                memory.write_request(axi_index(table[walk.plane]) + walk.whole * VECTOR_BEATS, beats);
                walk.next();
                unanswered++;
            }
            if (part == 0) vector = in.read();
            AxiWord word;
            for (int index = 0; index < AXI_BITS / 8; index++) {
#pragma HLS UNROLL
                word.range(8 * index + 7, 8 * index) = vector.lane[part * (AXI_BITS / 8) + index];
            }
            memory.write(word);
            part = part + 1 == VECTOR_BEATS ? 0 : part + 1;
            beat++;
            if (beat < beats) continue;
            beat = 0;
            bursts--;
            // Of the oldest burst, which was answered long ago.
            if (unanswered == WRITES_AHEAD) {
                memory.write_response();
                unanswered--;
            }
        }
        while (unanswered > 0) {
            memory.write_response();
            unanswered--;
        }
        calls++;
        finished = calls;
        stored.write(true);
    }
}

}  // namespace engine
