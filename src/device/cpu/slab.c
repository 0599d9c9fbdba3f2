/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cpu/slab.h"

#include "base/mem.h"

/* A block's pages come when they are first written, so that what is left over costs addresses only. */
enum { SLAB_BYTES = 32 << 20 };

struct slab {
    uint8_t *p;
    size_t size, used;
    uint32_t pieces;
};

void slab_pool_init(struct slab_pool *p)
{
    *p = (struct slab_pool){ 0 };
    pthread_mutex_init(&p->lock, NULL);
}

static void slab_free(struct slab *s)
{
    if (s)
        mem_free_aligned(s->p);
    mem_free(s);
}

void slab_pool_free(struct slab_pool *p)
{
    slab_free(p->current);
    pthread_mutex_destroy(&p->lock);
}

static struct slab *slab_new(size_t size)
{
    struct slab *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->size = size > SLAB_BYTES ? size : SLAB_BYTES;
    s->p = mem_alloc_aligned(s->size, 64);
    if (s->p)
        return s;
    mem_free(s);
    return NULL;
}

static struct slab *slab_with_room(struct slab_pool *p, size_t size)
{
    struct slab *s = p->current;
    if (s && s->size - s->used >= size)
        return s;
    s = slab_new(size);
    if (s && p->current && p->current->pieces == 0)
        slab_free(p->current);
    if (s)
        p->current = s;
    return s;
}

void *slab_take(struct slab_pool *p, size_t size, struct slab **owner)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 63) & ~(size_t)63;
    pthread_mutex_lock(&p->lock);
    struct slab *s = slab_with_room(p, size);
    void *piece = NULL;
    if (s) {
        piece = s->p + s->used;
        s->used += size;
        s->pieces++;
        *owner = s;
    }
    pthread_mutex_unlock(&p->lock);
    return piece;
}

void slab_give(struct slab_pool *p, struct slab *s)
{
    pthread_mutex_lock(&p->lock);
    if (--s->pieces == 0) {
        if (s == p->current)
            p->current = NULL;
        slab_free(s);
    }
    pthread_mutex_unlock(&p->lock);
}

void slab_written(struct slab_pool *p, struct slab *s)
{
    pthread_mutex_lock(&p->lock);
    mem_prefer_huge(s->p, s->used);
    pthread_mutex_unlock(&p->lock);
}
