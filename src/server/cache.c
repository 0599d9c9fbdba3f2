/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   buckets[hash] -> entry -> entry (chain)        newest <-> ... <-> oldest (use)
 */
#include "server/cache.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

struct entry {
    struct cached value;
    struct entry *chain, *newer, *older;
    uint64_t hash;
    size_t key_len, bytes;
    int refs;
    bool listed;
    _Alignas(float) unsigned char mem[]; /* data, then key */
};
struct cache {
    pthread_mutex_t lock; /* guards everything below */
    struct entry **buckets;
    size_t n_buckets, n_entries;
    struct entry *newest, *oldest;
    size_t bytes, max_bytes;
    uint64_t seed; /* so that nobody can aim at one bucket */
};

/* FNV-1a over words of 8, with the process's seed; the multiplier is FNV's prime, the finisher splitmix64's. */
static uint64_t hash_of(const struct cache *c, const void *key, size_t len)
{
    const unsigned char *p = key;
    uint64_t h = c->seed ^ len, w;
    for (; len >= 8; len -= 8, p += 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x100000001b3u;
        h ^= h >> 29;
    }
    for (; len; len--, p++)
        h = (h ^ *p) * 0x100000001b3u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

static const void *key_of(const struct entry *e)
{
    return e->mem + e->value.dim * sizeof(float);
}

static struct entry **find(struct cache *c, uint64_t hash, const void *key, size_t len)
{
    struct entry **at = &c->buckets[hash & (c->n_buckets - 1)];
    while (*at && ((*at)->hash != hash || (*at)->key_len != len || memcmp(key_of(*at), key, len)))
        at = &(*at)->chain;
    return at;
}

static void unlist(struct cache *c, struct entry *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void list_first(struct cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop(struct cache *c, struct entry *e)
{
    struct entry **at = &c->buckets[e->hash & (c->n_buckets - 1)];
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    unlist(c, e);
    e->listed = false;
    c->bytes -= e->bytes;
    c->n_entries--;
    if (!e->refs)
        mem_free(e);
}

/* Doubles the table; without memory it stays as it is, only slower. */
static void grow(struct cache *c)
{
    size_t n = c->n_buckets * 2;
    struct entry **buckets = mem_zalloc(n, sizeof *buckets);
    if (!buckets)
        return;
    for (size_t i = 0; i < c->n_buckets; i++)
        for (struct entry *e = c->buckets[i], *next; e; e = next) {
            next = e->chain;
            e->chain = buckets[e->hash & (n - 1)];
            buckets[e->hash & (n - 1)] = e;
        }
    c->bytes += (n - c->n_buckets) * sizeof *buckets;
    mem_free(c->buckets);
    c->buckets = buckets;
    c->n_buckets = n;
}

rkf_status cache_create(size_t max_bytes, struct cache **out, rkf_error *err)
{
    struct cache *c = mem_zalloc(1, sizeof *c);
    struct entry **buckets = mem_zalloc(64, sizeof *buckets);
    if (!c || !buckets) {
        mem_free(c);
        mem_free(buckets);
        return rkf_fail_memory(err, sizeof *c, "the result cache");
    }
    *c = (struct cache){ .buckets = buckets, .n_buckets = 64, .max_bytes = max_bytes };
    if (getrandom(&c->seed, sizeof c->seed, GRND_NONBLOCK) < 0)
        c->seed = (uint64_t)(uintptr_t)c;
    pthread_mutex_init(&c->lock, NULL);
    *out = c;
    return RKF_OK;
}

void cache_destroy(struct cache *c)
{
    if (!c)
        return;
    while (c->oldest)
        drop(c, c->oldest);
    pthread_mutex_destroy(&c->lock);
    mem_free(c->buckets);
    mem_free(c);
}

const struct cached *cache_get(struct cache *c, const void *key, size_t len)
{
    uint64_t hash = hash_of(c, key, len);
    pthread_mutex_lock(&c->lock);
    struct entry *e = *find(c, hash, key, len);
    if (e) {
        e->refs++;
        unlist(c, e);
        list_first(c, e);
    }
    pthread_mutex_unlock(&c->lock);
    return e ? &e->value : NULL;
}

void cache_release(struct cache *c, const struct cached *value)
{
    struct entry *e = (struct entry *)(uintptr_t)value; /* value is its first member */
    pthread_mutex_lock(&c->lock);
    bool gone = !--e->refs && !e->listed;
    pthread_mutex_unlock(&c->lock);
    if (gone)
        mem_free(e);
}

void cache_put(struct cache *c, const void *key, size_t len, const struct cached *value)
{
    size_t data = value->dim * sizeof(float), bytes = sizeof(struct entry) + data + len;
    if (bytes > c->max_bytes)
        return;
    struct entry *e = mem_alloc(bytes);
    if (!e)
        return;
    *e = (struct entry){
        .value = *value, .hash = hash_of(c, key, len), .key_len = len, .bytes = bytes, .listed = true
    };
    e->value.data = (const float *)e->mem;
    memcpy(e->mem, value->data, data);
    memcpy(e->mem + data, key, len);
    pthread_mutex_lock(&c->lock);
    struct entry **at = find(c, e->hash, key, len);
    if (*at) { /* somebody else was first */
        mem_free(e);
    } else {
        *at = e;
        list_first(c, e);
        c->bytes += bytes;
        if (++c->n_entries > c->n_buckets)
            grow(c);
        while (c->bytes > c->max_bytes && c->oldest)
            drop(c, c->oldest);
    }
    pthread_mutex_unlock(&c->lock);
}

size_t cache_bytes(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->bytes;
    pthread_mutex_unlock(&c->lock);
    return n;
}
