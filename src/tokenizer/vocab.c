/* SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer/vocab.h"
#include "base/mem.h"

#include <string.h>
#include <sys/auxv.h>

/* ---- hash: eight bytes at a time, multiplied and folded. The seed is the process's own, so that no file can be made
 * to collide. */

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint32_t hash_bytes(uint64_t seed, const char *s, size_t len)
{
    uint64_t h = seed ^ len, w;
    while (len > 8) {
        memcpy(&w, s, 8);
        h = fold(h ^ w, 0x9e3779b97f4a7c15u ^ seed);
        s += 8;
        len -= 8;
    }
    if (len >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + len - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else if (len) {
        w = (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[len / 2] << 8 | (uint8_t)s[len - 1];
    } else {
        w = 0;
    }
    h = fold(h ^ w, 0xd6e8feb86659fd93u);
    return (uint32_t)(h ^ h >> 32);
}

static uint64_t process_seed(void)
{
    uint64_t seed = 0;
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM); /* sixteen random bytes from the kernel */
    if (random)
        memcpy(&seed, random, sizeof seed);
    return seed | 1;
}

/* ---- tokens */

enum { MAX_TOKENS = 1 << 24 };

rkf_status vocab_init(struct vocab *v, size_t n, size_t bytes, rkf_error *err)
{
    if (n > MAX_TOKENS || bytes > UINT32_MAX / 2 - n)
        return rkf_fail(err, RKF_FORMAT, "the vocabulary has %zu tokens; at most %d are supported", n, MAX_TOKENS);
    size_t slots = 16;
    while (slots < n * 2)
        slots *= 2;
    *v = (struct vocab){ .cap = (uint32_t)n, .blob_cap = bytes + n, .mask = (uint32_t)slots - 1 };
    v->seed = process_seed();
    v->blob = mem_alloc(v->blob_cap);
    v->entries = mem_array(n, sizeof *v->entries);
    v->slots = mem_zalloc(slots, sizeof *v->slots);
    if (v->blob && v->entries && v->slots)
        return RKF_OK;
    vocab_free(v);
    return rkf_fail_memory(err, bytes + n * 24, "the vocabulary");
}

void vocab_free(struct vocab *v)
{
    mem_free(v->blob);
    mem_free(v->entries);
    mem_free(v->slots);
    mem_free(v->by_id);
    *v = (struct vocab){ 0 };
}

static uint32_t *find_slot(const struct vocab *v, uint32_t hash, const char *s, size_t len)
{
    uint32_t i = hash & v->mask;
    while (v->slots[i]) {
        const struct vocab_entry *e = &v->entries[v->slots[i] - 1];
        if (e->hash == hash && e->len == len && !memcmp(v->blob + e->off, s, len))
            break;
        i = (i + 1) & v->mask;
    }
    return &v->slots[i];
}

uint32_t vocab_put(struct vocab *v, const char *s, size_t len, int32_t id)
{
    uint32_t hash = hash_bytes(v->seed, s, len);
    uint32_t *slot = find_slot(v, hash, s, len);
    if (*slot) {
        v->entries[*slot - 1].id = id;
        return *slot - 1;
    }
    struct vocab_entry *e = &v->entries[v->n++];
    *e = (struct vocab_entry){ (uint32_t)v->blob_len, (uint32_t)len, hash, id };
    memcpy(v->blob + v->blob_len, s, len);
    v->blob_len += len;
    v->blob[v->blob_len++] = 0;
    *slot = v->n;
    return v->n - 1;
}

int32_t vocab_find(const struct vocab *v, const char *s, size_t len)
{
    if (!v->n)
        return -1;
    uint32_t slot = *find_slot(v, hash_bytes(v->seed, s, len), s, len);
    return slot ? v->entries[slot - 1].id : -1;
}

rkf_status vocab_index_ids(struct vocab *v, rkf_error *err)
{
    int64_t top = -1;
    for (uint32_t i = 0; i < v->n; i++)
        if (v->entries[i].id > top)
            top = v->entries[i].id;
    if (top >= 8 * (int64_t)v->n + (1 << 20)) /* gaps are real, but a few tokens with enormous ids are an attack */
        return rkf_fail(err, RKF_FORMAT, "the vocabulary of %u tokens has an id %lld, which is too large", v->n,
                        (long long)top);
    v->by_id = mem_zalloc((size_t)(top + 1), sizeof *v->by_id);
    if (!v->by_id)
        return rkf_fail_memory(err, (size_t)(top + 1) * sizeof *v->by_id, "the vocabulary");
    v->n_ids = (uint32_t)(top + 1);
    for (uint32_t i = 0; i < v->n; i++)
        v->by_id[v->entries[i].id] = i + 1;
    return RKF_OK;
}

const char *vocab_token(const struct vocab *v, int32_t id, size_t *len)
{
    if (id < 0 || (uint32_t)id >= v->n_ids || !v->by_id[id])
        return NULL;
    const struct vocab_entry *e = &v->entries[v->by_id[id] - 1];
    *len = e->len;
    return v->blob + e->off;
}
