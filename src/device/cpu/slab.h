/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for packed weights: cut one after the other from large blocks in huge pages, since every run walks over all of
 * a model's weights and small pages cost a walk of the page table each. A block is freed with the last piece of it.
 */
#ifndef RKF_DEVICE_CPU_SLAB_H
#define RKF_DEVICE_CPU_SLAB_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct slab;
struct slab_pool {
    pthread_mutex_t lock; /* guards all of it; taken when layers are made and released, never while they run */
    struct slab *current; /* has room; NULL: none */
};
void slab_pool_init(struct slab_pool *p);
void slab_pool_free(struct slab_pool *p); /* every piece has been given back */
/* A piece of size bytes, aligned to 64, not zeroed; *owner is for slab_give. NULL: out of memory. */
void *slab_take(struct slab_pool *p, size_t size, struct slab **owner);
void slab_give(struct slab_pool *p, struct slab *owner);
void slab_written(struct slab_pool *p, struct slab *owner); /* the latest piece is filled: huge pages are welcome */

#endif
