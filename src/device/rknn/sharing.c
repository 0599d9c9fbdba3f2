/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether matmul contexts may use each other's memory: tried with a product of small whole numbers whose result is
 * known exactly. First the weights of the home as they are, then imported by their file descriptor, then as a copy that
 * belongs to the context, to tell "not shared" from "computes nonsense". The same for a part of the weights.
 */
#include "device/rknn/native.h"
#include "device/rknn/weights.h"

#include <string.h>

enum { ROWS = 8 };

struct trial {
    struct rknn_device *d;
    const struct home *h;
    uint32_t core, k, n; /* n: of the weights */
    abi_context ctx;
    struct abi_matmul_io_attr io;
    struct abi_tensor_mem *a, *c, *b; /* b: the home's */
    int result;                       /* of the library */
    bool blame;
};
enum verdict { RIGHT, WRONG, REFUSED /* by the library */, FAILED /* to run: nothing is known */ };

static float value_a(uint32_t r, uint32_t i)
{
    return (float)((r * 3 + i) % 5) - 2;
}

static float value_b(uint32_t c, uint32_t i)
{
    return (float)((c * 7 + i * 2) % 9) - 4;
}

static void fill(struct trial *t)
{
    float row[256];
    const float one[ROWS] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    for (uint32_t c = 0; c < t->n; c++) {
        for (uint32_t i = 0; i < t->k; i++)
            row[i] = value_b(c, i);
        native_put_b((char *)t->b->virt_addr + t->b->offset, DTYPE_F16, t->k, t->h->tile_n, t->h->tile_k, c, row, t->k,
                     1);
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t i = 0; i < t->k; i++)
            row[i] = value_a(r, i);
        native_put_a((char *)t->a->virt_addr + t->a->offset, DTYPE_F16, ROWS, t->k, t->h->a_group, r, row, t->k, 1,
                     t->k, one);
    }
}

/* C is A times columns n0 .. of B. */
static bool is_right(const struct trial *t, uint32_t n0, uint32_t n)
{
    const float *c = (const float *)(const void *)((const char *)t->c->virt_addr + t->c->offset);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t col = 0; col < n; col++) {
            float want = 0;
            for (uint32_t i = 0; i < t->k; i++)
                want += value_a(r, i) * value_b(n0 + col, i);
            if (c[((size_t)(col / t->h->c_group) * ROWS + r) * t->h->c_group + col % t->h->c_group] != want)
                return false;
        }
    return true;
}

static int try_run(void *arg)
{
    struct trial *t = arg;
    struct abi_calls *call = &t->d->lib.call;
    int rc = call->rknn_mem_sync(t->ctx, t->a, ABI_SYNC_TO_DEVICE);
    if (!rc)
        rc = call->rknn_matmul_run(t->ctx);
    return rc ? rc : call->rknn_mem_sync(t->ctx, t->c, ABI_SYNC_FROM_DEVICE);
}

static enum verdict product(struct trial *t, struct abi_tensor_mem *b, uint32_t n0, uint32_t n)
{
    struct abi_calls *call = &t->d->lib.call;
    if (!b || call->rknn_matmul_set_io_mem(t->ctx, t->a, &t->io.A) ||
        call->rknn_matmul_set_io_mem(t->ctx, t->c, &t->io.C) || call->rknn_matmul_set_io_mem(t->ctx, b, &t->io.B))
        return REFUSED;
    memset((char *)t->c->virt_addr + t->c->offset, 0x77, t->io.C.size);
    if (call->rknn_mem_sync(t->ctx, t->c, ABI_SYNC_TO_DEVICE)) /* or the cache writes that over the result later */
        return REFUSED;
    t->result = health_run(t->d, &t->d->core[t->core], (uint8_t)(1u << t->core), try_run, t, &t->blame);
    return t->result ? FAILED : is_right(t, n0, n) ? RIGHT : WRONG;
}

static void trial_close(struct trial *t)
{
    struct abi_calls *call = &t->d->lib.call;
    if (t->a)
        call->rknn_destroy_mem(t->ctx, t->a);
    if (t->c)
        call->rknn_destroy_mem(t->ctx, t->c);
    if (t->ctx)
        call->rknn_matmul_destroy(t->ctx);
    t->a = t->c = NULL;
    t->ctx = 0;
}

/* Bound to the context or not: nothing runs on it before the next one is bound. */
static void trial_detach(struct trial *t, abi_context owner, struct abi_tensor_mem *m)
{
    if (m)
        t->d->lib.call.rknn_destroy_mem(owner, m);
}

/* A context for n columns, with its own A and C. */
static int trial_open(struct trial *t, uint32_t n)
{
    struct abi_calls *call = &t->d->lib.call;
    struct abi_matmul_info info = weights_info((struct matmul_shape){ ROWS, t->k, n, DTYPE_F16 });
    int rc = call->rknn_matmul_create(&t->ctx, &info, &t->io);
    if (rc) {
        t->ctx = 0;
        return rc;
    }
    rc = matmul_pin(t->d, t->ctx, t->core);
    if (rc)
        return rc;
    t->a = call->rknn_create_mem(t->ctx, t->io.A.size);
    t->c = call->rknn_create_mem(t->ctx, t->io.C.size);
    if (!t->a || !t->c)
        return ABI_NO_MEMORY;
    fill(t);
    pthread_mutex_lock(&t->d->home_mutex);
    rc = call->rknn_mem_sync(t->h->ctx, t->b, ABI_SYNC_TO_DEVICE);
    pthread_mutex_unlock(&t->d->home_mutex);
    return rc;
}

static enum verdict try_import(struct trial *t, abi_context owner, uint32_t n0, uint32_t n)
{
    struct abi_calls *call = &t->d->lib.call;
    uint32_t column = t->k * 2;
    struct abi_tensor_mem *m = call->rknn_create_mem_from_fd(owner, t->b->fd, t->b->virt_addr, n * column,
                                                             t->b->offset + (int32_t)(n0 * column));
    enum verdict v = product(t, m, n0, n);
    trial_detach(t, owner, m);
    return v;
}

static enum verdict try_copy(struct trial *t)
{
    struct abi_tensor_mem *m = t->d->lib.call.rknn_create_mem(t->ctx, t->io.B.size);
    if (m)
        memcpy((char *)m->virt_addr + m->offset, (const char *)t->b->virt_addr + t->b->offset, t->io.B.size);
    if (m && t->d->lib.call.rknn_mem_sync(t->ctx, m, ABI_SYNC_TO_DEVICE)) {
        trial_detach(t, t->ctx, m);
        return REFUSED;
    }
    enum verdict v = product(t, m, 0, t->n);
    trial_detach(t, t->ctx, m);
    return v;
}

/* SHARING_UNKNOWN: a run failed, nothing is known. */
static enum sharing try_whole(struct trial *t)
{
    enum verdict direct = product(t, t->b, 0, t->n);
    if (direct == RIGHT || direct == FAILED)
        return direct == RIGHT ? SHARING_DIRECT : SHARING_UNKNOWN;
    enum verdict imported = try_import(t, t->ctx, 0, t->n);
    if (imported == RIGHT || imported == FAILED)
        return imported == RIGHT ? SHARING_IMPORT : SHARING_UNKNOWN;
    enum verdict own = try_copy(t);
    if (own == RIGHT || own == FAILED)
        return own == RIGHT ? SHARING_NONE : SHARING_UNKNOWN;
    rknn_log(
        t->d, RKF_LOG_WARN,
        "NPU core %u computes a product of small numbers wrongly: do not trust its results until that is explained",
        t->core);
    return direct == WRONG ? SHARING_DIRECT : imported == WRONG ? SHARING_IMPORT : SHARING_NONE;
}

/* The second half of the columns, as joint lanes need it. An NPU that computes nonsense counts if it takes the memory.
 */
static enum verdict try_part(struct trial *t, enum sharing how)
{
    uint32_t half = t->n / 2;
    trial_close(t);
    t->result = trial_open(t, half);
    return t->result ? FAILED : try_import(t, how == SHARING_DIRECT ? t->h->ctx : t->ctx, half, half);
}

struct decision {
    uint32_t core;
    enum sharing sharing;
    bool parts, blame;
};

static void decide(struct task *task)
{
    struct decision *out = task->arg;
    struct rknn_device *d = task->d;
    struct trial t = { .d = d, .h = &d->home[0], .core = out->core };
    enum verdict part = REFUSED;
    t.k = 2 * t.h->tile_k;
    t.n = 2 * t.h->tile_n;
    pthread_mutex_lock(&d->home_mutex);
    t.b = d->lib.call.rknn_create_mem(t.h->ctx, t.k * t.n * 2);
    pthread_mutex_unlock(&d->home_mutex);
    t.result = t.b ? trial_open(&t, t.n) : ABI_NO_MEMORY;
    if (t.result == ABI_OK)
        out->sharing = try_whole(&t);
    if (out->sharing != SHARING_UNKNOWN && out->sharing != SHARING_NONE)
        part = try_part(&t, out->sharing);
    if (part == FAILED)
        out->sharing = SHARING_UNKNOWN;
    out->parts = part == RIGHT || part == WRONG;
    out->blame = t.blame;
    task->result = t.result;
    trial_close(&t);
    pthread_mutex_lock(&d->home_mutex);
    if (t.b)
        d->lib.call.rknn_destroy_mem(t.h->ctx, t.b);
    pthread_mutex_unlock(&d->home_mutex);
}

/* The first answer stands; two cores may have tried at once. */
static void keep_decision(struct rknn_device *d, const struct decision *found)
{
    static const char *const words[] = { "?", "directly", "by import", "not at all" };
    pthread_mutex_lock(&d->mutex);
    bool first = d->sharing == SHARING_UNKNOWN;
    if (first) {
        d->sharing = found->sharing;
        d->parts_shared = found->parts;
    }
    pthread_mutex_unlock(&d->mutex);
    if (first)
        rknn_log(d, RKF_LOG_INFO, "matmul contexts share weights %s%s", words[found->sharing],
                 found->parts ? "" : ", but not parts of them: joint masks use one core");
}

static rkf_status run_trial(struct rknn_device *d, uint32_t core, int64_t deadline_ns, uint8_t *failed, rkf_error *err)
{
    struct task *t = task_new(d, sizeof(struct decision), decide, NULL);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "trying the NPU");
    struct decision *found = t->arg;
    bool hung;
    found->core = core;
    rkf_status rc = task_run(&d->core[core], t, deadline_ns, &hung, err);
    if (rc)
        *failed |= hung ? (uint8_t)(1u << core) : 0;
    else if (found->sharing != SHARING_UNKNOWN)
        keep_decision(d, found);
    else {
        *failed |= found->blame ? (uint8_t)(1u << core) : 0;
        rc = rknn_fail(err, t->result, "trying a matmul on NPU core %u", core);
    }
    task_drop(t);
    return rc;
}

rkf_status sharing_ensure(struct rknn_device *d, uint32_t core, int64_t deadline_ns, bool *parts, uint8_t *failed,
                          rkf_error *err)
{
    for (int tries = 0; tries < 2; tries++) {
        pthread_mutex_lock(&d->mutex);
        enum sharing how = d->sharing;
        *parts = d->parts_shared;
        pthread_mutex_unlock(&d->mutex);
        if (how == SHARING_NONE)
            return rkf_fail(
                err, RKF_UNSUPPORTED,
                "%s lets no matmul context use another's weights, so that models cannot run from safetensors "
                "on this NPU: use a .rknn file or the CPU",
                d->lib.path);
        if (how != SHARING_UNKNOWN)
            return RKF_OK;
        rkf_status rc = run_trial(d, core, deadline_ns, failed, err);
        if (rc)
            return rc;
    }
    return rkf_fail(err, RKF_INTERNAL, "trying the NPU led to nothing");
}
