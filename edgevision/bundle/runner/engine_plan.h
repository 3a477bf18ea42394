/* engine.txt (FORMAT.md): where a program of the engine, its image and its results lie. */
#ifndef EV_ENGINE_PLAN_H
#define EV_ENGINE_PLAN_H

#include "error.h"

#include <stdint.h>

struct ev_stored {
    uint32_t channels, height, width;
    int real; /* float32 for whoever runs it; otherwise bytes as they are */
    int zero;
    float scale;
    uint32_t plane_count;
    uint32_t *address; /* of each plane, from the start of the maps */
    uint8_t *twice;    /* whether its pixels stand for two by two */
    uint32_t *plane, *lane; /* of each channel */
};

struct ev_engine_plan {
    char fingerprint[9];
    uint64_t bitstream_bytes;
    char bitstream_sha256[65];
    uint64_t registers, register_bytes;
    char program_file[64];
    uint64_t program_bytes, program_offset;
    char program_sha256[65];
    uint32_t words, call_count;
    uint32_t *first, *count; /* words of each call */
    uint32_t lanes, map_bytes;
    uint32_t cells; /* pixels that share a vector of the image, or 0 */
    int outside;
    struct ev_stored image;
    uint32_t output_count;
    struct ev_stored *outputs;
};

int ev_engine_plan_read(struct ev_engine_plan *plan, const char *path, struct ev_error *error);
void ev_engine_plan_free(struct ev_engine_plan *plan);

#endif
