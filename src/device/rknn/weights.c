/* SPDX-License-Identifier: Apache-2.0 */
#include "device/rknn/weights.h"

#include <string.h>

struct abi_matmul_info weights_info(struct matmul_shape s)
{
    return (struct abi_matmul_info){ .M = (int32_t)s.m,
                                     .K = (int32_t)s.k,
                                     .N = (int32_t)s.n,
                                     .type = s.type == DTYPE_I8 ? ABI_MATMUL_I8_I8_I32 : ABI_MATMUL_F16_F16_F32,
                                     .B_layout = ABI_LAYOUT_NATIVE,
                                     .AC_layout = ABI_LAYOUT_NATIVE };
}

static rkf_status run_on_control(struct task *t, rkf_error *err)
{
    bool hung;
    return task_run(&t->d->control, t, 0, &hung, err);
}

/* ---- homes */

static uint32_t aligned(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

/* A home is as small as a product can be; its attributes tell the platform's tiles. */
static void home_work(struct task *t)
{
    struct rknn_device *d = t->d;
    enum dtype type = *(enum dtype *)t->arg;
    const struct platform *p = d->platform;
    struct home *h = &d->home[memory_index(type)];
    struct matmul_shape s = { 8, type == DTYPE_I8 ? p->k_align_i8 : p->k_align_f16,
                              type == DTYPE_I8 ? p->n_align_i8 : p->n_align_f16, type };
    struct abi_matmul_info info;
    struct abi_matmul_io_attr io;
    s.k = aligned(2 * s.k, 32);
    s.n = aligned(2 * s.n, 32);
    info = weights_info(s);
    if (h->open)
        return;
    t->result = d->lib.call.rknn_matmul_create(&h->ctx, &info, &io);
    if (t->result)
        return;
    bool known = io.A.n_dims == 3 && io.B.n_dims == 4 && io.C.n_dims == 3 && io.A.dims[0] * io.A.dims[2] == s.k &&
                 io.B.dims[0] * io.B.dims[2] == s.n && io.B.dims[1] * io.B.dims[3] == s.k &&
                 io.C.dims[0] * io.C.dims[2] == s.n && io.A.dims[1] == s.m && io.C.dims[1] == s.m;
    if (!known) {
        d->lib.call.rknn_matmul_destroy(h->ctx);
        t->result = ABI_BAD_PARAM;
        return;
    }
    *h = (struct home){ .ctx = h->ctx,
                        .open = true,
                        .tile_n = io.B.dims[2],
                        .tile_k = io.B.dims[3],
                        .a_group = io.A.dims[2],
                        .c_group = io.C.dims[2] };
}

/* On the control thread, so that two callers do not open it twice. */
rkf_status home_open(struct rknn_device *d, enum dtype type, const struct home **h, rkf_error *err)
{
    struct task *t = task_new(d, sizeof type, home_work, NULL);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "opening the NPU");
    *(enum dtype *)t->arg = type;
    rkf_status rc = run_on_control(t, err);
    if (!rc && t->result == ABI_BAD_PARAM)
        rc = rkf_fail(err, RKF_UNSUPPORTED, "%s on %s has no matmul of type %s in the documented native layout",
                      d->lib.path, d->platform->name, dtype_name(type));
    else if (!rc && t->result)
        rc = rknn_fail(err, t->result, "cannot open the NPU: rknn_matmul_create");
    if (!rc)
        *h = &d->home[memory_index(type)];
    task_drop(t);
    return rc;
}

void homes_close(struct rknn_device *d)
{
    for (int i = 0; i < MEMORY_TYPES; i++) {
        if (d->home[i].open)
            d->lib.call.rknn_matmul_destroy(d->home[i].ctx);
        d->home[i].open = false;
    }
}

/* ---- blocks */

struct block_arg {
    struct block block;
    size_t bytes;
};

static abi_context home_of(const struct block *b)
{
    return b->d->home[memory_index(b->type)].ctx;
}

static void block_free(struct block *b)
{
    struct abi_calls *call = &b->d->lib.call;
    pthread_mutex_lock(&b->d->home_mutex);
    for (uint32_t i = 0; i < b->n_cuts; i++)
        call->rknn_destroy_mem(home_of(b), b->cuts[i].mem);
    if (b->mem)
        call->rknn_destroy_mem(home_of(b), b->mem);
    pthread_mutex_unlock(&b->d->home_mutex);
}

static void alloc_work(struct task *t)
{
    struct block_arg *arg = t->arg;
    pthread_mutex_lock(&t->d->home_mutex);
    arg->block.mem = t->d->lib.call.rknn_create_mem(home_of(&arg->block), (uint32_t)arg->bytes);
    pthread_mutex_unlock(&t->d->home_mutex);
}

static void alloc_undo(struct task *t)
{
    block_free(&((struct block_arg *)t->arg)->block);
}

rkf_status block_create(struct rknn_device *d, enum dtype type, uint32_t k, uint32_t n, struct block *out,
                        rkf_error *err)
{
    static _Atomic uint64_t next_id;
    size_t bytes = (size_t)k * n * dtype_size(type);
    struct task *t = bytes <= UINT32_MAX ? task_new(d, sizeof(struct block_arg), alloc_work, alloc_undo) : NULL;
    if (!t)
        return rkf_fail_memory(err, bytes, "weights");
    struct block_arg *arg = t->arg;
    arg->block = (struct block){ .d = d, .type = type, .k = k, .n = n, .id = atomic_fetch_add(&next_id, 1) + 1 };
    arg->bytes = bytes;
    rkf_status rc = run_on_control(t, err);
    if (!rc && !arg->block.mem)
        rc = rkf_fail(err, RKF_NO_MEMORY, "out of NPU memory: rknn_create_mem cannot get %zu bytes for weights", bytes);
    if (!rc)
        *out = arg->block;
    task_drop(t);
    return rc;
}

void *block_data(const struct block *b)
{
    return (char *)b->mem->virt_addr + b->mem->offset;
}

static void sync_work(struct task *t)
{
    struct block *b = *(struct block **)t->arg;
    pthread_mutex_lock(&t->d->home_mutex);
    t->result = t->d->lib.call.rknn_mem_sync(home_of(b), b->mem, ABI_SYNC_TO_DEVICE);
    pthread_mutex_unlock(&t->d->home_mutex);
}

rkf_status block_written(struct block *b, rkf_error *err)
{
    struct task *t = task_new(b->d, sizeof b, sync_work, NULL);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "weights");
    *(struct block **)t->arg = b;
    rkf_status rc = run_on_control(t, err);
    if (!rc && t->result)
        rc = rknn_fail(err, t->result, "rknn_mem_sync of weights");
    task_drop(t);
    return rc;
}

static void release_work(struct task *t)
{
    block_free(t->arg);
}

void block_release(struct block *b)
{
    if (!b->mem)
        return;
    struct task *t = task_new(b->d, sizeof *b, release_work, NULL);
    if (t) {
        *(struct block *)t->arg = *b;
        task_post(&b->d->control, t);
    } else {
        block_free(b);
    }
    b->mem = NULL;
}

/* ---- binding */

static uint32_t offset_of(const struct block *b, uint32_t n0)
{
    return (uint32_t)((size_t)b->k * n0 * dtype_size(b->type)); /* whole tiles: columns lie one after the other */
}

static struct abi_tensor_mem *import(struct rknn_device *d, abi_context ctx, const struct block *b, uint32_t n0,
                                     uint32_t n)
{
    return d->lib.call.rknn_create_mem_from_fd(ctx, b->mem->fd, b->mem->virt_addr, offset_of(b, n),
                                               b->mem->offset + (int32_t)offset_of(b, n0));
}

/* The home's own memory for a part of a block, made once. NULL: refused. */
static struct abi_tensor_mem *find_cut(struct block *b, uint32_t n0, uint32_t n)
{
    struct abi_tensor_mem *mem = NULL;
    enum { MAX = sizeof b->cuts / sizeof *b->cuts };
    pthread_mutex_lock(&b->d->home_mutex);
    for (uint32_t i = 0; i < b->n_cuts && !mem; i++)
        if (b->cuts[i].n0 == n0 && b->cuts[i].n == n)
            mem = b->cuts[i].mem;
    if (!mem && b->n_cuts < MAX) {
        mem = import(b->d, home_of(b), b, n0, n);
        if (mem)
            b->cuts[b->n_cuts++] = (struct cut){ n0, n, mem };
    }
    pthread_mutex_unlock(&b->d->home_mutex);
    return mem;
}

void weights_unbind(struct rknn_device *d, abi_context ctx, struct weights_binding *bound)
{
    if (bound->import)
        d->lib.call.rknn_destroy_mem(ctx, bound->import);
    *bound = (struct weights_binding){ 0 };
}

int weights_bind(struct rknn_device *d, abi_context ctx, struct abi_matmul_tensor_attr *attr, struct block *b,
                 uint32_t n0, uint32_t n, struct weights_binding *bound)
{
    if (bound->block == b->id && bound->n0 == n0 && bound->n == n)
        return ABI_OK;
    struct weights_binding now = { b->id, n0, n, NULL };
    struct abi_tensor_mem *mem = NULL;
    if (d->sharing == SHARING_DIRECT)
        mem = n == b->n ? b->mem : find_cut(b, n0, n);
    else
        mem = now.import = import(d, ctx, b, n0, n);
    if (!mem)
        return ABI_NO_MEMORY;
    int rc = d->lib.call.rknn_matmul_set_io_mem(ctx, mem, attr);
    if (rc) {
        if (now.import)
            d->lib.call.rknn_destroy_mem(ctx, now.import);
        return rc;
    }
    weights_unbind(d, ctx, bound); /* what was bound before may go now */
    *bound = now;
    return ABI_OK;
}
