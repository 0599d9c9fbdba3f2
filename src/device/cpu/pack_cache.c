/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/pack_cache.h"

#include "base/file.h"
#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGN = 64 };
static const char magic[8] = "RKFPACK1"; /* changes with the layout of packed weights */

struct entry {
    uint64_t key, begin, bytes, sum;
};
struct footer {
    uint64_t identity, n, sum; /* sum: of the index */
    char magic[8];
};

struct pack_cache {
    const struct logger *log;
    uint64_t identity;
    char path[PATH_MAX];
    struct file_map map; /* reading; p NULL: writing */
    struct file_out out;
    bool writing, stale; /* stale: a layer was not in the file that is read */
    uint64_t at;         /* bytes written */
    struct entry *entries;
    uint64_t n, next;
};

/* Four lanes of 64 bits; a step is a bijection, so that no single changed word goes unseen. */
uint64_t pack_cache_hash(uint64_t seed, const void *p, size_t n)
{
    const uint64_t prime = 0x9E3779B97F4A7C15u;
    uint64_t h[4] = { seed, seed + 1, seed + 2, seed + 3 }, words[4];
    const uint8_t *from = p;
    for (; n; from += sizeof words) {
        size_t m = n < sizeof words ? n : sizeof words;
        if (m < sizeof words)
            memset(words, 0, sizeof words);
        memcpy(words, from, m);
        for (int i = 0; i < 4; i++) {
            h[i] = (h[i] ^ words[i]) * prime;
            h[i] ^= h[i] >> 29;
        }
        n -= m;
    }
    for (int i = 1; i < 4; i++)
        h[0] = (h[0] * prime) ^ h[i];
    return h[0] * prime;
}

static uint64_t hash_text(uint64_t seed, const char *text)
{
    return pack_cache_hash(seed, text, strlen(text) + 1);
}

static size_t padding(uint64_t bytes)
{
    return (ALIGN - bytes % ALIGN) % ALIGN;
}

static uint64_t entry_sum(uint64_t key, const void *p, size_t bytes, const void *pad)
{
    return pack_cache_hash(pack_cache_hash(key, p, bytes), pad, padding(bytes));
}

/* ---- reading */

static bool entries_hold(const struct pack_cache *c, uint64_t end)
{
    for (uint64_t i = 0; i < c->n; i++) {
        const struct entry *e = &c->entries[i];
        if (e->begin > end || e->bytes > end - e->begin || padding(e->bytes) > end - e->begin - e->bytes)
            return false;
        const uint8_t *p = c->map.p + e->begin;
        if (entry_sum(e->key, p, e->bytes, p + e->bytes) != e->sum)
            return false;
    }
    return true;
}

/* The footer, the index and every sum; *other: the file is whole, but of other weights. */
static bool file_holds(struct pack_cache *c, bool *other)
{
    struct footer f;
    if (c->map.len < sizeof f)
        return false;
    uint64_t room = c->map.len - sizeof f;
    memcpy(&f, c->map.p + room, sizeof f);
    if (memcmp(f.magic, magic, sizeof magic) || !f.n || f.n > room / sizeof(struct entry))
        return false;
    *other = f.identity != c->identity;
    uint64_t index = room - f.n * sizeof(struct entry);
    if (*other || pack_cache_hash(f.identity, c->map.p + index, room - index) != f.sum)
        return false;
    c->entries = mem_array(f.n, sizeof *c->entries);
    if (!c->entries)
        return false;
    memcpy(c->entries, c->map.p + index, room - index);
    c->n = f.n;
    return entries_hold(c, index);
}

static void stop_reading(struct pack_cache *c)
{
    file_unmap(&c->map);
    mem_free(c->entries);
    c->map = (struct file_map){ .fd = -1 };
    c->entries = NULL;
    c->n = 0;
}

static bool start_reading(struct pack_cache *c)
{
    bool other = false;
    if (!path_is_file(c->path) || file_map(c->path, &c->map, NULL))
        return false;
    if (file_holds(c, &other))
        return true;
    if (!other)
        log_line(c->log, RKF_LOG_WARN, "the packed weights in %s are damaged: they are made anew", c->path);
    stop_reading(c);
    return false;
}

bool pack_cache_get(struct pack_cache *c, uint64_t key, void *to, size_t bytes)
{
    if (c->writing || !c->entries)
        return false;
    const struct entry *e = &c->entries[c->next];
    if (c->next == c->n || e->key != key || e->bytes != bytes) {
        c->stale = true;
        return false;
    }
    memcpy(to, c->map.p + e->begin, bytes);
    file_map_drop(&c->map, e->begin, e->begin + bytes);
    c->next++;
    return true;
}

/* ---- writing */

static void stop_writing(struct pack_cache *c, const rkf_error *err)
{
    if (err)
        log_line(c->log, RKF_LOG_WARN, "packed weights are not kept: %s", err->message);
    if (c->writing)
        file_out_abort(&c->out);
    mem_free(c->entries);
    c->entries = NULL;
    c->writing = false;
}

void pack_cache_put(struct pack_cache *c, uint64_t key, const void *from, size_t bytes)
{
    static const uint8_t zeros[ALIGN];
    rkf_error err;
    if (!c->writing)
        return;
    struct entry *grown = mem_grow(c->entries, c->n + 1, sizeof *grown);
    if (!grown) {
        stop_writing(c, NULL);
        return;
    }
    c->entries = grown;
    size_t pad = padding(bytes);
    c->entries[c->n++] = (struct entry){ key, c->at, bytes, entry_sum(key, from, bytes, zeros) };
    rkf_status rc = file_out_write(&c->out, from, bytes, &err);
    if (!rc)
        rc = file_out_write(&c->out, zeros, pad, &err);
    c->at += bytes + pad;
    if (rc)
        stop_writing(c, &err);
}

static rkf_status write_end(struct pack_cache *c, rkf_error *err)
{
    size_t bytes = c->n * sizeof *c->entries;
    struct footer f = { .identity = c->identity, .n = c->n };
    memcpy(f.magic, magic, sizeof magic);
    f.sum = pack_cache_hash(f.identity, c->entries, bytes);
    rkf_status rc = file_out_write(&c->out, c->entries, bytes, err);
    return rc ? rc : file_out_write(&c->out, &f, sizeof f, err);
}

/* ---- open and close */

struct pack_cache *pack_cache_open(const char *dir, const char *model, enum dtype type, const char *isa,
                                   uint64_t identity, const struct logger *log)
{
    char name[32];
    rkf_error err;
    struct pack_cache *c = mem_zalloc(1, sizeof *c);
    if (!c)
        return NULL;
    uint64_t which = hash_text(hash_text(hash_text(0, model), dtype_name(type)), isa);
    c->log = log;
    c->identity = hash_text(identity, RKF_BUILD_VERSION);
    c->map.fd = -1;
    snprintf(name, sizeof name, "%016llx.pack", (unsigned long long)which);
    mkdir(dir, 0777); /* if it is there or cannot be, what follows says so */
    if (path_join(c->path, sizeof c->path, dir, name)) {
        if (start_reading(c))
            return c;
        c->writing = !file_out_open(c->path, &c->out, &err);
        if (c->writing)
            return c;
        log_line(log, RKF_LOG_WARN, "packed weights are not kept: %s", err.message);
    }
    mem_free(c);
    return NULL;
}

void pack_cache_close(struct pack_cache *c, bool complete)
{
    rkf_error err;
    if (!c)
        return;
    if (c->writing && (!complete || !c->n))
        stop_writing(c, NULL);
    if (c->writing && write_end(c, &err))
        stop_writing(c, &err);
    if (c->writing && file_out_commit(&c->out, &err))
        log_line(c->log, RKF_LOG_WARN, "packed weights are not kept: %s", err.message);
    if (c->stale) /* whoever comes next makes it anew */
        unlink(c->path);
    stop_reading(c);
    mem_free(c);
}
