/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory. All of the library's memory comes from here, so that tests can make the nth allocation fail (mem_fail_after).
 * NULL means out of memory; nothing aborts. Sizes are count * size with the product checked.
 */
#ifndef RKF_BASE_MEM_H
#define RKF_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));
void *mem_array(size_t count, size_t size) __attribute__((malloc, warn_unused_result)); /* not zeroed */
void *mem_grow(void *p, size_t count, size_t size) __attribute__((warn_unused_result)); /* on NULL p still stands */
void mem_free(void *p);
char *mem_strdup(const char *s) __attribute__((malloc, warn_unused_result));
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, warn_unused_result));

/* Aligned to `align` (a power of two >= 8). Freed with mem_free_aligned. */
void *mem_alloc_aligned(size_t size, size_t align) __attribute__((malloc, warn_unused_result));
void mem_free_aligned(void *p);
/* The whole huge pages within [p, p + size) may become such in the background. For memory that has been written: huge
 * pages on the first write cost a virtual machine many times what they save a short run. */
void mem_prefer_huge(void *p, size_t size);

/* What has been freed goes back to the system, as far as the C library knows how. Takes a millisecond or a few. */
void mem_trim(void);
/* For a process that runs long: few heaps, and large blocks are given back as soon as they are freed. The C library
 * would else learn from the first large block to keep such ones in its heaps, where one that became huge pages does not
 * go away with mem_trim. Before there are threads. */
void mem_release_large(void);

/* Tests: the nth allocation from now on (n = 0: the next) of any thread fails, and all after it until n = -1 is set. */
void mem_fail_after(int64_t n);
/* Tests: allocations since the process began. */
int64_t mem_count(void);

/*
 * An arena: scratch memory that grows by blocks and is given back all at once. arena_reset keeps the memory (merged
 * into one block), so that the steady state allocates nothing. Not for use from several threads at once.
 */
struct arena {
    struct arena_block *blocks;
    size_t used, live, high; /* bytes in the current block; in all blocks; most ever between two resets */
    bool advised;            /* the one block has been through a run and may be made of huge pages */
    struct arena *parts;     /* [n_parts]; arena_parts */
    uint32_t n_parts;
};
void *arena_alloc(struct arena *a, size_t size); /* aligned to 64 bytes, not zeroed; NULL: out of memory */
void *arena_array(struct arena *a, size_t count, size_t size);
void arena_reset(struct arena *a);
/* Gives back what was allocated since the mark, so that a function's own scratch ends with it. */
struct arena_mark {
    struct arena_block *block;
    size_t used, live;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark m);
/* n arenas, so that as many threads may each use one; reset and freed with this one. NULL: out of memory. */
struct arena *arena_parts(struct arena *a, uint32_t n);
void arena_free(struct arena *a);

#endif
