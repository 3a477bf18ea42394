#include "plan.h"

#include "storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLAN_BYTES = 64 << 20, MAX_COUNT = 1 << 20 };

struct reader {
    const char *path;
    char *at, *end;
    char *word; /* rest of the current line */
    int line;
    struct ev_error *error;
};

static const struct {
    const char *name;
    struct ev_dtype dtype;
} dtypes[] = {
    {"float32", {2, 32, 1}}, {"uint8", {1, 8, 1}},   {"int8", {0, 8, 1}},    {"int32", {0, 32, 1}},
    {"int64", {0, 64, 1}},   {"bool", {6, 8, 1}},    {"uint16", {1, 16, 1}}, {"int16", {0, 16, 1}},
    {"uint32", {1, 32, 1}},  {"uint64", {1, 64, 1}}, {"float16", {2, 16, 1}},
};

static int wrong(struct reader *r, const char *expected, const char *got)
{
    return ev_fail(r->error, EV_USAGE, "expected %s, got '%.80s' (%s line %d)", expected, got ? got : "end of line",
                   r->path, r->line);
}

static int next_line(struct reader *r, const char *expected)
{
    r->line++;
    char *end = r->at < r->end ? memchr(r->at, '\n', (size_t)(r->end - r->at)) : NULL;
    if (!end)
        return wrong(r, expected, "end of file");
    *end = 0;
    r->word = r->at;
    r->at = end + 1;
    return 0;
}

/* The next word of the line, words being separated by exactly one space; NULL at its end. */
static char *next_word(struct reader *r)
{
    char *word = r->word;
    if (!word || !*word)
        return NULL;
    char *space = strchr(word, ' ');
    if (space)
        *space = 0;
    r->word = space ? space + 1 : NULL;
    return word;
}

static int keyword(struct reader *r, const char *name)
{
    if (next_line(r, name))
        return r->error->code;
    char *word = next_word(r);
    return word && !strcmp(word, name) ? 0 : wrong(r, name, word);
}

static int number(struct reader *r, const char *what, uint64_t limit, uint64_t *value)
{
    char expected[96], *word = next_word(r);
    snprintf(expected, sizeof expected, "%s from 0 to %" PRIu64, what, limit);
    *value = 0;
    if (!word || !*word)
        return wrong(r, expected, word);
    for (const char *c = word; *c; c++) {
        if (*c < '0' || *c > '9' || *value > (UINT64_MAX - 9) / 10)
            return wrong(r, expected, word);
        *value = *value * 10 + (uint64_t)(*c - '0');
    }
    return *value > limit ? wrong(r, expected, word) : 0;
}

static int count(struct reader *r, const char *what, int limit, int *value)
{
    uint64_t wide;
    if (number(r, what, (uint64_t)limit, &wide))
        return r->error->code;
    *value = (int)wide;
    return 0;
}

static int end_of_line(struct reader *r)
{
    return r->word ? wrong(r, "end of line", r->word) : 0;
}

static int hex_word(struct reader *r, const char **value)
{
    char *word = next_word(r);
    if (!word || strlen(word) != 64 || strspn(word, "0123456789abcdef") != 64)
        return wrong(r, "64 lower-case hex digits", word);
    *value = word;
    return 0;
}

static int file_line(struct reader *r, const char *name, struct ev_file *file)
{
    return keyword(r, name) || number(r, "a size", SIZE_MAX / 4, &file->bytes) || hex_word(r, &file->sha256) ||
           end_of_line(r);
}

static int head(struct reader *r, struct ev_plan *plan)
{
    uint64_t version;
    if (keyword(r, "edgevision-plan") || number(r, "a format version", 1 << 16, &version) || end_of_line(r))
        return r->error->code;
    if (version != EV_FORMAT_VERSION)
        return ev_fail(r->error, EV_UNSUPPORTED,
                       "expected plan format %d, got %" PRIu64 " (%s): use the runner that came with the bundle",
                       EV_FORMAT_VERSION, version, r->path);
    if (keyword(r, "arch") || !(plan->arch = next_word(r)) || end_of_line(r))
        return r->error->code ? r->error->code : wrong(r, "an architecture", NULL);
    if (keyword(r, "requires"))
        return r->error->code;
    for (char *word; (word = next_word(r));) {
        if (plan->feature_count == EV_MAX_FEATURES)
            return wrong(r, "at most 32 CPU features", word);
        plan->features[plan->feature_count++] = word;
    }
    if (keyword(r, "kernels") || hex_word(r, &plan->kernels_id) || end_of_line(r))
        return r->error->code;
    return file_line(r, "kernels.so", &plan->kernels) || file_line(r, "weights.bin", &plan->weights) ||
           keyword(r, "arena") || number(r, "a size", SIZE_MAX / 4, &plan->arena_bytes) || end_of_line(r);
}

/* Bytes of the tensor; no product may pass a quarter of the address space. */
static int size_of(struct reader *r, struct ev_tensor *tensor)
{
    tensor->bytes = (uint64_t)(tensor->dtype.bits + 7) / 8;
    for (int i = 0; i < tensor->ndim; i++) {
        uint64_t length;
        if (number(r, "a dimension", INT32_MAX, &length))
            return r->error->code;
        if (length < 1 || tensor->bytes > SIZE_MAX / 4 / length)
            return wrong(r, "a tensor of at least 1 element that fits in memory", "another shape");
        tensor->shape[i] = (int64_t)length;
        tensor->bytes *= length;
    }
    return end_of_line(r);
}

static int place_of(struct reader *r, const struct ev_plan *plan, struct ev_tensor *tensor)
{
    static const char *const names[] = {"input", "output", "arena", "constant"};
    char *word = next_word(r);
    for (int i = 0; i < 4; i++) {
        if (word && !strcmp(word, names[i])) {
            uint64_t limits[] = {MAX_COUNT, MAX_COUNT, plan->arena_bytes, plan->weights.bytes};
            tensor->place = (enum ev_place)i;
            return number(r, "an offset", limits[i], &tensor->offset);
        }
    }
    return wrong(r, "input, output, arena or constant", word);
}

static int tensor_line(struct reader *r, const struct ev_plan *plan, struct ev_tensor *tensor)
{
    if (keyword(r, "tensor") || place_of(r, plan, tensor))
        return r->error->code;
    char *name = next_word(r);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (name && !strcmp(name, dtypes[i].name))
            tensor->dtype = dtypes[i].dtype;
    if (!tensor->dtype.lanes)
        return wrong(r, "a dtype", name);
    if (count(r, "a number of dimensions", EV_MAX_DIMENSIONS, &tensor->ndim) || size_of(r, tensor))
        return r->error->code;
    if (tensor->place != EV_ARENA && tensor->place != EV_CONSTANT)
        return 0;
    uint64_t whole = tensor->place == EV_ARENA ? plan->arena_bytes : plan->weights.bytes;
    if (tensor->offset % EV_ALIGNMENT || tensor->bytes > whole - tensor->offset) {
        char expected[128];
        snprintf(expected, sizeof expected, "an offset that is a multiple of %d with %" PRIu64 " bytes before %" PRIu64,
                 EV_ALIGNMENT, tensor->bytes, whole);
        char got[32];
        snprintf(got, sizeof got, "%" PRIu64, tensor->offset);
        return wrong(r, expected, got);
    }
    return 0;
}

/* "inputs N i j ...": each of the N must be a tensor of that place, in order. Other tensors of the place are views of
 * one of them in another shape: kernels see flat arrays where the graph has four dimensions. */
static int ports(struct reader *r, struct ev_plan *plan, const char *name, enum ev_place place, int *total, int **list)
{
    if (keyword(r, name) || count(r, "a count", plan->tensor_count, total))
        return r->error->code;
    if (!(*list = calloc((size_t)*total + 1, sizeof **list)))
        return ev_fail(r->error, EV_MEMORY, "no memory for the plan");
    for (int i = 0; i < *total; i++) {
        if (count(r, "a tensor", plan->tensor_count - 1, *list + i))
            return r->error->code;
        const struct ev_tensor *tensor = &plan->tensors[(*list)[i]];
        if (tensor->place != place || tensor->offset != (uint64_t)i)
            return wrong(r, "the tensors of that place in order", name);
    }
    for (int i = 0; i < plan->tensor_count; i++) {
        const struct ev_tensor *tensor = &plan->tensors[i];
        if (tensor->place != place)
            continue;
        if (tensor->offset >= (uint64_t)*total || tensor->bytes != plan->tensors[(*list)[tensor->offset]].bytes)
            return wrong(r, "every tensor of that place to be of the size of the one listed", name);
    }
    return end_of_line(r);
}

static int step_line(struct reader *r, const struct ev_plan *plan, struct ev_step *step)
{
    if (keyword(r, "step") || !(step->symbol = next_word(r)) || !*step->symbol)
        return r->error->code ? r->error->code : wrong(r, "a kernel symbol", NULL);
    if (count(r, "a number of arguments", EV_MAX_ARGUMENTS, &step->count))
        return r->error->code;
    for (int i = 0; i < step->count; i++)
        if (count(r, "a tensor", plan->tensor_count - 1, &step->arguments[i]))
            return r->error->code;
    step->label = r->word ? r->word : "";
    return 0;
}

/* A step that runs on opening: its inputs are there then, and what it writes stays. */
static int only_kept(struct reader *r, const struct ev_plan *plan, const struct ev_step *step)
{
    for (int i = 0; i < step->count; i++) {
        enum ev_place place = plan->tensors[step->arguments[i]].place;
        if (place == EV_INPUT || place == EV_OUTPUT)
            return wrong(r, "a prepared step to have tensors of the arena and constants alone", "an input or output");
    }
    return 0;
}

/* A count is believed only as far as the file is long enough to hold that many lines. */
static int list_length(struct reader *r, const char *name, int *length)
{
    long lines = (r->end - r->at) / 8 + 1;
    return keyword(r, name) || count(r, "a count", lines < MAX_COUNT ? (int)lines : MAX_COUNT, length);
}

static int body(struct reader *r, struct ev_plan *plan)
{
    if (list_length(r, "tensors", &plan->tensor_count) || end_of_line(r))
        return r->error->code;
    if (!plan->tensor_count)
        return wrong(r, "at least one tensor", "0");
    plan->tensors = calloc((size_t)plan->tensor_count, sizeof *plan->tensors);
    if (!plan->tensors)
        return ev_fail(r->error, EV_MEMORY, "no memory for the plan");
    for (int i = 0; i < plan->tensor_count; i++)
        if (tensor_line(r, plan, &plan->tensors[i]))
            return r->error->code;
    if (ports(r, plan, "inputs", EV_INPUT, &plan->input_count, &plan->inputs) ||
        ports(r, plan, "outputs", EV_OUTPUT, &plan->output_count, &plan->outputs) ||
        list_length(r, "steps", &plan->step_count) ||
        count(r, "a number of prepared steps", plan->step_count, &plan->prepared_count) || end_of_line(r))
        return r->error->code;
    plan->steps = calloc((size_t)plan->step_count + 1, sizeof *plan->steps);
    if (!plan->steps)
        return ev_fail(r->error, EV_MEMORY, "no memory for the plan");
    for (int i = 0; i < plan->step_count; i++)
        if (step_line(r, plan, &plan->steps[i]) || (i < plan->prepared_count && only_kept(r, plan, &plan->steps[i])))
            return r->error->code;
    if (keyword(r, "end") || end_of_line(r))
        return r->error->code;
    return r->at == r->end ? 0 : wrong(r, "end of file after 'end'", r->at);
}

/* Words of the plan end up in errors, and so on a terminal: nothing but printable characters may. */
static int printable(const char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
            return 0;
    return 1;
}

int ev_plan_read(struct ev_plan *plan, const char *path, struct ev_error *error)
{
    uint64_t bytes;
    memset(plan, 0, sizeof *plan);
    error->code = 0;
    if (!(plan->text = ev_read_file(path, MAX_PLAN_BYTES, &bytes, error)))
        return error->code;
    struct reader reader = {.path = path, .at = plan->text, .end = plan->text + bytes, .error = error};
    if (!printable(plan->text, bytes))
        wrong(&reader, "printable ASCII text", "other bytes");
    else if (!head(&reader, plan))
        body(&reader, plan);
    if (error->code)
        ev_plan_free(plan);
    return error->code;
}

void ev_plan_free(struct ev_plan *plan)
{
    free(plan->tensors);
    free(plan->inputs);
    free(plan->outputs);
    free(plan->steps);
    free(plan->text);
    memset(plan, 0, sizeof *plan);
}
