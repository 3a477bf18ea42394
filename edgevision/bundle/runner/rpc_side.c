/* The walk as functions a TVM RPC server can load: built with runner.c into one library, called through the packed
 * calling convention. Text goes in and out as uint8 tensors, so no object of TVM's runtime is needed here. */
#define _GNU_SOURCE
#include "abi.h"
#include "runner.h"

#include <stdio.h>
#include <string.h>

static struct ev_program *program;

/* A tensor arrives as a DLTensor, or as an object whose DLTensor follows its 24-byte header. */
static struct ev_dltensor *tensor_of(const struct ev_value *value)
{
    enum { OBJECT_HEADER = 24 };
    char *address = value->as.pointer;
    if (value->type == EV_VALUE_TENSOR_OBJECT)
        return (struct ev_dltensor *)(void *)(address + OBJECT_HEADER);
    return value->type == EV_VALUE_DLTENSOR ? (struct ev_dltensor *)(void *)address : NULL;
}

static void *bytes_of(const struct ev_value *value, uint64_t *count)
{
    struct ev_dltensor *tensor = tensor_of(value);
    *count = 0;
    if (!tensor)
        return NULL;
    *count = (tensor->dtype.bits + 7u) / 8u;
    for (int i = 0; i < tensor->ndim; i++)
        *count *= (uint64_t)tensor->shape[i];
    return (char *)tensor->data + tensor->byte_offset;
}

/* Put the error text into the caller's tensor and its code into the result: RPC itself succeeded. */
static int answer(struct ev_value *result, const struct ev_error *error, const struct ev_value *text)
{
    uint64_t size;
    char *to = bytes_of(text, &size);
    if (to && size)
        snprintf(to, (size_t)size, "%s", error->code ? error->text : "");
    *result = (struct ev_value){.type = EV_VALUE_INTEGER, .as.integer = error->code};
    return 0;
}

/* ev_rpc_open(folder, text, threads) -> code */
int __tvm_ffi_ev_rpc_open(void *self, const struct ev_value *a, int32_t count, struct ev_value *result)
{
    (void)self;
    struct ev_error error = {0};
    uint64_t size;
    if (count != 3)
        return -1;
    const char *folder = bytes_of(&a[0], &size);
    ev_close(program);
    program = NULL;
    if (!folder || !size || folder[size - 1])
        ev_fail(&error, EV_BUG, "expected a folder name that ends with a zero byte");
    else
        program = ev_open(folder, &(struct ev_options){.threads = (int)a[2].as.integer}, &error);
    return answer(result, &error, &a[1]);
}

/* ev_rpc_run(input, text, output) -> code: one sample */
int __tvm_ffi_ev_rpc_run(void *self, const struct ev_value *a, int32_t count, struct ev_value *result)
{
    (void)self;
    struct ev_error error = {0};
    uint64_t have[2], want[2];
    if (count != 3 || !program)
        return -1;
    void *from = bytes_of(&a[0], &have[0]), *input = ev_input(program, 0, &want[0]);
    void *to = bytes_of(&a[2], &have[1]), *output = ev_output(program, 0, &want[1]);
    if (!input || !output || have[0] != want[0] || have[1] != want[1])
        ev_fail(&error, EV_USAGE, "the input or output is not of the size the plan says");
    else {
        memcpy(input, from, (size_t)want[0]);
        if (!ev_run(program, &error))
            memcpy(to, output, (size_t)want[1]);
    }
    return answer(result, &error, &a[1]);
}

/* ev_rpc_time(run_ns, text, step_ns, warmup) -> code: as many runs as run_ns has elements; step_ns may be of one. */
int __tvm_ffi_ev_rpc_time(void *self, const struct ev_value *a, int32_t count, struct ev_value *result)
{
    (void)self;
    struct ev_error error = {0};
    uint64_t run_bytes, step_bytes;
    if (count != 4 || !program)
        return -1;
    uint64_t *run_ns = bytes_of(&a[0], &run_bytes), *step_ns = bytes_of(&a[2], &step_bytes);
    uint64_t repeat = run_bytes / 8, steps = (uint64_t)ev_step_count(program);
    if (!ev_repeat(program, (int)a[3].as.integer, (int)repeat, run_ns, &error) && step_bytes == repeat * steps * 8)
        for (uint64_t i = 0; i < repeat && !error.code; i++)
            ev_run_timed(program, step_ns + i * steps, &error);
    return answer(result, &error, &a[1]);
}

/* ev_rpc_read(path, text, content) -> code: a file such as those of /proc, whose size is only known by reading. What
 * does not fit is left out; the rest of the tensor is zero. */
int __tvm_ffi_ev_rpc_read(void *self, const struct ev_value *a, int32_t count, struct ev_value *result)
{
    (void)self;
    struct ev_error error = {0};
    uint64_t path_size, size;
    if (count != 3)
        return -1;
    const char *path = bytes_of(&a[0], &path_size);
    char *content = bytes_of(&a[2], &size);
    if (!path || !content || !path_size || path[path_size - 1])
        return -1;
    FILE *file = fopen(path, "re");
    if (!file)
        ev_fail(&error, EV_USAGE, "cannot read %s", path);
    else {
        memset(content, 0, (size_t)size);
        if (!fread(content, 1, (size_t)size, file) && ferror(file))
            ev_fail(&error, EV_USAGE, "cannot read %s", path);
        fclose(file);
    }
    return answer(result, &error, &a[1]);
}

/* ev_rpc_close(): free the program and join its threads. */
int __tvm_ffi_ev_rpc_close(void *self, const struct ev_value *a, int32_t count, struct ev_value *result)
{
    (void)self, (void)a, (void)count;
    ev_close(program);
    program = NULL;
    *result = (struct ev_value){.type = EV_VALUE_INTEGER};
    return 0;
}
