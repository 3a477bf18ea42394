/* What a runner says when it ends: one JSON line, or a sentence. */
#ifndef EV_REPORT_H
#define EV_REPORT_H

#include <stdint.h>

struct ev_timing {
    uint64_t samples, arena_bytes, init_ns, first_ns;
    int threads, repeat;
    int steps;                   /* times in step_ns for each repeat; 0 where steps were not timed */
    uint64_t *run_ns, *step_ns;
};

void ev_print_json(const struct ev_timing *timing);
void ev_print_text(struct ev_timing *timing); /* sorts run_ns */

#endif
