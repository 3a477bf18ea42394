/* Linked into the kernels: the one symbol of TVM's runtime they need, and the text of their last error. Both stay
 * inside the library, so it behaves the same whether or not a TVM runtime is loaded in the process. */
#include <stdint.h>
#include <stdio.h>

static _Thread_local char text[512];

__attribute__((visibility("hidden"))) void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts,
                                                                             int32_t count)
{
    int used = snprintf(text, sizeof text, "%s: ", kind);
    for (int i = 0; i < count && used >= 0 && used < (int)sizeof text; i++)
        if (parts[i])
            used += snprintf(text + used, sizeof text - (unsigned)used, "%s", parts[i]);
}

const char *ev_kernel_error(void)
{
    return text;
}
