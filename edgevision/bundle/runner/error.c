#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int ev_fail(struct ev_error *error, enum ev_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->code = code;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return code;
}
