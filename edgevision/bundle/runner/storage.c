#define _GNU_SOURCE
#include "storage.h"

#include "plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void *ev_allocate(uint64_t bytes)
{
    void *memory = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, EV_ALIGNMENT, (size_t)bytes + EV_ALIGNMENT))
        return NULL;
    return memset(memory, 0, (size_t)bytes + EV_ALIGNMENT);
}

FILE *ev_open_file(const char *path, uint64_t *bytes, struct ev_error *error)
{
    FILE *file = fopen(path, "rbe");
    struct stat status;
    *bytes = 0;
    if (!file || fstat(fileno(file), &status))
        ev_fail(error, EV_USAGE, "cannot read %s: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        ev_fail(error, EV_USAGE, "expected a file, got something else: %s", path);
    else {
        *bytes = (uint64_t)status.st_size;
        return file;
    }
    if (file)
        fclose(file);
    return NULL;
}

void *ev_read_file(const char *path, uint64_t limit, uint64_t *bytes, struct ev_error *error)
{
    char *content = NULL;
    FILE *file = ev_open_file(path, bytes, error);
    if (!file)
        return NULL;
    if (*bytes > limit)
        ev_fail(error, EV_MISMATCH, "expected at most %" PRIu64 " bytes, got %" PRIu64 ": %s", limit, *bytes, path);
    else if (!(content = ev_allocate(*bytes + 1)))
        ev_fail(error, EV_MEMORY, "no memory for the %" PRIu64 " bytes of %s", *bytes, path);
    else if (fread(content, 1, (size_t)*bytes, file) != *bytes) {
        ev_fail(error, EV_USAGE, "the file ended early or could not be read: %s", path);
        free(content);
        content = NULL;
    }
    fclose(file);
    return content;
}
