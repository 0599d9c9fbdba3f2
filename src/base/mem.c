/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static _Atomic int64_t fail_after = -1;
static _Atomic int64_t allocations;

static int allowed(void)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0)
        return 1;
    int64_t n = atomic_load(&fail_after);
    while (n > 0)
        if (atomic_compare_exchange_weak(&fail_after, &n, n - 1))
            return 1;
    return n < 0;
}

void mem_fail_after(int64_t n)
{
    atomic_store(&fail_after, n);
}

int64_t mem_count(void)
{
    return atomic_load(&allocations);
}

void *mem_alloc(size_t size)
{
    return allowed() ? malloc(size ? size : 1) : NULL;
}

void *mem_zalloc(size_t count, size_t size)
{
    return allowed() ? calloc(count ? count : 1, size ? size : 1) : NULL;
}

void *mem_array(size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : mem_alloc(bytes);
}

void *mem_grow(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || !allowed())
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strndup(const char *s, size_t len)
{
    char *p = len == SIZE_MAX ? NULL : mem_alloc(len + 1);
    if (p) {
        memcpy(p, s, len);
        p[len] = 0;
    }
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

enum { HUGE_PAGE = 2 << 20 };

void *mem_alloc_aligned(size_t size, size_t align)
{
    if (size > SIZE_MAX - HUGE_PAGE || !allowed())
        return NULL;
    bool big = size >= 4 * (size_t)HUGE_PAGE;
    void *p = NULL;
    return posix_memalign(&p, big ? HUGE_PAGE : align, size ? size : align) ? NULL : p;
}

void mem_prefer_huge(void *p, size_t size)
{
    uintptr_t begin = ((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)p + size) & ~(uintptr_t)(HUGE_PAGE - 1);
    if (begin < end)
        madvise((char *)p + (begin - (uintptr_t)p), end - begin, MADV_HUGEPAGE); /* a wish: refused without harm */
}

void mem_free_aligned(void *p)
{
    free(p);
}

#ifdef __GLIBC__
void mem_trim(void)
{
    (void)malloc_trim(0);
}

enum { HEAPS = 4, LARGE = 512 << 10, KEEP_FREE = 512 << 10 };

void mem_release_large(void)
{
    (void)mallopt(M_ARENA_MAX, HEAPS);
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE); /* the end of a heap, which malloc_trim does not look at */
}
#else
void mem_trim(void)
{
}

void mem_release_large(void)
{
}
#endif

/* ---- arena: a list of blocks, newest first; only the newest has room */

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(64) unsigned char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 63) & ~(size_t)63;
    if (!a->blocks || a->blocks->size - a->used < size) {
        size_t want = a->blocks ? a->blocks->size * 2 : 64 << 10;
        if (want < size)
            want = size;
        struct arena_block *b = mem_alloc_aligned(sizeof *b + want, 64);
        if (!b)
            return NULL;
        b->next = a->blocks;
        b->size = want;
        a->blocks = b;
        a->used = 0;
    }
    void *p = a->blocks->data + a->used;
    a->used += size;
    a->live += size;
    if (a->high < a->live)
        a->high = a->live;
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : arena_alloc(a, bytes);
}

static void free_blocks(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        mem_free_aligned(a->blocks);
        a->blocks = next;
    }
    a->used = a->live = a->high = 0;
}

void arena_reset(struct arena *a)
{
    size_t high = a->high;
    if (high && (!a->blocks || a->blocks->next || a->blocks->size < high)) { /* did not fit: next time it shall */
        free_blocks(a);
        (void)arena_alloc(a, high);
        a->advised = false;
    } else if (a->blocks && !a->advised) {
        mem_prefer_huge(a->blocks->data, a->blocks->size);
        a->advised = true;
    }
    a->used = a->live = a->high = 0;
    for (uint32_t i = 0; i < a->n_parts; i++) /* which thread gets the most is chance: room for it in each */
        high = i && a->parts[i].high < high ? high : a->parts[i].high;
    for (uint32_t i = 0; i < a->n_parts; i++) {
        a->parts[i].high = high;
        arena_reset(&a->parts[i]);
    }
}

struct arena *arena_parts(struct arena *a, uint32_t n)
{
    if (n > a->n_parts) {
        struct arena *parts = mem_grow(a->parts, n, sizeof *parts);
        if (!parts)
            return NULL;
        memset(parts + a->n_parts, 0, (n - a->n_parts) * sizeof *parts);
        a->parts = parts;
        a->n_parts = n;
    }
    return a->parts;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ a->blocks, a->used, a->live };
}

void arena_release(struct arena *a, struct arena_mark m)
{
    while (a->blocks != m.block) { /* newer blocks; arena_reset will get one that is large enough for all */
        struct arena_block *next = a->blocks->next;
        mem_free_aligned(a->blocks);
        a->blocks = next;
    }
    a->used = m.used;
    a->live = m.live;
}

void arena_free(struct arena *a)
{
    for (uint32_t i = 0; i < a->n_parts; i++)
        arena_free(&a->parts[i]);
    mem_free(a->parts);
    a->parts = NULL;
    a->n_parts = 0;
    free_blocks(a);
}
