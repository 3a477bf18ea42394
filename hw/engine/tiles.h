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

// The tiles of rows of `width` pixels, one after another: how many pixels and vectors the next one has.
struct Tiles {
    int per_row, tile, last_tile, full, last;
    int left, column;
    int pixels, vectors;

    void begin(int rows, int width, int tile_pixels, int planes) {
#pragma HLS INLINE
        tile = tile_pixels;
        per_row = (width + tile - 1) / tile;
        last_tile = width - (per_row - 1) * tile;
        full = tile * planes;
        last = last_tile * planes;
        left = rows * per_row;
        column = 0;
        look();
    }

    void next() {
#pragma HLS INLINE
        left--;
        column = column + 1 == per_row ? 0 : column + 1;
        look();
    }

    void look() {
#pragma HLS INLINE
        bool ends = column == per_row - 1;
        pixels = ends ? last_tile : tile;
        vectors = left <= 0 ? 0 : ends ? last : full;
    }
};

// From planes to pixels; a plane that is read twice in each direction gives every other pixel from the one before.
inline void arrange(Packets &packets, Vectors &in, Vectors &to_spatial, Vectors &to_pointwise) {
    static Vector memory[2][TILE_VECTORS];
#pragma HLS AGGREGATE variable=memory compact=bit
#pragma HLS ARRAY_PARTITION variable=memory dim=1 complete
    bool twice[MAX_PLANES];
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        bool spatial = head[1];
        int planes = head.range(31, 16), tile = head.range(47, 32);
        Word size = packets.read();
        Word flags = 0;
        for (int plane = 0; plane < planes; plane++) {
#pragma HLS PIPELINE II=1
            if (plane % 64 == 0) flags = packets.read();
            twice[plane] = flags[plane % 64];
        }
        Tiles tiles;
        tiles.begin(size.range(31, 0), size.range(63, 32), tile, planes);
        int emptied = 0, index = 0;
        bool side = false;
        PlaneWalk walk = {0, 0, 0};
        Vector vector;
        // One loop over all tiles; the last one is only emptied.
        while (tiles.vectors > 0 || emptied > 0) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=memory inter false
            if (index < tiles.vectors) {
                if (!twice[walk.plane] || walk.pixel % 2 == 0) vector = in.read();
                memory[side][walk.address] = vector;
                walk.next(tiles.pixels, planes);
            }
            if (index < emptied) {
                Vector done = memory[!side][index];
                if (spatial)
                    to_spatial.write(done);
                else
                    to_pointwise.write(done);
            }
            index++;
            if (index >= tiles.vectors && index >= emptied) {
                emptied = tiles.vectors;
                tiles.next();
                side = !side;
                index = 0;
                walk = {0, 0, 0};
            }
        }
    }
}

// From pixels to planes.
inline void collect(Packets &packets, Vectors &from_spatial, Vectors &from_pointwise, Vectors &out) {
    static Vector memory[2][TILE_VECTORS];
#pragma HLS AGGREGATE variable=memory compact=bit
#pragma HLS ARRAY_PARTITION variable=memory dim=1 complete
    while (true) {
        Word head = packets.read();
        if (head == END) break;
        bool spatial = head[1];
        int planes = head.range(31, 16), tile = head.range(47, 32);
        Tiles tiles;
        tiles.begin(1, packets.read().range(31, 0), tile, planes);
        int pixels_before = 0, emptied = 0, index = 0;
        bool side = false;
        PlaneWalk walk = {0, 0, 0};
        while (tiles.vectors > 0 || emptied > 0) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=memory inter false
            if (index < tiles.vectors) memory[side][index] = spatial ? from_spatial.read() : from_pointwise.read();
            if (index < emptied) {
                out.write(memory[!side][walk.address]);
                walk.next(pixels_before, planes);
            }
            index++;
            if (index >= tiles.vectors && index >= emptied) {
                pixels_before = tiles.pixels;
                emptied = tiles.vectors;
                tiles.next();
                side = !side;
                index = 0;
                walk = {0, 0, 0};
            }
        }
    }
}

}  // namespace engine
