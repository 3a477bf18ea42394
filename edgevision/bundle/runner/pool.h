/* Threads that live as long as the program and share the slices of a T.parallel loop. */
#ifndef EV_POOL_H
#define EV_POOL_H

#include "abi.h"
#include "error.h"

enum { EV_MAX_THREADS = 256 };

struct ev_pool;

/* Start `threads` - 1 workers; the caller is the first. `cpus` is NULL or names one CPU per thread. */
struct ev_pool *ev_pool_open(int threads, const int *cpus, int flush_denormals, struct ev_error *error);
void ev_pool_close(struct ev_pool *pool);

/* Make `pool` (or NULL) the one that kernels called from this thread use. */
void ev_pool_use(struct ev_pool *pool);

/* The two hooks of a T.parallel loop. `tasks` 0 means one slice per thread. */
int ev_parallel_launch(ev_slice slice, void *data, int tasks);
int ev_parallel_barrier(int task, struct ev_group *group);

#endif
