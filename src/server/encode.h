/* SPDX-License-Identifier: Apache-2.0 */
/* Small encodings of bytes and vectors. Pure. */
#ifndef RKF_SERVER_ENCODE_H
#define RKF_SERVER_ENCODE_H

#include "server/api.h"

void base64_put(struct buf *out, const void *p, size_t n); /* RFC 4648, padded */

/*
 * Quantises n items of [dim] f32 as sentence-transformers' quantize_embeddings does: int8 and uint8 with the lowest and
 * highest value per dimension of these n items (a single item, which has no range, with its largest magnitude both
 * ways), binary and ubinary with a bit per value above 0, first value in the highest bit. `out` [n] gets its data
 * from mem. False: out of memory.
 */
bool quantize_items(const struct api_item *items, size_t n, enum embed_type type, struct arena *mem,
                    struct api_item *out);

/* Byte position of code point `cp` in valid UTF-8 (len if past the end). */
size_t utf8_byte_of(const char *s, size_t len, int64_t cp);

#endif
