// The line buffer and what reads it: depthwise 3x3, plain or with a dilation per pixel; 3x3 maximum; im2col.
//
// Rows are banks. A column of three samples is one read of every bank at one address and three selections among the
// banks, so a dilation costs no more than an ordinary convolution: three columns are three cycles, whatever d is.
// A row stays for as long as the largest dilation of the layer (`reach`) can ask for it.
#pragma once
#include "types.h"

namespace engine {

enum SpatialMode { DEPTHWISE, MAXIMUM, IM2COL };

struct SpatialCall {
    bool from_pointwise, deformable;
    SpatialMode mode;
    ap_int<8> outside;          // what stands outside the frame
    int planes, reach, columns; // columns of the window, 3, or the 2 left ones (im2col)
    int row_stride, column_stride;
    int rows, width, rows_out, width_out;
};

inline SpatialCall read_spatial(Word head, DeepPackets &packets) {
    Word shape = packets.read(), size = packets.read();
    SpatialCall call;
    call.from_pointwise = head[1];
    call.deformable = head[2];
    call.mode = SpatialMode(int(head.range(5, 4)));
    call.outside = byte_of(head, 1);
    call.planes = head.range(31, 16);
    call.reach = head.range(35, 32);
    call.columns = head.range(37, 36);
    call.row_stride = head.range(43, 40);
    call.column_stride = head.range(47, 44);
    call.rows = shape.range(31, 0);
    call.width = shape.range(63, 32);
    call.rows_out = size.range(31, 0);
    call.width_out = size.range(63, 32);
    return call;
}

inline void spatial(DeepPackets &packets, Vectors &features, Vectors &pointwise, hls::stream<ap_uint<8>, 64> &dilations,
                    hls::stream<Sums, 32> &out) {
    static Vector line[LINE_ROWS][LINE_VECTORS];
#pragma HLS AGGREGATE variable=line compact=bit
#pragma HLS ARRAY_PARTITION variable=line dim=1 complete
#pragma HLS BIND_STORAGE variable=line type=ram_s2p impl=bram
    // [row of the window][3 plane + column]
    static Vector kernel[3][3 * MAX_PLANES];
#pragma HLS AGGREGATE variable=kernel compact=bit
#pragma HLS ARRAY_PARTITION variable=kernel dim=1 complete
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        const SpatialCall call = read_spatial(head, packets);
        if (call.mode == DEPTHWISE) {
            for (int index = 0; index < 3 * call.planes; index++) {
                for (int row = 0; row < 3; row++) kernel[row][index] = read_vector(packets);
            }
        }
        // Where the next vector goes, and which sample of which output is next.
        int row_in = 0, vector_in = 0;
        int row = 0, pixel = 0, plane = 0, column = 0, tap = 0;
        int d = 1;
        Sums sums;
        while (row < call.rows_out || row_in < call.rows) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=line inter false
            int centre = row * call.row_stride;
            int oldest = centre < call.reach ? 0 : centre - call.reach;
            int newest = centre + call.reach < call.rows ? centre + call.reach : call.rows - 1;
            bool work = row < call.rows_out;
            bool ready = work && row_in > newest;
            bool room = row_in < call.rows && (!work || row_in < oldest + LINE_ROWS);
            bool waiting = call.from_pointwise ? !pointwise.empty() : !features.empty();
            if (room && (waiting || !ready)) {
                line[row_in % LINE_ROWS][vector_in] = call.from_pointwise ? pointwise.read() : features.read();
                vector_in++;
                if (vector_in == call.width * call.planes) {
                    vector_in = 0;
                    row_in++;
                }
            }
            if (!ready) continue;

            bool first = column == 0 && tap == 0;
            if (first && plane == 0 && call.deformable) {
                ap_uint<8> asked = dilations.read();
                d = asked > LARGEST_DILATION ? LARGEST_DILATION : int(asked);
            }
            int x = pixel * call.column_stride + (column - 1) * d;
            bool in_row = x >= 0 && x < call.width;
            int address = in_row ? x * call.planes + plane : 0;
            Vector bank[LINE_ROWS];
            for (int index = 0; index < LINE_ROWS; index++) {
#pragma HLS UNROLL
                bank[index] = line[index][address];
            }
            Vector sample[3];
            for (int u = 0; u < 3; u++) {
#pragma HLS UNROLL
                int y = centre + (u - 1) * d;
                bool inside = in_row && y >= 0 && y < call.rows;
                for (int lane = 0; lane < LANES; lane++) {
#pragma HLS UNROLL
                    sample[u].lane[lane] = inside ? bank[y & (LINE_ROWS - 1)].lane[lane] : call.outside;
                }
            }
            for (int lane = 0; lane < LANES; lane++) {
#pragma HLS UNROLL
                ap_int<8> a = sample[0].lane[lane], b = sample[1].lane[lane], c = sample[2].lane[lane];
                if (call.mode == IM2COL) {
                    sums.lane[lane] = sample[tap].lane[lane];
                } else if (call.mode == MAXIMUM) {
                    ap_int<8> ab = a > b ? a : b;
                    ap_int<8> abc = ab > c ? ab : c;
                    sums.lane[lane] = first || sums.lane[lane] < abc ? Sum(abc) : sums.lane[lane];
                } else {
                    int index = 3 * plane + column;
                    Sum three = a * kernel[0][index].lane[lane] + b * kernel[1][index].lane[lane] +
                                c * kernel[2][index].lane[lane];
                    sums.lane[lane] = first ? three : Sum(sums.lane[lane] + three);
                }
            }

            bool last_tap = call.mode != IM2COL || tap == 2;
            bool last_column = last_tap && column == call.columns - 1;
            if (call.mode == IM2COL || last_column) out.write(sums);
            tap = last_tap ? 0 : tap + 1;
            if (last_tap) column = last_column ? 0 : column + 1;
            if (last_column) {
                plane++;
                if (plane == call.planes) {
                    plane = 0;
                    pixel++;
                }
                if (pixel == call.width_out) {
                    pixel = 0;
                    row++;
                }
            }
        }
    }
}

}  // namespace engine
