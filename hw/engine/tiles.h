// Between the order of memory (plane by plane, so that bursts are long) and the order of computing (pixel by pixel).
//
// One tile is filled while the one before it is emptied.
#pragma once
#include "types.h"

namespace engine {

// A walk over the vectors of one tile, plane by plane, through memory that holds them pixel by pixel.
struct PlaneWalk {
    int pixel, plane, address;

    void next(int pixels, int planes) {
#pragma HLS INLINE
        pixel++;
        address += planes;
        if (pixel == pixels) {
            pixel = 0;
            plane++;
            address = plane;
        }
    }
};

// From planes to pixels; a plane that is read twice in each direction gives every other pixel from the one before.
inline void arrange(Packets &packets, Vectors &in, Vectors &to_spatial, Vectors &to_pointwise) {
    static Vector tiles[2][TILE_VECTORS];
#pragma HLS AGGREGATE variable=tiles compact=bit
#pragma HLS ARRAY_PARTITION variable=tiles dim=1 complete
    bool twice[MAX_PLANES];
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        bool spatial = head[1];
        int planes = head.range(31, 16), tile = head.range(47, 32);
        Word size = packets.read();
        int rows = size.range(31, 0), width = size.range(63, 32);
        Word flags = 0;
        for (int plane = 0; plane < planes; plane++) {
#pragma HLS PIPELINE II=1
            if (plane % 64 == 0) flags = packets.read();
            twice[plane] = flags[plane % 64];
        }
        int row = 0, first = 0, emptied = 0;
        bool side = false;
        // One more step than there are tiles: the last one only empties.
        while (row < rows || emptied > 0) {
            int left = row < rows ? width - first : 0;
            int pixels = left < tile ? left : tile;
            int filled = pixels * planes;
            int longest = filled > emptied ? filled : emptied;
            PlaneWalk walk = {0, 0, 0};
            Vector vector;
            for (int index = 0; index < longest; index++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=tiles inter false
                if (index < filled) {
                    if (!twice[walk.plane] || walk.pixel % 2 == 0) vector = in.read();
                    tiles[side][walk.address] = vector;
                    walk.next(pixels, planes);
                }
                if (index < emptied) {
                    Vector done = tiles[!side][index];
                    if (spatial)
                        to_spatial.write(done);
                    else
                        to_pointwise.write(done);
                }
            }
            emptied = filled;
            side = !side;
            first += tile;
            if (first >= width) {
                first = 0;
                row++;
            }
        }
    }
}

// From pixels to planes.
inline void collect(Packets &packets, Vectors &from_spatial, Vectors &from_pointwise, Vectors &out) {
    static Vector tiles[2][TILE_VECTORS];
#pragma HLS AGGREGATE variable=tiles compact=bit
#pragma HLS ARRAY_PARTITION variable=tiles dim=1 complete
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        bool spatial = head[1];
        int planes = head.range(31, 16), tile = head.range(47, 32);
        int left = packets.read().range(31, 0);
        int pixels_before = 0, emptied = 0;
        bool side = false;
        while (left > 0 || emptied > 0) {
            int pixels = left < tile ? left : tile;
            int filled = pixels * planes;
            int longest = filled > emptied ? filled : emptied;
            PlaneWalk walk = {0, 0, 0};
            for (int index = 0; index < longest; index++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=tiles inter false
                if (index < filled) tiles[side][index] = spatial ? from_spatial.read() : from_pointwise.read();
                if (index < emptied) {
                    out.write(tiles[!side][walk.address]);
                    walk.next(pixels_before, planes);
                }
            }
            pixels_before = pixels;
            emptied = filled;
            side = !side;
            left -= pixels;
        }
    }
}

}  // namespace engine
