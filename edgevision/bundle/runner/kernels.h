/* Where the kernels come from: kernels.so through dlopen, or a table linked into a static runner. */
#ifndef EV_KERNELS_H
#define EV_KERNELS_H

#include "error.h"

/* Returns a handle, or NULL and `error`. A static runner ignores `path`. */
void *ev_kernels_open(const char *path, struct ev_error *error);
void ev_kernels_close(void *kernels);

/* Address of a symbol, or NULL. */
void *ev_kernels_symbol(void *kernels, const char *name);

/* Whether the kernels are inside this file. */
int ev_kernels_inside(void);

/* The generated table of a static runner; ends with a NULL name. */
struct ev_symbol {
    const char *name;
    void *address;
};
extern const struct ev_symbol ev_symbols[];

/* Fill the pointers through which kernels ask for memory and threads; refuse kernels that want anything else. */
int ev_kernels_connect(void *kernels, struct ev_error *error);

#endif
