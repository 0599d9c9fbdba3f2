/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-1 and SHA-256 (FIPS 180-4), as the hub names its files: git's sha1 of small ones, sha256 of large ones. */
#ifndef RKF_HUB_SHA_H
#define RKF_HUB_SHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sha {
    uint32_t h[8];
    uint64_t len; /* bytes so far */
    uint8_t block[64];
    bool is256;
};
void sha1_begin(struct sha *s);
void sha256_begin(struct sha *s);
void sha_add(struct sha *s, const void *p, size_t n);
/* Lower-case hexadecimal digits: 40 or 64, and a NUL. */
void sha_end(struct sha *s, char hex[65]);

#endif
