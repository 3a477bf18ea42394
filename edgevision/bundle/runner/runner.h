/* The walk: one plan, its kernels and weights, run step by step over one arena. Used by the command line (main.c), by
 * Python through ctypes and by a TVM RPC server (rpc_side.c). A program is used by one thread at a time. */
#ifndef EV_RUNNER_H
#define EV_RUNNER_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

struct ev_program;

struct ev_options {
    int threads;
    int flush_denormals;
    const int *cpus; /* NULL, or one CPU number per thread */
};

/* Read and check everything a run needs, before the first step: plan, hashes, CPU features, symbols, hooks; then run
 * the prepared steps, which are not among those that are counted and timed below. */
struct ev_program *ev_open(const char *folder, const struct ev_options *options, struct ev_error *error);
void ev_close(struct ev_program *program);

int ev_input_count(const struct ev_program *program);
int ev_output_count(const struct ev_program *program);
int ev_step_count(const struct ev_program *program);
uint64_t ev_arena_bytes(const struct ev_program *program);
const char *ev_step_label(const struct ev_program *program, int step);

/* Buffer of input or output `index`, 64-byte aligned, valid until ev_close. */
void *ev_input(struct ev_program *program, int index, uint64_t *bytes);
void *ev_output(struct ev_program *program, int index, uint64_t *bytes);

/* Buffer of any tensor of the plan, for debugging after ev_step. */
void *ev_tensor_data(struct ev_program *program, int tensor, uint64_t *bytes);

/* Run all steps, or one; 0 or an error code. */
int ev_run(struct ev_program *program, struct ev_error *error);
int ev_step(struct ev_program *program, int step, struct ev_error *error);

/* Run all steps and write the time of each, in nanoseconds, to ns[0 .. ev_step_count). */
int ev_run_timed(struct ev_program *program, uint64_t *ns, struct ev_error *error);

/* Run `warmup` times untimed, then `repeat` times, writing the time of each run to ns[0 .. repeat). */
int ev_repeat(struct ev_program *program, int warmup, int repeat, uint64_t *ns, struct ev_error *error);

uint64_t ev_now_ns(void);

#endif
