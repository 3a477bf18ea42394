/* SHA-256, FIPS 180-4. */
#ifndef EV_SHA256_H
#define EV_SHA256_H

#include <stddef.h>

/* Write the digest of `bytes` as 64 lower-case hex digits and a terminating zero. */
void ev_sha256_hex(const void *bytes, size_t count, char hex[65]);

#endif
