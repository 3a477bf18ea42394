#define _GNU_SOURCE
#include "runner.h"

#include "abi.h"
#include "cpu.h"
#include "kernels.h"
#include "plan.h"
#include "pool.h"
#include "sha256.h"
#include "storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call {
    ev_kernel kernel;
    int count;
    struct ev_value *arguments;
};

struct ev_program {
    struct ev_plan plan;
    void *kernels;
    const char *(*kernel_error)(void);
    char *weights, *arena;
    void **ports; /* input buffers, then output buffers */
    struct ev_dltensor *tensors;
    int64_t *strides;
    struct ev_value *arguments;
    struct call *calls;
    struct ev_pool *pool;
    int flush_denormals;
};

static int join(char *path, size_t size, const char *folder, const char *name, struct ev_error *error)
{
    int length = snprintf(path, size, "%s/%s", folder, name);
    return length < 0 || (size_t)length >= size ? ev_fail(error, EV_USAGE, "the folder name is too long: %s", folder) : 0;
}

static int check_cpu(const struct ev_plan *plan, struct ev_error *error)
{
    if (strcmp(plan->arch, ev_cpu_arch()))
        return ev_fail(error, EV_UNSUPPORTED, "the bundle is for %s, this runner is for %s", plan->arch, ev_cpu_arch());
    for (int i = 0; i < plan->feature_count; i++) {
        int has = ev_cpu_has(plan->features[i]);
        if (has < 0)
            return ev_fail(error, EV_UNSUPPORTED, "the bundle requires '%s', which this runner cannot check on %s",
                           plan->features[i], plan->arch);
        if (!has)
            return ev_fail(error, EV_UNSUPPORTED,
                           "this CPU lacks '%s', which the kernels use: deploy for the target that is this board",
                           plan->features[i]);
    }
    return 0;
}

static int check_file(const char *path, const void *content, uint64_t bytes, const struct ev_file *file,
                      struct ev_error *error)
{
    char hex[65];
    if (bytes != file->bytes)
        return ev_fail(error, EV_MISMATCH, "expected %" PRIu64 " bytes as plan.txt says, got %" PRIu64 ": %s",
                       file->bytes, bytes, path);
    ev_sha256_hex(content, (size_t)bytes, hex);
    if (strcmp(hex, file->sha256))
        return ev_fail(error, EV_MISMATCH, "expected sha256 %.12s... as plan.txt says, got %.12s...: %s", file->sha256,
                       hex, path);
    return 0;
}

static int open_weights(struct ev_program *p, const char *folder, struct ev_error *error)
{
    char path[4096];
    uint64_t bytes;
    if (join(path, sizeof path, folder, "weights.bin", error))
        return error->code;
    p->weights = ev_read_file(path, SIZE_MAX / 4, &bytes, error);
    return p->weights ? check_file(path, p->weights, bytes, &p->plan.weights, error) : error->code;
}

static int check_kernels_file(const struct ev_plan *plan, const char *path, struct ev_error *error)
{
    uint64_t bytes;
    if (ev_kernels_inside() != (plan->kernels.bytes == 0))
        return ev_fail(error, EV_MISMATCH, plan->kernels.bytes ? "the plan wants kernels.so, this runner has its own kernels"
                                                               : "the plan wants kernels linked into the runner");
    if (ev_kernels_inside())
        return 0;
    void *content = ev_read_file(path, SIZE_MAX / 4, &bytes, error);
    if (!content)
        return error->code;
    int status = check_file(path, content, bytes, &plan->kernels, error);
    free(content);
    return status;
}

static int open_kernels(struct ev_program *p, const char *folder, struct ev_error *error)
{
    char path[4096];
    if (join(path, sizeof path, folder, "kernels.so", error) || check_kernels_file(&p->plan, path, error))
        return error->code;
    if (!(p->kernels = ev_kernels_open(path, error)))
        return error->code;
    /* The same path may name an older library that this process still holds: the identity tells. */
    const char *id = ev_kernels_symbol(p->kernels, "ev_kernels_id");
    if (!id || strcmp(id, p->plan.kernels_id))
        return ev_fail(error, EV_MISMATCH, "expected kernels %.12s..., got %.12s...: %s", p->plan.kernels_id,
                       id ? id : "none", path);
    void *text = ev_kernels_symbol(p->kernels, "ev_kernel_error");
    memcpy(&p->kernel_error, &text, sizeof text);
    return text ? ev_kernels_connect(p->kernels, error)
                : ev_fail(error, EV_MISMATCH, "the kernels have no ev_kernel_error: %s", path);
}

static int allocate_ports(struct ev_program *p, struct ev_error *error)
{
    const struct ev_plan *plan = &p->plan;
    int total = plan->input_count + plan->output_count;
    p->ports = calloc((size_t)total + 1, sizeof *p->ports);
    p->arena = ev_allocate(plan->arena_bytes);
    if (!p->ports || !p->arena)
        return ev_fail(error, EV_MEMORY, "no memory for an arena of %" PRIu64 " bytes", plan->arena_bytes);
    for (int i = 0; i < total; i++) {
        int tensor = i < plan->input_count ? plan->inputs[i] : plan->outputs[i - plan->input_count];
        if (!(p->ports[i] = ev_allocate(plan->tensors[tensor].bytes)))
            return ev_fail(error, EV_MEMORY, "no memory for an input or output of %" PRIu64 " bytes",
                           plan->tensors[tensor].bytes);
    }
    return 0;
}

static void *place(const struct ev_program *p, const struct ev_tensor *tensor)
{
    switch (tensor->place) {
    case EV_INPUT: return p->ports[tensor->offset];
    case EV_OUTPUT: return p->ports[(uint64_t)p->plan.input_count + tensor->offset];
    case EV_ARENA: return p->arena + tensor->offset;
    default: return p->weights + tensor->offset;
    }
}

static int bind_tensors(struct ev_program *p, struct ev_error *error)
{
    size_t n = (size_t)p->plan.tensor_count;
    p->tensors = calloc(n, sizeof *p->tensors);
    p->strides = calloc(n * EV_MAX_DIMENSIONS, sizeof *p->strides);
    if (!p->tensors || !p->strides)
        return ev_fail(error, EV_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) {
        struct ev_tensor *tensor = &p->plan.tensors[i];
        int64_t *strides = p->strides + i * EV_MAX_DIMENSIONS, stride = 1;
        for (int k = tensor->ndim - 1; k >= 0; k--) {
            strides[k] = stride;
            stride *= tensor->shape[k];
        }
        p->tensors[i] = (struct ev_dltensor){.data = place(p, tensor),
                                             .device_type = EV_DEVICE_CPU,
                                             .ndim = tensor->ndim,
                                             .dtype = tensor->dtype,
                                             .shape = tensor->shape,
                                             .strides = strides};
    }
    return 0;
}

static int bind_steps(struct ev_program *p, struct ev_error *error)
{
    size_t n = (size_t)p->plan.step_count, total = 0;
    for (size_t i = 0; i < n; i++)
        total += (size_t)p->plan.steps[i].count;
    p->calls = calloc(n + 1, sizeof *p->calls);
    p->arguments = calloc(total + 1, sizeof *p->arguments);
    if (!p->calls || !p->arguments)
        return ev_fail(error, EV_MEMORY, "no memory for %zu steps", n);
    struct ev_value *next = p->arguments;
    for (size_t i = 0; i < n; i++) {
        const struct ev_step *step = &p->plan.steps[i];
        void *address = ev_kernels_symbol(p->kernels, step->symbol);
        if (!address)
            return ev_fail(error, EV_MISMATCH, "step %zu (%.200s) calls '%.200s', which the kernels do not have", i,
                           step->label, step->symbol);
        memcpy(&p->calls[i].kernel, &address, sizeof address);
        p->calls[i].count = step->count;
        p->calls[i].arguments = next;
        for (int k = 0; k < step->count; k++, next++) {
            next->type = EV_VALUE_DLTENSOR;
            next->as.pointer = &p->tensors[step->arguments[k]];
        }
    }
    return 0;
}

static int run_step(struct ev_program *p, int i, struct ev_error *error)
{
    struct ev_value result = {0};
    const struct call *call = &p->calls[i];
    if (call->kernel(NULL, call->arguments, call->count, &result))
        return ev_fail(error, EV_BUG, "step %d (%.200s, %.200s) failed: %.400s", i, p->plan.steps[i].label,
                       p->plan.steps[i].symbol, p->kernel_error());
    return 0;
}

/* The walk over the plan's lines from `first` to before `last`. `ns` is NULL, or takes the time of each of them. */
static int walk(struct ev_program *p, int first, int last, uint64_t *ns, struct ev_error *error)
{
    int status = 0;
    unsigned long mode = p->flush_denormals ? ev_cpu_flush_denormals() : 0;
    uint64_t start = ns ? ev_now_ns() : 0;
    ev_pool_use(p->pool);
    for (int i = first; i < last && !status; i++) {
        status = run_step(p, i, error);
        if (ns) {
            uint64_t end = ev_now_ns();
            ns[i - first] = end - start;
            start = end;
        }
    }
    ev_pool_use(NULL);
    if (p->flush_denormals)
        ev_cpu_restore(mode);
    return status;
}

static int open_program(struct ev_program *p, const char *folder, const struct ev_options *options,
                        struct ev_error *error)
{
    char path[4096];
    if (join(path, sizeof path, folder, "plan.txt", error) || ev_plan_read(&p->plan, path, error) ||
        check_cpu(&p->plan, error) || open_weights(p, folder, error) || open_kernels(p, folder, error) ||
        allocate_ports(p, error) || bind_tensors(p, error) || bind_steps(p, error))
        return error->code;
    p->flush_denormals = options->flush_denormals;
    p->pool = ev_pool_open(options->threads, options->cpus, options->flush_denormals, error);
    return error->code ? error->code : walk(p, 0, p->plan.prepared_count, NULL, error);
}

struct ev_program *ev_open(const char *folder, const struct ev_options *options, struct ev_error *error)
{
    error->code = 0;
    error->text[0] = 0;
    struct ev_program *p = calloc(1, sizeof *p);
    if (!p) {
        ev_fail(error, EV_MEMORY, "no memory");
        return NULL;
    }
    if (open_program(p, folder, options, error)) {
        ev_close(p);
        return NULL;
    }
    return p;
}

void ev_close(struct ev_program *p)
{
    if (!p)
        return;
    ev_pool_close(p->pool);
    for (int i = 0; p->ports && i < p->plan.input_count + p->plan.output_count; i++)
        free(p->ports[i]);
    free(p->ports);
    free(p->arena);
    free(p->weights);
    free(p->tensors);
    free(p->strides);
    free(p->calls);
    free(p->arguments);
    ev_kernels_close(p->kernels);
    ev_plan_free(&p->plan);
    free(p);
}

int ev_input_count(const struct ev_program *p)
{
    return p->plan.input_count;
}

int ev_output_count(const struct ev_program *p)
{
    return p->plan.output_count;
}

int ev_step_count(const struct ev_program *p)
{
    return p->plan.step_count - p->plan.prepared_count;
}

uint64_t ev_arena_bytes(const struct ev_program *p)
{
    return p->plan.arena_bytes;
}

const char *ev_step_label(const struct ev_program *p, int step)
{
    return step >= 0 && step < ev_step_count(p) ? p->plan.steps[p->plan.prepared_count + step].label : "";
}

void *ev_tensor_data(struct ev_program *p, int tensor, uint64_t *bytes)
{
    if (tensor < 0 || tensor >= p->plan.tensor_count)
        return NULL;
    *bytes = p->plan.tensors[tensor].bytes;
    return p->tensors[tensor].data;
}

void *ev_input(struct ev_program *p, int index, uint64_t *bytes)
{
    return index >= 0 && index < p->plan.input_count ? ev_tensor_data(p, p->plan.inputs[index], bytes) : NULL;
}

void *ev_output(struct ev_program *p, int index, uint64_t *bytes)
{
    return index >= 0 && index < p->plan.output_count ? ev_tensor_data(p, p->plan.outputs[index], bytes) : NULL;
}

int ev_run(struct ev_program *p, struct ev_error *error)
{
    return walk(p, p->plan.prepared_count, p->plan.step_count, NULL, error);
}

int ev_run_timed(struct ev_program *p, uint64_t *ns, struct ev_error *error)
{
    return walk(p, p->plan.prepared_count, p->plan.step_count, ns, error);
}

int ev_step(struct ev_program *p, int step, struct ev_error *error)
{
    if (step < 0 || step >= ev_step_count(p))
        return ev_fail(error, EV_USAGE, "expected a step from 0 to %d, got %d", ev_step_count(p) - 1, step);
    step += p->plan.prepared_count;
    return walk(p, step, step + 1, NULL, error);
}

int ev_repeat(struct ev_program *p, int warmup, int repeat, uint64_t *ns, struct ev_error *error)
{
    int status = 0;
    for (int i = 0; i < warmup && !status; i++)
        status = ev_run(p, error);
    for (int i = 0; i < repeat && !status; i++) {
        uint64_t start = ev_now_ns();
        status = ev_run(p, error);
        ns[i] = ev_now_ns() - start;
    }
    return status;
}
