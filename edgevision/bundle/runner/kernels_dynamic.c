#include "kernels.h"

#include <dlfcn.h>

void *ev_kernels_open(const char *path, struct ev_error *error)
{
    void *kernels = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!kernels)
        ev_fail(error, EV_UNSUPPORTED, "the kernels library cannot be loaded on this system: %s", dlerror());
    return kernels;
}

void ev_kernels_close(void *kernels)
{
    if (kernels)
        dlclose(kernels);
}

void *ev_kernels_symbol(void *kernels, const char *name)
{
    return dlsym(kernels, name);
}

int ev_kernels_inside(void)
{
    return 0;
}
