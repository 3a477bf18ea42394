/* One error: its exit code and one line of text that says what was expected, what came and where. */
#ifndef EV_ERROR_H
#define EV_ERROR_H

enum ev_code {
    EV_OK = 0,
    EV_BUG = 1,
    EV_USAGE = 2,
    EV_TOOL = 3,
    EV_UNSUPPORTED = 4,
    EV_MEMORY = 5,
    EV_DEVICE = 7,
    EV_MISMATCH = 8,
};

struct ev_error {
    int code;
    char text[1024];
};

/* Fill `error` and return its code, so that a function can end with `return ev_fail(...)`. */
int ev_fail(struct ev_error *error, enum ev_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
