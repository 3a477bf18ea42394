#include "engine_plan.h"

#include "storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20, MAX_COUNT = 1 << 16, MAX_SIZE = 1 << 14, MAX_CALLS = 1 << 16 };
#define MAX_MAPS ((uint64_t)1 << 29)

#if defined(__x86_64__)
#define OWN_ARCH "x86_64"
#elif defined(__aarch64__)
#define OWN_ARCH "aarch64"
#else
#define OWN_ARCH "armv7"
#endif

struct words {
    const char *path;
    char *at;
    int count;
    struct ev_error *error;
};

static int wrong(struct words *w, const char *expected, const char *got)
{
    return ev_fail(w->error, EV_USAGE, "expected %s, got '%.60s' (%s word %d)", expected, got ? got : "the end", w->path,
                   w->count);
}

static char *next(struct words *w)
{
    char *word = w->at;
    if (!word || !*word)
        return NULL;
    size_t size = strcspn(word, " \n");
    w->at = word[size] ? word + size + 1 : word + size;
    word[size] = 0;
    w->count++;
    return word;
}

static int keyword(struct words *w, const char *name)
{
    char *word = next(w);
    return word && !strcmp(word, name) ? 0 : wrong(w, name, word);
}

static int number(struct words *w, const char *what, uint64_t low, uint64_t high, uint64_t *value)
{
    char *word = next(w), expected[96], *end;
    snprintf(expected, sizeof expected, "%s from %" PRIu64 " to %" PRIu64, what, low, high);
    if (!word || *word < '0' || *word > '9' || strlen(word) > 19)
        return wrong(w, expected, word);
    *value = strtoull(word, &end, 10);
    return *end || *value < low || *value > high ? wrong(w, expected, word) : 0;
}

static int small(struct words *w, const char *what, uint64_t low, uint64_t high, uint32_t *value)
{
    uint64_t wide = 0;
    int status = number(w, what, low, high, &wide);
    *value = (uint32_t)wide;
    return status;
}

static int text(struct words *w, const char *what, char *into, size_t room, size_t exactly)
{
    char *word = next(w);
    if (!word || !*word || strlen(word) >= room || (exactly && strlen(word) != exactly))
        return wrong(w, what, word);
    strcpy(into, word);
    return 0;
}

static void *room(struct words *w, uint64_t count, size_t size)
{
    void *memory = calloc((size_t)count + 1, size);
    if (!memory)
        ev_fail(w->error, EV_MEMORY, "no memory for %" PRIu64 " numbers of %s", count, w->path);
    return memory;
}

/* shape, quantisation, planes and channels; every plane has to lie inside the maps */
static int stored(struct words *w, struct ev_stored *s, const struct ev_engine_plan *plan, uint32_t cells)
{
    char word[32];
    uint32_t zero;
    if (small(w, "channels", 1, MAX_SIZE, &s->channels) || small(w, "a height", 1, MAX_SIZE, &s->height) ||
        small(w, "a width", 1, MAX_SIZE, &s->width) || text(w, "real or raw", word, sizeof word, 0))
        return w->error->code;
    s->real = !strcmp(word, "real");
    if (!s->real && strcmp(word, "raw"))
        return wrong(w, "real or raw", word);
    if (small(w, "a zero point plus 128", 0, 255, &zero) || text(w, "a scale", word, sizeof word, 0))
        return w->error->code;
    s->zero = (int)zero - 128;
    char *end;
    s->scale = strtof(word, &end);
    if (*end || !(s->scale > 0))
        return wrong(w, "a scale above 0", word);
    if (keyword(w, "planes") || small(w, "planes", 1, MAX_COUNT, &s->plane_count))
        return w->error->code;
    if (!(s->address = room(w, s->plane_count, sizeof *s->address)) || !(s->twice = room(w, s->plane_count, 1)) ||
        !(s->plane = room(w, s->channels, sizeof *s->plane)) || !(s->lane = room(w, s->channels, sizeof *s->lane)))
        return w->error->code;
    for (uint32_t i = 0; i < s->plane_count; i++) {
        uint32_t twice;
        if (small(w, "an address", 0, plan->map_bytes, &s->address[i]) || small(w, "0 or 1", 0, 1, &twice))
            return w->error->code;
        s->twice[i] = (uint8_t)twice;
        uint64_t columns = cells ? (s->width + cells - 1) / cells : s->width;
        uint64_t bytes = (uint64_t)s->height * columns * plan->lanes / (twice ? 4 : 1);
        if (s->address[i] + bytes > plan->map_bytes || (twice && (s->height % 2 || s->width % 2)))
            return ev_fail(w->error, EV_USAGE, "a plane of %" PRIu64 " bytes at %" PRIu32 " leaves the maps (%s)", bytes,
                           s->address[i], w->path);
    }
    if (keyword(w, "channels"))
        return w->error->code;
    for (uint32_t i = 0; i < s->channels; i++)
        if (small(w, "a plane", 0, s->plane_count - 1, &s->plane[i]) ||
            small(w, "a lane", 0, plan->lanes - 1, &s->lane[i]))
            return w->error->code;
    return 0;
}

static int head(struct words *w, struct ev_engine_plan *p)
{
    char arch[16];
    if (keyword(w, "edgevision-engine") || keyword(w, "1") || keyword(w, "arch") ||
        text(w, "an architecture", arch, sizeof arch, 0))
        return w->error->code;
    if (strcmp(arch, OWN_ARCH))
        return ev_fail(w->error, EV_UNSUPPORTED, "expected a bundle for %s, got one for %s", OWN_ARCH, arch);
    if (keyword(w, "bitstream") || text(w, "a fingerprint", p->fingerprint, sizeof p->fingerprint, 8) ||
        number(w, "bytes", 0, 64 << 20, &p->bitstream_bytes) ||
        text(w, "a sha256", p->bitstream_sha256, sizeof p->bitstream_sha256, 64) || keyword(w, "registers") ||
        number(w, "an address", 0, UINT32_MAX, &p->registers) ||
        number(w, "bytes of registers", 0, 1 << 20, &p->register_bytes))
        return w->error->code;
    if (keyword(w, "program") || text(w, "a file name", p->program_file, sizeof p->program_file, 0) ||
        number(w, "bytes", 1, MAX_MAPS, &p->program_bytes) ||
        text(w, "a sha256", p->program_sha256, sizeof p->program_sha256, 64) ||
        number(w, "an offset", 0, p->program_bytes, &p->program_offset) ||
        small(w, "words", 1, (p->program_bytes - p->program_offset) / 8, &p->words))
        return w->error->code;
    if (strchr(p->program_file, '/'))
        return wrong(w, "a plain file name", p->program_file);
    if (keyword(w, "calls") || small(w, "calls", 1, MAX_CALLS, &p->call_count))
        return w->error->code;
    if (!(p->first = room(w, p->call_count, sizeof *p->first)) || !(p->count = room(w, p->call_count, sizeof *p->count)))
        return w->error->code;
    for (uint32_t i = 0, at = 0; i < p->call_count; at += p->count[i++]) {
        if (small(w, "words of a call", 1, p->words - at, &p->count[i]))
            return w->error->code;
        p->first[i] = at;
    }
    return 0;
}

static int body(struct words *w, struct ev_engine_plan *p)
{
    uint32_t outside;
    if (keyword(w, "lanes") || small(w, "lanes", 1, 64, &p->lanes) || keyword(w, "maps") ||
        small(w, "bytes of maps", 1, MAX_MAPS, &p->map_bytes) || keyword(w, "image") ||
        small(w, "cells", 0, 16, &p->cells) || small(w, "a byte plus 128", 0, 255, &outside))
        return w->error->code;
    p->outside = (int)outside - 128;
    if (stored(w, &p->image, p, p->cells) || keyword(w, "outputs") ||
        small(w, "outputs", 1, 4096, &p->output_count) ||
        !(p->outputs = room(w, p->output_count, sizeof *p->outputs)))
        return w->error->code;
    if (p->cells && (p->image.channels > 4 || p->image.plane_count != 1 || p->cells * 4 != p->lanes))
        return ev_fail(w->error, EV_USAGE, "expected cells of 4 slots in one plane (%s)", w->path);
    for (uint32_t i = 0; i < p->output_count; i++)
        if (keyword(w, "output") || stored(w, &p->outputs[i], p, 0))
            return w->error->code;
    return keyword(w, "end") || next(w) ? wrong(w, "nothing after end", "more") : 0;
}

int ev_engine_plan_read(struct ev_engine_plan *plan, const char *path, struct ev_error *error)
{
    uint64_t bytes;
    memset(plan, 0, sizeof *plan);
    char *content = ev_read_file(path, MAX_TEXT, &bytes, error);
    if (!content)
        return error->code;
    struct words words = {.path = path, .at = content, .error = error};
    error->code = 0;
    if (memchr(content, 0, (size_t)bytes))
        ev_fail(error, EV_USAGE, "expected text, got a zero byte (%s)", path);
    else if (!head(&words, plan))
        body(&words, plan);
    free(content);
    return error->code;
}

static void stored_free(struct ev_stored *s)
{
    free(s->address);
    free(s->twice);
    free(s->plane);
    free(s->lane);
}

void ev_engine_plan_free(struct ev_engine_plan *plan)
{
    stored_free(&plan->image);
    for (uint32_t i = 0; plan->outputs && i < plan->output_count; i++)
        stored_free(&plan->outputs[i]);
    free(plan->outputs);
    free(plan->first);
    free(plan->count);
}
