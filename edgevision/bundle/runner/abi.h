/* How a kernel compiled by TVM is called: DLPack tensors in a packed argument list (dlpack.h, tvm/ffi/c_api.h). */
#ifndef EV_ABI_H
#define EV_ABI_H

#include <stdint.h>

struct ev_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};

struct ev_dltensor {
    void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    struct ev_dtype dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
};

/* 16 bytes on 32-bit machines too: the union holds a 64-bit integer. */
struct ev_value {
    int32_t type;
    uint32_t reserved;
    union {
        int64_t integer;
        void *pointer;
    } as;
};

enum { EV_VALUE_INTEGER = 1, EV_VALUE_DLTENSOR = 7, EV_VALUE_TENSOR_OBJECT = 70 };
enum { EV_DEVICE_CPU = 1 };

typedef int (*ev_kernel)(void *self, const struct ev_value *arguments, int32_t count, struct ev_value *result);

/* What a T.parallel loop hands to the launcher; the slice sizes itself from `tasks`. */
struct ev_group {
    void *barrier;
    int32_t tasks;
};

typedef int (*ev_slice)(int task, struct ev_group *group, void *data);

#endif
