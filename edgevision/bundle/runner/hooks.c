#define _GNU_SOURCE
#include "kernels.h"
#include "plan.h"
#include "pool.h"

#include <stdlib.h>

static void *workspace_allocate(int device, int id, uint64_t bytes, int code, int bits)
{
    (void)device, (void)id, (void)code, (void)bits;
    void *memory = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, EV_ALIGNMENT, bytes ? (size_t)bytes : 1))
        return NULL;
    return memory;
}

static int workspace_free(int device, int id, void *memory)
{
    (void)device, (void)id;
    free(memory);
    return 0;
}

/* A kernel calls through these pointers without looking: one left NULL is a crash in the middle of a run. */
int ev_kernels_connect(void *kernels, struct ev_error *error)
{
    const struct ev_symbol ours[] = {
        {"__TVMBackendAllocWorkspace", (void *)workspace_allocate},
        {"__TVMBackendFreeWorkspace", (void *)workspace_free},
        {"__TVMBackendParallelLaunch", (void *)ev_parallel_launch},
        {"__TVMBackendParallelBarrier", (void *)ev_parallel_barrier},
    };
    static const char *const foreign[] = {
        "__TVMBackendGetFuncFromEnv",          "__TVMBackendRegisterSystemLibSymbol",
        "__TVMBackendRegisterEnvCAPI",         "__TVMBackendRunOnce",
        "__TVMBackendAnyListSetPackedArg",     "__TVMBackendAnyListResetItem",
        "__TVMBackendAnyListMoveFromPackedReturn", "__TVMFFIFunctionCall",
        "__TVMFFIErrorSetRaisedFromCStr",      "__TVMFFIErrorSetRaisedFromCStrParts",
        "__TVMFFIEnvModLookupFromImports",
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (ev_kernels_symbol(kernels, foreign[i]))
            return ev_fail(error, EV_UNSUPPORTED,
                           "the kernels want %s, which only a TVM runtime provides: compile them without it", foreign[i]);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        void **hook = ev_kernels_symbol(kernels, ours[i].name);
        if (hook)
            *hook = ours[i].address;
    }
    return 0;
}
