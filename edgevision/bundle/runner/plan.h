/* plan.txt, read strictly: see ../FORMAT.md for the one screen that defines it. */
#ifndef EV_PLAN_H
#define EV_PLAN_H

#include "abi.h"
#include "error.h"

#include <stddef.h>
#include <stdint.h>

enum { EV_FORMAT_VERSION = 2, EV_ALIGNMENT = 64, EV_MAX_DIMENSIONS = 8, EV_MAX_ARGUMENTS = 64, EV_MAX_FEATURES = 32 };

enum ev_place { EV_INPUT, EV_OUTPUT, EV_ARENA, EV_CONSTANT };

struct ev_tensor {
    enum ev_place place;
    uint64_t offset; /* bytes in the arena or in weights.bin; index of an input or output */
    uint64_t bytes;
    struct ev_dtype dtype;
    int ndim;
    int64_t shape[EV_MAX_DIMENSIONS];
};

struct ev_step {
    const char *symbol;
    const char *label;
    int count;
    int arguments[EV_MAX_ARGUMENTS];
};

struct ev_file {
    uint64_t bytes;
    const char *sha256;
};

/* Strings point into `text`, which the plan owns. */
struct ev_plan {
    char *text;
    const char *arch;
    int feature_count;
    const char *features[EV_MAX_FEATURES];
    const char *kernels_id;
    struct ev_file kernels; /* bytes 0: the kernels are inside the runner */
    struct ev_file weights;
    uint64_t arena_bytes;
    int tensor_count, input_count, output_count;
    int step_count, prepared_count; /* the first of the steps run once, on opening */
    struct ev_tensor *tensors;
    int *inputs, *outputs;
    struct ev_step *steps;
};

/* Read `path`; on an error the plan is left empty. */
int ev_plan_read(struct ev_plan *plan, const char *path, struct ev_error *error);
void ev_plan_free(struct ev_plan *plan);

#endif
