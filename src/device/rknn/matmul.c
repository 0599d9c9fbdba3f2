/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul contexts and their memory. A context is made for (core, m, k, n, type) when it is first needed and kept for
 * others; beyond a number or an amount of memory the least recently used idle one goes. Each owns up to two pairs of A
 * and C, so that one is converted while the other runs; both may be queued on the core's worker at once.
 *
 * Context structs are counted by their call slots (struct call): whoever has acquired the context holds it, and so does
 * every run in flight. A context that failed or was left behind is destroyed by the last of them.
 */
#include "base/thread.h"
#include "device/rknn/weights.h"

#include <string.h>

enum { MAX_CONTEXTS = 96 };
static const size_t max_bytes = (size_t)384 << 20;

struct slot {
    struct call call;
    struct matmul_context *c;
    struct abi_tensor_mem *a, *cc;
    uint64_t tag;
    /* the run */
    struct block *block;
    uint32_t n0;
    struct call *keep;
    bool blame, started;
    int result;
    const char *step; /* that failed */
    int64_t took_ns;
};

struct matmul_context {
    struct matmul_context *next; /* device's list */
    struct rknn_device *d;
    uint32_t core;
    struct matmul_shape shape;
    abi_context ctx;
    struct abi_matmul_io_attr io;
    struct slot slot[MATMUL_SLOTS];
    size_t bytes;
    uint64_t used; /* device's clock */
    bool busy;     /* acquired */
    bool broken;
    atomic_int holders; /* the list or whoever acquired it, and every run in flight */
    struct call death;  /* destroys it; part of it, so that it needs no memory */
    /* what is bound; touched on the worker's thread only */
    int bound_slot; /* -1: none */
    struct weights_binding bound;
    int64_t usual_ns;
};

/* ---- destruction */

static void unlink_context(struct matmul_context *c) /* locked */
{
    struct matmul_context **at = &c->d->contexts;
    while (*at && *at != c)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = c->next;
    c->d->n_contexts--;
    c->d->context_bytes -= c->bytes;
}

/* Calls the library: on the core's worker, or where no worker runs any more. */
static void destroy_vendor_side(struct matmul_context *c)
{
    struct abi_calls *call = &c->d->lib.call;
    weights_unbind(c->d, c->ctx, &c->bound);
    for (int i = 0; i < MATMUL_SLOTS; i++) {
        if (c->slot[i].a)
            call->rknn_destroy_mem(c->ctx, c->slot[i].a);
        if (c->slot[i].cc)
            call->rknn_destroy_mem(c->ctx, c->slot[i].cc);
    }
    if (c->ctx)
        call->rknn_matmul_destroy(c->ctx);
}

static struct matmul_context *context_of_death(struct call *death)
{
    return (struct matmul_context *)((char *)death - offsetof(struct matmul_context, death));
}

static void death_run(struct call *death)
{
    destroy_vendor_side(context_of_death(death));
}

static void death_destroy(struct call *death)
{
    mem_free(context_of_death(death));
}

/* c is in no list and nobody holds it. The core's worker does it, after whatever call of c it is just leaving. */
static void destroy_later(struct matmul_context *c)
{
    if (worker_post(&c->d->core[c->core], &c->death, NULL))
        death_run(&c->death); /* no such thread, or none any more */
    call_drop(&c->death);
}

static void context_drop(struct matmul_context *c)
{
    if (atomic_fetch_sub_explicit(&c->holders, 1, memory_order_acq_rel) == 1)
        destroy_later(c); /* only broken ones come here: others are held by the device's list */
}

void matmul_close_all(struct rknn_device *d)
{
    pthread_mutex_lock(&d->mutex);
    struct matmul_context *list = d->contexts;
    d->contexts = NULL;
    d->n_contexts = 0;
    d->context_bytes = 0;
    pthread_mutex_unlock(&d->mutex);
    while (list) {
        struct matmul_context *next = list->next;
        destroy_vendor_side(list);
        mem_free(list);
        list = next;
    }
}

/* ---- creation, on the core's worker */

struct create_arg {
    struct matmul_context *c;
    const char *step;
};

static bool layout_is(const struct abi_matmul_tensor_attr *a, uint32_t n_dims, const uint32_t *dims)
{
    return a->n_dims == n_dims && memcmp(a->dims, dims, n_dims * sizeof *dims) == 0;
}

/* The sizes that the library wants must be those that the conversions make. */
static bool layouts_fit(const struct matmul_context *c, const struct home *h)
{
    struct matmul_shape s = c->shape;
    uint32_t size_a = (uint32_t)(s.type == DTYPE_I8 ? 1 : 2);
    const uint32_t a[3] = { s.k / h->a_group, s.m, h->a_group }, cc[3] = { s.n / h->c_group, s.m, h->c_group };
    const uint32_t b[4] = { s.n / h->tile_n, s.k / h->tile_k, h->tile_n, h->tile_k };
    return layout_is(&c->io.A, 3, a) && layout_is(&c->io.B, 4, b) && layout_is(&c->io.C, 3, cc) &&
           c->io.A.size >= s.m * s.k * size_a && c->io.C.size >= s.m * s.n * 4;
}

static int make_slot(struct matmul_context *c, int i)
{
    struct abi_calls *call = &c->d->lib.call;
    struct slot *s = &c->slot[i];
    if (!s->a)
        s->a = call->rknn_create_mem(c->ctx, c->io.A.size);
    if (!s->cc)
        s->cc = call->rknn_create_mem(c->ctx, c->io.C.size);
    return s->a && s->cc ? ABI_OK : ABI_NO_MEMORY;
}

/* Masks exist only where there is more than one core; only single cores are possible for matmul. */
int matmul_pin(struct rknn_device *d, abi_context ctx, uint32_t core)
{
    return d->platform->set_core_mask ? d->lib.call.rknn_matmul_set_core_mask(ctx, 1 << core) : ABI_OK;
}

static void create_work(struct task *t)
{
    struct create_arg *arg = t->arg;
    struct matmul_context *c = arg->c;
    struct abi_matmul_info info = weights_info(c->shape);
    arg->step = "rknn_matmul_create";
    t->result = c->d->lib.call.rknn_matmul_create(&c->ctx, &info, &c->io);
    if (t->result) {
        c->ctx = 0;
        return;
    }
    if (!layouts_fit(c, &c->d->home[memory_index(c->shape.type)])) {
        arg->step = "rknn_matmul_create answers with a layout that is not the documented one";
        t->result = ABI_FAIL;
        return;
    }
    arg->step = "rknn_matmul_set_core_mask";
    t->result = matmul_pin(c->d, c->ctx, c->core);
    if (t->result)
        return;
    arg->step = "rknn_create_mem";
    t->result = make_slot(c, 0);
}

static void create_undo(struct task *t)
{
    struct matmul_context *c = ((struct create_arg *)t->arg)->c;
    destroy_vendor_side(c);
    mem_free(c);
}

static void slot_run(struct call *call);
static void slot_destroy(struct call *call)
{
    (void)call; /* part of its context */
}

static struct matmul_context *context_new(struct rknn_device *d, uint32_t core, struct matmul_shape shape)
{
    struct matmul_context *c = mem_zalloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct matmul_context){ .d = d, .core = core, .shape = shape, .bound_slot = -1, .busy = true };
    atomic_init(&c->holders, 1);
    call_init(&c->death, death_run, death_destroy);
    for (int i = 0; i < MATMUL_SLOTS; i++) {
        call_init(&c->slot[i].call, slot_run, slot_destroy);
        c->slot[i].c = c;
    }
    return c;
}

static rkf_status create(struct rknn_device *d, uint32_t core, struct matmul_shape shape, int64_t deadline_ns,
                         struct matmul_context **out, uint8_t *failed, rkf_error *err)
{
    struct matmul_context *c = context_new(d, core, shape);
    struct task *t = c ? task_new(d, sizeof(struct create_arg), create_work, create_undo) : NULL;
    if (!t) {
        mem_free(c);
        return rkf_fail_memory(err, sizeof *c, "a matmul context");
    }
    struct create_arg *arg = t->arg;
    arg->c = c;
    bool hung;
    rkf_status rc = task_run(&d->core[core], t, deadline_ns, &hung, err);
    if (rc) { /* the task undoes itself if it ever runs; if it never did, there is nothing but the struct */
        if (atomic_load(&t->call.state) == CALL_IDLE)
            mem_free(c);
        *failed |= hung ? (uint8_t)(1u << core) : 0;
    } else if (t->result) {
        rc = rknn_fail(err, t->result, "%s for %u x %u x %u on NPU core %u", arg->step, shape.m, shape.k, shape.n,
                       core);
        destroy_later(c);
    } else {
        *out = c;
    }
    task_drop(t);
    return rc;
}

/* ---- acquiring */

static bool same_shape(const struct matmul_context *c, uint32_t core, struct matmul_shape s)
{
    return c->core == core && c->shape.m == s.m && c->shape.k == s.k && c->shape.n == s.n && c->shape.type == s.type;
}

static struct matmul_context *find_idle(struct rknn_device *d, uint32_t core, struct matmul_shape shape)
{
    struct matmul_context *c;
    pthread_mutex_lock(&d->mutex);
    for (c = d->contexts; c && (c->busy || !same_shape(c, core, shape)); c = c->next)
        ;
    if (c) {
        c->busy = true;
        c->used = ++d->clock;
    }
    pthread_mutex_unlock(&d->mutex);
    return c;
}

/* Makes room: destroys least recently used idle contexts while there are too many. all: every idle one. */
static void evict(struct rknn_device *d, bool all)
{
    for (;;) {
        struct matmul_context *oldest = NULL;
        pthread_mutex_lock(&d->mutex);
        if (all || d->n_contexts > MAX_CONTEXTS || d->context_bytes > max_bytes)
            for (struct matmul_context *c = d->contexts; c; c = c->next)
                if (!c->busy && (!oldest || c->used < oldest->used))
                    oldest = c;
        if (oldest)
            unlink_context(oldest);
        pthread_mutex_unlock(&d->mutex);
        if (!oldest)
            return;
        destroy_later(oldest);
    }
}

static void list_add(struct matmul_context *c)
{
    struct rknn_device *d = c->d;
    pthread_mutex_lock(&d->mutex);
    c->bytes = (size_t)c->io.A.size + c->io.C.size;
    c->used = ++d->clock;
    c->next = d->contexts;
    d->contexts = c;
    d->n_contexts++;
    d->context_bytes += c->bytes;
    pthread_mutex_unlock(&d->mutex);
}

rkf_status matmul_acquire(struct rknn_device *d, uint32_t core, struct matmul_shape shape, int64_t deadline_ns,
                          struct matmul_context **out, uint8_t *failed, rkf_error *err)
{
    struct matmul_context *c = find_idle(d, core, shape);
    if (!c) {
        evict(d, false);
        rkf_status rc = create(d, core, shape, deadline_ns, &c, failed, err);
        if (rc == RKF_NO_MEMORY) { /* what lies idle may be what is missing */
            evict(d, true);
            rc = create(d, core, shape, deadline_ns, &c, failed, err);
        }
        if (rc)
            return rc;
        list_add(c);
    }
    *out = c;
    return RKF_OK;
}

void matmul_release(struct matmul_context *c, bool broken)
{
    struct rknn_device *d = c->d;
    pthread_mutex_lock(&d->mutex);
    c->busy = false;
    if (broken && !c->broken) {
        c->broken = true;
        unlink_context(c);
    }
    for (int i = 0; i < MATMUL_SLOTS; i++)
        c->slot[i].tag = 0;
    pthread_mutex_unlock(&d->mutex);
    if (broken)
        context_drop(c);
}

/* ---- slots */

struct slot_arg {
    struct matmul_context *c;
    uint32_t slot;
};

static void slot_work(struct task *t)
{
    struct slot_arg *arg = t->arg;
    t->result = make_slot(arg->c, (int)arg->slot);
}

static void slot_undo(struct task *t)
{
    context_drop(((struct slot_arg *)t->arg)->c);
}

rkf_status matmul_slot(struct matmul_context *c, uint32_t slot, int64_t deadline_ns, void **a, const void **cc,
                       uint8_t *failed, rkf_error *err)
{
    struct slot *s = &c->slot[slot];
    if (!s->a || !s->cc) {
        struct task *t = task_new(c->d, sizeof(struct slot_arg), slot_work, slot_undo);
        if (!t)
            return rkf_fail_memory(err, sizeof *t, "a matmul's memory");
        *(struct slot_arg *)t->arg = (struct slot_arg){ c, slot };
        bool hung;
        atomic_fetch_add(&c->holders, 1); /* the task's, if it outlives the wait: undo lets go */
        rkf_status rc = task_run(&c->d->core[c->core], t, deadline_ns, &hung, err);
        int result = rc ? 0 : t->result;
        if (!rc || atomic_load(&t->call.state) == CALL_IDLE)
            atomic_fetch_sub(&c->holders, 1);
        task_drop(t);
        *failed |= hung ? (uint8_t)(1u << c->core) : 0;
        if (!rc && result)
            rc = rknn_fail(err, result, "rknn_create_mem of %u and %u bytes", c->io.A.size, c->io.C.size);
        if (rc)
            return rc;
        pthread_mutex_lock(&c->d->mutex);
        c->bytes += (size_t)c->io.A.size + c->io.C.size;
        c->d->context_bytes += (size_t)c->io.A.size + c->io.C.size;
        pthread_mutex_unlock(&c->d->mutex);
    }
    *a = (char *)s->a->virt_addr + s->a->offset;
    *cc = (const char *)s->cc->virt_addr + s->cc->offset;
    return RKF_OK;
}

uint64_t *matmul_tag(struct matmul_context *c, uint32_t slot)
{
    return &c->slot[slot].tag;
}

/* ---- running, on the core's worker */

static int slot_bind(struct slot *s)
{
    struct matmul_context *c = s->c;
    struct abi_calls *call = &c->d->lib.call;
    int which = (int)(s - c->slot), rc = ABI_OK;
    if (c->bound_slot != which) {
        c->bound_slot = -1;
        s->step = "rknn_matmul_set_io_mem of A";
        if ((rc = call->rknn_matmul_set_io_mem(c->ctx, s->a, &c->io.A)))
            return rc;
        s->step = "rknn_matmul_set_io_mem of C";
        if ((rc = call->rknn_matmul_set_io_mem(c->ctx, s->cc, &c->io.C)))
            return rc;
        c->bound_slot = which;
    }
    s->step = "rknn_matmul_set_io_mem of B";
    return weights_bind(c->d, c->ctx, &c->io.B, s->block, s->n0, c->shape.n, &c->bound);
}

/* The memory is cached: the CPU's writes of A go to the device before, C comes from it afterwards. B was written once.
 */
static int try_run(void *arg)
{
    struct slot *s = arg;
    struct abi_calls *call = &s->c->d->lib.call;
    int64_t begin = time_now_ns();
    s->step = "rknn_mem_sync of A";
    int rc = call->rknn_mem_sync(s->c->ctx, s->a, ABI_SYNC_TO_DEVICE);
    if (rc)
        return rc;
    s->step = "rknn_matmul_run";
    rc = call->rknn_matmul_run(s->c->ctx);
    if (rc)
        return rc;
    s->step = "rknn_mem_sync of C";
    rc = call->rknn_mem_sync(s->c->ctx, s->cc, ABI_SYNC_FROM_DEVICE);
    s->took_ns = time_now_ns() - begin;
    return rc;
}

static void slot_run(struct call *call)
{
    struct slot *s = (struct slot *)call;
    struct matmul_context *c = s->c;
    struct call *keep = s->keep;
    s->blame = false;
    s->result = slot_bind(s);
    if (s->result == ABI_OK)
        s->result = health_run(c->d, &c->d->core[c->core], (uint8_t)(1u << c->core), try_run, s, &s->blame);
    if (keep)
        call_drop(keep);
    context_drop(c);
}

rkf_status matmul_start(struct matmul_context *c, uint32_t slot, struct block *b, uint32_t n0, struct call *keep,
                        uint8_t *failed, rkf_error *err)
{
    struct slot *s = &c->slot[slot];
    s->block = b;
    s->n0 = n0;
    s->keep = keep;
    s->call.usual_ns = c->usual_ns;
    if (keep)
        call_hold(keep);
    atomic_fetch_add(&c->holders, 1);
    rkf_status rc = worker_submit(&c->d->core[c->core], &s->call, err);
    if (rc) {
        if (keep)
            call_drop(keep);
        atomic_fetch_sub(&c->holders, 1);
        *failed |= rc == RKF_DEVICE ? (uint8_t)(1u << c->core) : 0;
    }
    s->started = rc == RKF_OK;
    return rc;
}

rkf_status matmul_finish(struct matmul_context *c, uint32_t slot, int64_t deadline_ns, int64_t *took_ns,
                         uint8_t *failed, rkf_error *err)
{
    struct slot *s = &c->slot[slot];
    bool hung;
    rkf_status rc = worker_wait(&c->d->core[c->core], &s->call, deadline_ns, &hung, err);
    if (rc) {
        *failed |= hung ? (uint8_t)(1u << c->core) : 0;
        if (atomic_load(&s->call.state) == CALL_IDLE) { /* it never ran */
            if (s->keep)
                call_drop(s->keep);
            atomic_fetch_sub(&c->holders, 1);
        }
        return rc;
    }
    *took_ns = s->took_ns;
    if (s->result) {
        *failed |= s->blame ? (uint8_t)(1u << c->core) : 0;
        return rknn_fail(err, s->result, "%s on NPU core %u", s->step, c->core);
    }
    c->usual_ns = c->usual_ns ? (3 * c->usual_ns + s->took_ns) / 4 : s->took_ns;
    return RKF_OK;
}
