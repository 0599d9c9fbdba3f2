/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The result cache: embeddings by model, options and text, within a bound of bytes; the least recently used go first.
 * Keys are kept whole and compared whole, so that two texts never share an answer.
 */
#ifndef RKF_SERVER_CACHE_H
#define RKF_SERVER_CACHE_H

#include "base/status.h"

struct cache;
struct cached { /* read-only; stays valid until cache_release, also if it leaves the cache */
    int64_t tokens, truncated;
    uint32_t dim;
    const float *data; // [dim] f32
};
rkf_status cache_create(size_t max_bytes, struct cache **out, rkf_error *err) MUST_CHECK;
void cache_destroy(struct cache *c); /* NULL is fine */
/* A reference to the entry of this key, or NULL. */
const struct cached *cache_get(struct cache *c, const void *key, size_t len);
void cache_release(struct cache *c, const struct cached *e);
/* Copies both; without memory, or if it is larger than the whole cache, nothing happens. */
void cache_put(struct cache *c, const void *key, size_t len, const struct cached *value);
size_t cache_bytes(struct cache *c);

#endif
