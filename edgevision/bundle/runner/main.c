#define _GNU_SOURCE
#include "cpu.h"
#include "options.h"
#include "report.h"
#include "runner.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    struct ev_command command;
    struct ev_program *program;
    FILE *samples; /* NULL: one sample of zeros */
    struct ev_timing timing;
};

static int open_samples(struct session *s, struct ev_error *error)
{
    uint64_t bytes, sample = 0, one;
    s->timing.samples = 1;
    for (int i = 0; i < ev_input_count(s->program); i++) {
        ev_input(s->program, i, &one);
        sample += one;
    }
    if (!s->command.input)
        return 0;
    if (!(s->samples = ev_open_file(s->command.input, &bytes, error)))
        return error->code;
    if (!bytes || bytes % sample)
        return ev_fail(error, EV_USAGE, "expected a multiple of %" PRIu64 " bytes (one sample), got %" PRIu64 ": %s",
                       sample, bytes, s->command.input);
    s->timing.samples = bytes / sample;
    return 0;
}

/* Samples are read one by one, straight into the program's input: there may be more of them than memory. */
static int next_sample(struct session *s, struct ev_error *error)
{
    for (int i = 0; s->samples && i < ev_input_count(s->program); i++) {
        uint64_t bytes;
        void *input = ev_input(s->program, i, &bytes);
        if (fread(input, 1, (size_t)bytes, s->samples) != bytes)
            return ev_fail(error, EV_USAGE, "the file ended early or could not be read: %s", s->command.input);
    }
    return 0;
}

static int give_output(struct session *s, FILE *file)
{
    for (int i = 0; file && i < ev_output_count(s->program); i++) {
        uint64_t bytes;
        void *output = ev_output(s->program, i, &bytes);
        if (fwrite(output, 1, (size_t)bytes, file) != bytes)
            return -1;
    }
    return 0;
}

static int run_samples(struct session *s, struct ev_error *error)
{
    FILE *file = NULL;
    const char *path = s->command.output;
    if (path && !(file = fopen(path, "wbe")))
        return ev_fail(error, EV_USAGE, "cannot write %s: %s", path, strerror(errno));
    int status = 0, unwritten = 0;
    for (uint64_t i = 0; i < s->timing.samples && !status && !unwritten; i++) {
        if ((status = next_sample(s, error)))
            break;
        uint64_t start = ev_now_ns();
        status = ev_run(s->program, error);
        if (i == 0)
            s->timing.first_ns = ev_now_ns() - start;
        if (!status)
            unwritten = give_output(s, file);
    }
    if (file && fclose(file))
        unwritten = 1;
    return unwritten ? ev_fail(error, EV_USAGE, "cannot write %s: %s", path, strerror(errno)) : status;
}

static int time_runs(struct session *s, struct ev_error *error)
{
    size_t repeat = (size_t)s->command.repeat, steps = (size_t)ev_step_count(s->program);
    s->timing.run_ns = calloc(repeat + 1, sizeof *s->timing.run_ns);
    s->timing.step_ns = calloc((s->command.steps ? repeat : 0) * steps + 1, sizeof *s->timing.step_ns);
    if (!s->timing.run_ns || !s->timing.step_ns)
        return ev_fail(error, EV_MEMORY, "no memory for the times of %zu runs", repeat);
    if (s->samples)
        rewind(s->samples);
    if (next_sample(s, error))
        return error->code;
    if (repeat && ev_repeat(s->program, s->command.warmup, s->command.repeat, s->timing.run_ns, error))
        return error->code;
    for (size_t i = 0; s->command.steps && i < repeat; i++)
        if (ev_run_timed(s->program, s->timing.step_ns + i * steps, error))
            return error->code;
    return 0;
}

static int run(struct session *s, struct ev_error *error)
{
    struct ev_command *c = &s->command;
    if (c->layers)
        return ev_fail(error, EV_USAGE, "--layers is for bundles of the engine");
    if (c->cpu_count && ev_cpu_pin(c->cpus[0]))
        return ev_fail(error, EV_USAGE, "CPU %d cannot be used here", c->cpus[0]);
    struct ev_options options = {
        .threads = c->threads, .flush_denormals = c->flush_denormals, .cpus = c->cpu_count ? c->cpus : NULL};
    uint64_t start = ev_now_ns();
    if (!(s->program = ev_open(c->folder, &options, error)))
        return error->code;
    s->timing.init_ns = ev_now_ns() - start;
    if (open_samples(s, error) || run_samples(s, error) || time_runs(s, error))
        return error->code;
    s->timing.threads = c->threads;
    s->timing.repeat = c->repeat;
    s->timing.steps = c->steps ? ev_step_count(s->program) : 0;
    s->timing.arena_bytes = ev_arena_bytes(s->program);
    c->json ? ev_print_json(&s->timing) : ev_print_text(&s->timing);
    return fflush(stdout) ? ev_fail(error, EV_USAGE, "cannot write the result: %s", strerror(errno)) : 0;
}

int main(int count, char **words)
{
    struct session session = {0};
    struct ev_error error = {0};
    int status = ev_command_read(&session.command, count, words, &error) || run(&session, &error) ? error.code : 0;
    if (status)
        fprintf(stderr, "runner: %s\n", error.text);
    ev_close(session.program);
    if (session.samples)
        fclose(session.samples);
    free(session.timing.run_ns);
    free(session.timing.step_ns);
    return status;
}
