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

void *ev_read_file(const char *path, uint64_t limit, uint64_t *bytes, struct ev_error *error)
{
    FILE *file = fopen(path, "rbe");
    struct stat status;
    if (!file || fstat(fileno(file), &status)) {
        ev_fail(error, EV_USAGE, "cannot read %s: %s", path, strerror(errno));
        if (file)
            fclose(file);
        return NULL;
    }
    char *content = NULL;
    *bytes = (uint64_t)status.st_size;
    if (!S_ISREG(status.st_mode))
        ev_fail(error, EV_USAGE, "expected a file, got something else: %s", path);
    else if (*bytes > limit)
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
