/* Aligned memory and whole files. */
#ifndef EV_STORAGE_H
#define EV_STORAGE_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* `bytes` zeroed bytes aligned to EV_ALIGNMENT, or NULL. Zeroing touches every page, so no step pays for it later. As
 * many bytes as the alignment follow: integer kernels load four at a time, up to three past the end of a tensor. */
void *ev_allocate(uint64_t bytes);

/* Open a plain file for reading and tell its size; NULL and `error` when it is none. */
FILE *ev_open_file(const char *path, uint64_t *bytes, struct ev_error *error);

/* Read a file of at most `limit` bytes and put a zero byte behind it; NULL and `error` when that fails. */
void *ev_read_file(const char *path, uint64_t limit, uint64_t *bytes, struct ev_error *error);

#endif
