#define _GNU_SOURCE
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* getrusage would also count the parent before exec; VmHWM is this program alone. */
static uint64_t peak_rss_bytes(void)
{
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %" SCNu64, &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

static void print_list(const char *name, const uint64_t *values, size_t count)
{
    printf("%s[", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%" PRIu64, i ? "," : "", values[i]);
    printf("]");
}

void ev_print_json(const struct ev_timing *t)
{
    size_t repeat = (size_t)t->repeat, steps = (size_t)t->steps;
    printf("{\"schema\":\"edgevision.runner/1\",\"samples\":%" PRIu64 ",\"threads\":%d,\"arena_bytes\":%" PRIu64
           ",\"peak_rss_bytes\":%" PRIu64 ",\"init_ns\":%" PRIu64 ",\"first_ns\":%" PRIu64 ",",
           t->samples, t->threads, t->arena_bytes, peak_rss_bytes(), t->init_ns, t->first_ns);
    print_list("\"run_ns\":", t->run_ns, repeat);
    printf(",\"steps\":[");
    for (size_t i = 0; steps && i < repeat; i++)
        print_list(i ? "," : "", t->step_ns + i * steps, steps);
    printf("]}\n");
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void ev_print_text(struct ev_timing *t)
{
    printf("%" PRIu64 " samples, init %.3f ms, first run %.3f ms", t->samples, (double)t->init_ns * 1e-6,
           (double)t->first_ns * 1e-6);
    if (t->repeat) {
        qsort(t->run_ns, (size_t)t->repeat, sizeof *t->run_ns, ascending);
        printf(", median of %d runs %.3f ms", t->repeat, (double)t->run_ns[t->repeat / 2] * 1e-6);
    }
    printf(", %d threads, arena %" PRIu64 " bytes\n", t->threads, t->arena_bytes);
}
