/* The command line of the runner. */
#ifndef EV_OPTIONS_H
#define EV_OPTIONS_H

#include "error.h"
#include "pool.h"

struct ev_command {
    const char *folder, *input, *output;
    int threads, warmup, repeat;
    int steps, json, flush_denormals, layers;
    int cpu_count;
    int cpus[EV_MAX_THREADS];
};

extern const char ev_usage[];

int ev_command_read(struct ev_command *command, int count, char **words, struct ev_error *error);

#endif
