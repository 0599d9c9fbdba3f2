/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensor memories. Blocks come from the heap with a guard behind them, so that the guard, or the address sanitizer,
 * sees writes past the end; their fds are numbers of our own that rknn_create_mem_from_fd understands. A memory made
 * from an fd keeps the block alive. Data begins at virt_addr + offset.
 */
#include "sim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* With the address sanitizer its own zone begins right behind the block. */
#if defined(__SANITIZE_ADDRESS__)
#define GUARD 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARD 0
#endif
#endif
#ifndef GUARD
#define GUARD 64
#endif

enum {
    GUARD_BYTE = 0xa5,
    FIRST_FD = 1 << 20, /* above what the system hands out */
};

struct memory *memory_find(const struct sim_tensor_mem *mem)
{
    for (struct memory *m = sim.memories; m; m = m->next)
        if (&m->pub == mem)
            return m;
    sim.counters.bad_handles++;
    sim_log('E', "no such tensor memory");
    return NULL;
}

struct memory *memory_pin(uint64_t id)
{
    for (struct memory *m = sim.memories; m; m = m->next)
        if (m->id == id) {
            m->pins++;
            return m;
        }
    return NULL;
}

void memory_unpin(struct memory *m)
{
    if (m)
        m->pins--;
}

void memory_leak_check(uint64_t ctx)
{
    for (struct memory *m = sim.memories; m; m = m->next)
        if (m->ctx == ctx) {
            sim.counters.mem_leaked++;
            sim_log('W', "context %#llx is destroyed before its memory of %u bytes", (unsigned long long)ctx, m->size);
        }
}

/* Locked. NULL: out of memory, real, injected, or the domain is full. */
static struct block *block_new(uint64_t size, uint32_t domain)
{
    static int32_t next_fd = FIRST_FD;
    if (sim.domain_bytes[domain] + size > sim.config.limit) {
        sim_log('E', "failed to allocate %llu bytes: IOMMU domain %u is full", (unsigned long long)size, domain);
        return NULL;
    }
    struct block *b = calloc(1, sizeof *b);
    void *p = NULL;
    uint8_t *device = sim.config.coherent ? NULL : malloc((size_t)size);
    if (b == NULL || (device == NULL && !sim.config.coherent) || posix_memalign(&p, 64, (size_t)size + GUARD) != 0) {
        free(device);
        free(b);
        return NULL;
    }
    b->p = p;
    b->device = device;
    memset(b->p, 0, size);
    if (device) /* where nothing is computed, results stay what they are: numbers */
        memset(device, sim.config.compute || !sim.config.model ? 0xff : 0, size);
    for (int i = 0; i < GUARD; i++)
        b->p[size + (uint32_t)i] = GUARD_BYTE;
    b->size = size;
    b->fd = next_fd++;
    b->domain = domain;
    b->next = sim.blocks;
    sim.blocks = b;
    sim.domain_bytes[domain] += size;
    sim.counters.memory_bytes += size;
    if (sim.counters.memory_peak < sim.counters.memory_bytes)
        sim.counters.memory_peak = sim.counters.memory_bytes;
    return b;
}

static void block_drop(struct block *b)
{
    if (b == NULL || --b->refs)
        return;
    struct block **at = &sim.blocks;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    for (int i = 0; i < GUARD; i++)
        if (b->p[b->size + i] != GUARD_BYTE) {
            sim.counters.mem_overruns++;
            sim_log('E', "memory of %llu bytes was written past its end", (unsigned long long)b->size);
            break;
        }
    sim.domain_bytes[b->domain] -= b->size;
    sim.counters.memory_bytes -= b->size;
    free(b->p);
    free(b->device);
    free(b);
}

/* Locked. Takes a reference to block (may be NULL: virt is the caller's). */
static struct memory *memory_new(uint64_t ctx, struct block *block, void *virt, uint32_t size, int32_t fd,
                                 int32_t offset)
{
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    if (block)
        block->refs++;
    m->pub = (struct sim_tensor_mem){ .virt_addr = virt, .fd = fd, .offset = offset, .size = size };
    m->id = ++sim.next_id;
    m->pub.phys_addr = m->id << 12;
    m->ctx = ctx;
    m->block = block;
    m->data = (uint8_t *)virt + offset;
    m->size = size;
    m->next = sim.memories;
    sim.memories = m;
    sim.counters.memories++;
    return m;
}

struct sim_tensor_mem *rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t flags)
{
    struct memory *m = NULL;
    struct context *c = context_hold(ctx, -1);
    (void)flags; /* caching and SRAM wishes change nothing here */
    if (c == NULL)
        return NULL;
    sim_lock();
    if (size == 0 || size > UINT32_MAX) {
        sim_misuse(SIM_BAD_PARAM, "a tensor memory of %llu bytes", (unsigned long long)size);
    } else if (!sim_alloc_fails()) {
        struct block *b = block_new(size, c->domain);
        m = b ? memory_new(ctx, b, b->p, (uint32_t)size, b->fd, 0) : NULL;
        if (b && m == NULL) {
            b->refs = 1;
            block_drop(b);
        }
    }
    sim_unlock();
    context_drop(c);
    return m ? &m->pub : NULL;
}

struct sim_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size)
{
    return rknn_create_mem2(ctx, size, 0);
}

struct sim_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt, uint32_t size, int32_t offset)
{
    struct memory *m = NULL;
    struct context *c = context_hold(ctx, -1);
    if (c == NULL)
        return NULL;
    sim_lock();
    struct block *b = sim.blocks;
    while (b && b->fd != fd)
        b = b->next;
    bool known = b && b->p == virt && offset >= 0 && (uint64_t)offset + size <= b->size;
    bool foreign = fd < FIRST_FD && fcntl(fd, F_GETFD) >= 0 && virt && offset >= 0;
    if (size == 0 || !(known || foreign))
        sim_misuse(SIM_BAD_PARAM, "rknn_create_mem_from_fd: fd %d, offset %d, size %u", fd, offset, size);
    else if (!sim_alloc_fails())
        m = memory_new(ctx, b, virt, size, fd, offset);
    sim_unlock();
    context_drop(c);
    return m ? &m->pub : NULL;
}

int rknn_destroy_mem(rknn_context ctx, struct sim_tensor_mem *mem)
{
    struct context *c = context_hold(ctx, -1);
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    struct memory *m = memory_find(mem);
    if (m == NULL) {
        r = SIM_BAD_PARAM;
    } else if (m->ctx != ctx) {
        r = sim_misuse(SIM_BAD_PARAM, "memory is destroyed with another context than the one that made it");
    } else if (m->pins) {
        r = sim_misuse(SIM_BAD_PARAM, "memory is destroyed while a run uses it");
    } else {
        struct memory **at = &sim.memories;
        while (*at != m)
            at = &(*at)->next;
        *at = m->next;
        sim.counters.memories--;
        block_drop(m->block);
        free(m);
    }
    sim_unlock();
    context_drop(c);
    return r;
}

uint8_t *memory_device(const struct memory *m)
{
    return m->block && m->block->device ? m->block->device + (m->data - m->block->p) : m->data;
}

static void memory_sync(struct memory *m, int mode)
{
    uint8_t *device = memory_device(m);
    if (mode & SIM_TO_DEVICE && device != m->data)
        memcpy(device, m->data, m->size);
    if (mode & SIM_FROM_DEVICE && device != m->data)
        memcpy(m->data, device, m->size);
    if (mode & SIM_TO_DEVICE)
        m->synced = true;
    if (mode & SIM_TO_DEVICE && m->block)
        m->block->synced = true;
    if (mode & SIM_FROM_DEVICE)
        m->unread = false;
}

int rknn_mem_sync(rknn_context ctx, struct sim_tensor_mem *mem, int mode)
{
    struct context *c = context_hold(ctx, -1);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    int r = memory_find(mem) ? SIM_OK : SIM_BAD_PARAM;
    if (r == SIM_OK && (mode < SIM_TO_DEVICE || mode > (SIM_TO_DEVICE | SIM_FROM_DEVICE)))
        r = sim_misuse(SIM_BAD_PARAM, "rknn_mem_sync: mode %d", mode);
    if (r == SIM_OK)
        memory_sync(memory_find(mem), mode);
    sim_unlock();
    context_drop(c);
    return r;
}
