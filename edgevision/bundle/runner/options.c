#include "options.h"

#include <stdlib.h>
#include <string.h>

const char ev_usage[] =
    "runner FOLDER [options]\n"
    "  --input FILE         raw little-endian inputs, one sample behind the other; zeros when absent\n"
    "  --output FILE        where the raw outputs of every sample go\n"
    "  --threads N          threads of parallel loops (1)\n"
    "  --cpus A,B,...       keep thread i on the i-th of these CPUs\n"
    "  --warmup N           untimed runs before the timed ones (3)\n"
    "  --repeat N           timed runs (0)\n"
    "  --steps              as many runs again, timing each step\n"
    "  --layers             bundles of the engine: the output of every layer, as bytes\n"
    "  --flush-denormals    treat denormal floats as zero: faster on some cores, no longer bit-exact\n"
    "  --json               one JSON object on stdout instead of text\n";

static int whole(const char *word, int low, int high, int *value)
{
    char *end;
    long wide = strtol(word, &end, 10);
    if (!*word || *end || wide < low || wide > high)
        return -1;
    *value = (int)wide;
    return 0;
}

static int cpu_list(struct ev_command *command, const char *words)
{
    while (command->cpu_count < EV_MAX_THREADS) {
        char *end;
        long cpu = strtol(words, &end, 10);
        if (end == words || cpu < 0 || cpu > 4095)
            return -1;
        command->cpus[command->cpu_count++] = (int)cpu;
        if (!*end)
            return 0;
        if (*end != ',')
            return -1;
        words = end + 1;
    }
    return -1;
}

/* 1 when `name` is a switch, which takes no value. */
static int read_switch(struct ev_command *command, const char *name)
{
    struct {
        const char *name;
        int *flag;
    } known[] = {{"--steps", &command->steps},
                 {"--json", &command->json},
                 {"--layers", &command->layers},
                 {"--flush-denormals", &command->flush_denormals}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name))
            return *known[i].flag = 1;
    return 0;
}

static int read_value(struct ev_command *command, const char *name, const char *value, struct ev_error *error)
{
    int wrong = 0;
    if (!value)
        return ev_fail(error, EV_USAGE, "expected a value after '%s', or an unknown option\n%s", name, ev_usage);
    if (!strcmp(name, "--input"))
        command->input = value;
    else if (!strcmp(name, "--output"))
        command->output = value;
    else if (!strcmp(name, "--threads"))
        wrong = whole(value, 1, EV_MAX_THREADS, &command->threads);
    else if (!strcmp(name, "--warmup"))
        wrong = whole(value, 0, 1000000, &command->warmup);
    else if (!strcmp(name, "--repeat"))
        wrong = whole(value, 0, 1000000, &command->repeat);
    else if (!strcmp(name, "--cpus"))
        wrong = cpu_list(command, value);
    else
        return ev_fail(error, EV_USAGE, "unknown option '%s'\n%s", name, ev_usage);
    return wrong ? ev_fail(error, EV_USAGE, "'%s' is not a value of %s\n%s", value, name, ev_usage) : 0;
}

int ev_command_read(struct ev_command *command, int count, char **words, struct ev_error *error)
{
    *command = (struct ev_command){.threads = 1, .warmup = 3};
    error->code = 0;
    for (int i = 1; i < count; i++) {
        if (words[i][0] != '-' && !command->folder)
            command->folder = words[i];
        else if (!read_switch(command, words[i])) {
            if (read_value(command, words[i], i + 1 < count ? words[i + 1] : NULL, error))
                return error->code;
            i++;
        }
    }
    if (!command->folder)
        return ev_fail(error, EV_USAGE, "expected the folder of a bundle\n%s", ev_usage);
    if (command->cpu_count && command->cpu_count != command->threads)
        return ev_fail(error, EV_USAGE, "expected one CPU for each of the %d threads, got %d", command->threads,
                       command->cpu_count);
    return 0;
}
