/* The runner of a bundle for the engine: the command line, files and answer of main.c, with the engine in place of kernels. */
#define _GNU_SOURCE
#include "engine_border.h"
#include "engine_hardware.h"
#include "options.h"
#include "report.h"
#include "runner.h"
#include "sha256.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    struct ev_command command;
    struct ev_engine_plan plan;
    struct ev_hardware hardware;
    float *image;
    uint8_t *output;
    size_t image_bytes, output_bytes;
    FILE *samples;
    struct ev_timing timing;
};

static int load_program(struct session *s, struct ev_error *error)
{
    char path[512], hex[65];
    uint64_t bytes;
    snprintf(path, sizeof path, "%s/%s", s->command.folder, s->plan.program_file);
    char *content = ev_read_file(path, s->plan.program_bytes, &bytes, error);
    if (!content)
        return error->code;
    ev_sha256_hex(content, (size_t)bytes, hex);
    /* A program of this hash was checked word by word when the bundle was made. */
    if (bytes != s->plan.program_bytes || strcmp(hex, s->plan.program_sha256))
        ev_fail(error, EV_MISMATCH, "expected the program %.12s of %" PRIu64 " bytes, got %.12s of %" PRIu64 ": %s",
                s->plan.program_sha256, s->plan.program_bytes, hex, bytes, path);
    else if (!ev_hardware_load(&s->plan, s->command.folder, error) &&
             !ev_hardware_open(&s->hardware, &s->plan, error))
        memcpy(s->hardware.memory.at, content + s->plan.program_offset, (size_t)s->plan.words * 8);
    free(content);
    return error->code;
}

static int open_session(struct session *s, struct ev_error *error)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", s->command.folder, s->command.layers ? "layers.txt" : "engine.txt");
    if (ev_engine_plan_read(&s->plan, path, error))
        return error->code;
    const struct ev_stored *image = &s->plan.image;
    s->image_bytes = (size_t)image->channels * image->height * image->width * sizeof(float);
    for (uint32_t i = 0; i < s->plan.output_count; i++)
        s->output_bytes += ev_output_bytes(&s->plan.outputs[i]);
    if (!(s->image = ev_allocate(s->image_bytes)) || !(s->output = ev_allocate(s->output_bytes)))
        return ev_fail(error, EV_MEMORY, "no memory for an image and its outputs");
    return load_program(s, error);
}

static int next_sample(struct session *s, struct ev_error *error)
{
    if (s->samples && fread(s->image, 1, s->image_bytes, s->samples) != s->image_bytes)
        return ev_fail(error, EV_USAGE, "the file ended early or could not be read: %s", s->command.input);
    return 0;
}

/* One inference; `ns`, where given, has a value for the image, each call and the results. */
static int infer(struct session *s, uint64_t *ns, struct ev_error *error)
{
    struct ev_hardware *hw = &s->hardware;
    uint64_t before = ev_now_ns(), now;
    ev_image_write(&s->plan, s->image, ev_hardware_maps(hw));
    if (ns) {
        *ns++ = (now = ev_now_ns()) - before;
        for (uint32_t i = 0; i < s->plan.call_count; i++) {
            before = now;
            if (ev_hardware_run(hw, s->plan.first[i], s->plan.count[i], 1, error))
                return error->code;
            *ns++ = (now = ev_now_ns()) - before;
        }
        before = now;
    } else if (ev_hardware_run(hw, 0, s->plan.words, s->plan.call_count, error))
        return error->code;
    uint8_t *into = s->output;
    for (uint32_t i = 0; i < s->plan.output_count; into += ev_output_bytes(&s->plan.outputs[i++]))
        ev_output_read(&s->plan, &s->plan.outputs[i], ev_hardware_maps(hw), into);
    if (ns)
        *ns = ev_now_ns() - before;
    return 0;
}

static int run_samples(struct session *s, struct ev_error *error)
{
    uint64_t bytes = s->image_bytes;
    FILE *file = NULL;
    if (s->command.input && !(s->samples = ev_open_file(s->command.input, &bytes, error)))
        return error->code;
    if (!bytes || bytes % s->image_bytes)
        return ev_fail(error, EV_USAGE, "expected a multiple of %zu bytes (one sample), got %" PRIu64 ": %s",
                       s->image_bytes, bytes, s->command.input);
    s->timing.samples = bytes / s->image_bytes;
    if (s->command.output && !(file = fopen(s->command.output, "wbe")))
        return ev_fail(error, EV_USAGE, "cannot write %s: %s", s->command.output, strerror(errno));
    int unwritten = 0;
    for (uint64_t i = 0; i < s->timing.samples && !unwritten && !error->code; i++) {
        uint64_t start = ev_now_ns();
        if (next_sample(s, error) || infer(s, NULL, error))
            break;
        if (i == 0)
            s->timing.first_ns = ev_now_ns() - start;
        unwritten = file && fwrite(s->output, 1, s->output_bytes, file) != s->output_bytes;
    }
    if (file && fclose(file))
        unwritten = 1;
    return unwritten ? ev_fail(error, EV_USAGE, "cannot write %s: %s", s->command.output, strerror(errno)) : error->code;
}

static int time_runs(struct session *s, struct ev_error *error)
{
    size_t repeat = (size_t)s->command.repeat, steps = s->plan.call_count + 2;
    struct ev_timing *t = &s->timing;
    t->repeat = s->command.repeat;
    t->steps = s->command.steps ? (int)steps : 0;
    t->run_ns = calloc(repeat + 1, sizeof *t->run_ns);
    t->step_ns = calloc((s->command.steps ? repeat : 0) * steps + 1, sizeof *t->step_ns);
    if (!t->run_ns || !t->step_ns)
        return ev_fail(error, EV_MEMORY, "no memory for the times of %zu runs", repeat);
    if (s->samples)
        rewind(s->samples);
    if (!repeat || next_sample(s, error))
        return error->code;
    for (int i = -s->command.warmup; i < s->command.repeat; i++) {
        uint64_t start = ev_now_ns();
        if (infer(s, NULL, error))
            return error->code;
        if (i >= 0)
            t->run_ns[i] = ev_now_ns() - start;
    }
    for (size_t i = 0; s->command.steps && i < repeat; i++)
        if (infer(s, t->step_ns + i * steps, error))
            return error->code;
    return 0;
}

static int run(struct session *s, struct ev_error *error)
{
    uint64_t start = ev_now_ns();
    if (open_session(s, error))
        return error->code;
    s->timing.init_ns = ev_now_ns() - start;
    s->timing.threads = 1;
    s->timing.arena_bytes = s->plan.map_bytes;
    if (run_samples(s, error) || time_runs(s, error))
        return error->code;
    s->command.json ? ev_print_json(&s->timing) : ev_print_text(&s->timing);
    return fflush(stdout) ? ev_fail(error, EV_USAGE, "cannot write the result: %s", strerror(errno)) : 0;
}

int main(int count, char **words)
{
    struct session session = {0};
    struct ev_error error = {0};
    int status = ev_command_read(&session.command, count, words, &error) || run(&session, &error) ? error.code : 0;
    if (status)
        fprintf(stderr, "runner: %s\n", error.text);
    ev_hardware_close(&session.hardware);
    ev_engine_plan_free(&session.plan);
    if (session.samples)
        fclose(session.samples);
    free(session.image);
    free(session.output);
    free(session.timing.run_ns);
    free(session.timing.step_ns);
    return status;
}
