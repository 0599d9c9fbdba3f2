/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul contexts: C[M,N] = A[M,K] B[K,N]. Creation checks type, alignment and layouts as the platform's tables say;
 * matrices in normal layout are rearranged, that is copied, by rknn_matmul_set_io_mem, as the vendor documents: writing
 * them afterwards has no effect until it is called again. Native ones are read when the job runs.
 */
#include "matmul.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_K = 10240, MAX_SHAPES = 512 };

static const char *const names[3] = { "A", "B", "C" };

/* ---- creation */

static bool shape_ok(const struct platform *p, const struct sim_matmul_info *info, struct sim_matmul_shape s)
{
    struct tile t = platform_tile(p, info->type);
    if (s.M < 1 || s.K < 1 || s.N < 1 || s.K > MAX_K) {
        sim_log('E', "matmul: M %d, K %d, N %d: K must be in 1 .. %d", s.M, s.K, s.N, MAX_K);
        return false;
    }
    if ((uint32_t)s.K % t.k || (uint32_t)s.N % t.n) {
        sim_log('E', "matmul on %s: K %d must be a multiple of %u and N %d of %u", p->label, s.K, t.k, s.N, t.n);
        return false;
    }
    return (double)s.M * (s.K > s.N ? s.K : s.N) * 4 < 4e9 && (double)s.K * s.N * 4 < 4e9;
}

static bool info_ok(const struct platform *p, const struct sim_matmul_info *i)
{
    if (matmul_kind(i->type) == NULL || !(p->types >> i->type & 1)) {
        sim_log('E', "matmul type %d is not supported on %s", i->type, p->label);
        return false;
    }
    bool layouts = i->B_layout >= SIM_NORMAL && i->B_layout <= (p->transposed_b ? SIM_TRANSPOSED : SIM_NATIVE) &&
                   i->AC_layout >= SIM_NORMAL && i->AC_layout <= SIM_NATIVE;
    bool quant = i->B_quant_type >= SIM_PER_LAYER_SYM && i->B_quant_type <= SIM_PER_CHANNEL_ASYM &&
                 i->AC_quant_type >= SIM_PER_LAYER_SYM && i->AC_quant_type <= SIM_PER_LAYER_ASYM;
    if (!layouts || !quant || i->iommu_domain_id < 0 || i->iommu_domain_id >= SIM_DOMAINS) {
        sim_log('E', "matmul: layouts %d %d, quantisation %d %d or domain %d not supported", i->B_layout, i->AC_layout,
                i->B_quant_type, i->AC_quant_type, i->iommu_domain_id);
        return false;
    }
    return true;
}

static void describe(struct sim_matmul_tensor_attr *a, const char *name, int type, const uint32_t *dims, uint32_t n)
{
    uint64_t bits = type_bits(type);
    memset(a, 0, sizeof *a);
    strcpy(a->name, name);
    a->n_dims = n;
    for (uint32_t i = 0; i < n; i++) {
        a->dims[i] = dims[i];
        bits *= dims[i];
    }
    a->size = (uint32_t)(bits / 8);
    a->type = type;
}

static void describe_shape(const struct matmul *m, struct sim_matmul_shape s, struct sim_matmul_io_attr *io)
{
    const struct tile *t = &m->tile;
    uint32_t M = (uint32_t)s.M, K = (uint32_t)s.K, N = (uint32_t)s.N;
    bool ac = m->info.AC_layout == SIM_NATIVE;
    describe(&io->A, "A", m->kind->a, ac ? (uint32_t[]){ K / t->a, M, t->a } : (uint32_t[]){ M, K }, ac ? 3 : 2);
    describe(&io->C, "C", m->kind->c, ac ? (uint32_t[]){ N / t->c, M, t->c } : (uint32_t[]){ M, N }, ac ? 3 : 2);
    if (m->info.B_layout == SIM_NATIVE)
        describe(&io->B, "B", m->kind->b, (uint32_t[]){ N / t->n, K / t->k, t->n, t->k }, 4);
    else if (m->info.B_layout == SIM_TRANSPOSED)
        describe(&io->B, "B", m->kind->b, (uint32_t[]){ N, K }, 2);
    else
        describe(&io->B, "B", m->kind->b, (uint32_t[]){ K, N }, 2);
}

static int create_check(const struct sim_matmul_info *info, int n, const struct sim_matmul_shape *shapes)
{
    const struct platform *p = sim.config.platform;
    if (sim.config_broken)
        return SIM_FAIL;
    if (!sim.config.device) {
        sim_log('E', "failed to open rknpu module, need to insmod rknpu driver!");
        return SIM_DEVICE_UNAVAILABLE;
    }
    if (!info_ok(p, info))
        return SIM_BAD_PARAM;
    for (int i = 0; i < n; i++)
        if (!shape_ok(p, info, shapes[i]))
            return SIM_BAD_PARAM;
    return SIM_OK;
}

static int create(rknn_context *ctx, const struct sim_matmul_info *info, int n, const struct sim_matmul_shape *shapes,
                  bool dynamic, struct sim_matmul_io_attr *io)
{
    struct matmul *m = NULL;
    struct context *c = NULL;
    sim_lock();
    int r = create_check(info, n, shapes);
    if (r)
        goto done;
    r = SIM_NO_MEMORY;
    m = calloc(1, sizeof *m + (size_t)n * sizeof *shapes);
    if (m == NULL)
        goto done;
    m->info = *info;
    m->kind = matmul_kind(info->type);
    m->tile = platform_tile(sim.config.platform, info->type);
    m->n_shapes = (uint32_t)n;
    memcpy(m->shapes, shapes, (size_t)n * sizeof *shapes);
    m->current = dynamic ? -1 : 0;
    r = context_add(CONTEXT_MATMUL, m, (uint32_t)info->iommu_domain_id, &c);
    if (r)
        goto done;
    for (int i = 0; i < n; i++)
        describe_shape(m, shapes[i], &io[i]);
    *ctx = c->id;
done:
    sim_unlock();
    if (r)
        free(m);
    return r;
}

int rknn_matmul_create(rknn_context *ctx, struct sim_matmul_info *info, struct sim_matmul_io_attr *io)
{
    sim_start();
    if (ctx == NULL || info == NULL || io == NULL)
        return SIM_BAD_PARAM;
    return create(ctx, info, 1, &(struct sim_matmul_shape){ info->M, info->K, info->N }, false, io);
}

int rknn_matmul_create_dynamic_shape(rknn_context *ctx, struct sim_matmul_info *info, int n,
                                     struct sim_matmul_shape shapes[], struct sim_matmul_io_attr io[])
{
    sim_start();
    if (ctx == NULL || info == NULL || shapes == NULL || io == NULL || n < 1 || n > MAX_SHAPES)
        return SIM_BAD_PARAM;
    return create(ctx, info, n, shapes, true, io);
}

static void quant_clear(struct matmul_quant *q)
{
    free(q->scale);
    free(q->zp);
    *q = (struct matmul_quant){ 0 };
}

void matmul_free(void *impl)
{
    struct matmul *m = impl;
    for (int i = 0; i < 3; i++) {
        free(m->io[i].copy);
        quant_clear(&m->quant[i]);
    }
    free(m);
}

int rknn_matmul_destroy(rknn_context ctx)
{
    struct context *c = context_remove(ctx, CONTEXT_MATMUL);
    context_free(c);
    return c ? SIM_OK : SIM_BAD_CONTEXT;
}

/* ---- settings */

int rknn_matmul_set_core_mask(rknn_context ctx, int mask)
{
    struct context *c = context_enter(ctx, CONTEXT_MATMUL);
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    if (!sim.config.platform->core_masks) {
        r = sim_misuse(SIM_FAIL, "rknn_matmul_set_core_mask: not implemented on %s", sim.config.platform->label);
    } else if (mask == 0 || mask == 1 || mask == 2 || mask == 4) {
        c->mask = (uint32_t)mask; /* 4 is taken on RK3576 too; the run fails then */
    } else {
        sim_log('E', "Not support core mask: %d, fallback to single core auto mode", mask);
        c->mask = SIM_MASK_AUTO;
        r = SIM_FAIL;
    }
    sim_unlock();
    context_leave(c);
    return r;
}

static int which(const char *name)
{
    for (int i = 0; i < 3; i++)
        if (strncmp(name, names[i], SIM_MAX_NAME) == 0)
            return i;
    return -1;
}

/* Values per layer, or, for B per channel, one per column. */
static int quant_check(const struct matmul *m, int i, const struct sim_quant_params *p)
{
    const int types[3] = { m->kind->a, m->kind->b, m->kind->c };
    int how = i == 1 ? m->info.B_quant_type : m->info.AC_quant_type;
    bool per_channel = how == SIM_PER_CHANNEL_SYM || how == SIM_PER_CHANNEL_ASYM;
    bool symmetric = how == SIM_PER_LAYER_SYM || how == SIM_PER_CHANNEL_SYM;
    int n = per_channel ? m->shapes[m->current < 0 ? 0 : m->current].N : 1;
    if (types[i] == SIM_F16 || (types[i] == SIM_F32 && i != 2) || p->scale == NULL || p->scale_len != n ||
        p->zp_len < 0 || (p->zp_len && (p->zp == NULL || p->zp_len != n)))
        return SIM_BAD_PARAM;
    for (int k = 0; symmetric && k < p->zp_len; k++)
        if (p->zp[k])
            return SIM_BAD_PARAM;
    return SIM_OK;
}

int rknn_matmul_set_quant_params(rknn_context ctx, struct sim_quant_params *params)
{
    struct context *c = context_enter(ctx, CONTEXT_MATMUL);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct matmul *m = c->impl;
    int i = params ? which(params->name) : -1;
    int r = i < 0 ? SIM_BAD_PARAM : quant_check(m, i, params);
    if (r == SIM_OK) {
        size_t n = (size_t)params->scale_len;
        float *scale = malloc(n * sizeof *scale);
        int32_t *zp = calloc(n, sizeof *zp);
        if (scale && zp) {
            memcpy(scale, params->scale, n * sizeof *scale);
            if (params->zp_len)
                memcpy(zp, params->zp, n * sizeof *zp);
            quant_clear(&m->quant[i]);
            m->quant[i] = (struct matmul_quant){ scale, zp, (uint32_t)n };
        } else {
            free(scale);
            free(zp);
            r = SIM_NO_MEMORY;
        }
    } else {
        sim_log('E', "rknn_matmul_set_quant_params: wrong name, type, length or zero point");
    }
    context_leave(c);
    return r;
}

int rknn_matmul_set_dynamic_shape(rknn_context ctx, struct sim_matmul_shape *shape)
{
    struct context *c = context_enter(ctx, CONTEXT_MATMUL);
    int r = SIM_BAD_PARAM;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    struct matmul *m = c->impl;
    for (uint32_t i = 0; shape && i < m->n_shapes; i++) {
        struct sim_matmul_shape s = m->shapes[i];
        if (s.M != shape->M || s.K != shape->K || s.N != shape->N)
            continue;
        bool same_b = m->current >= 0 && m->shapes[m->current].K == s.K && m->shapes[m->current].N == s.N;
        if (m->current != (int)i) /* memories must be set again for the new sizes */
            m->io[0].memory = m->io[2].memory = 0;
        if (!same_b)
            m->io[1].memory = 0;
        if (m->quant[1].n > 1 && m->quant[1].n != (uint32_t)s.N) /* other columns, other scales */
            quant_clear(&m->quant[1]);
        m->current = (int)i;
        r = SIM_OK;
        break;
    }
    context_leave(c);
    return r;
}

/* Locked. A copy of a matrix in normal layout: what the runtime rearranges for the hardware. */
static int rearrange(struct matmul_io *io, const struct memory *mem, uint32_t size)
{
    uint8_t *copy = io->copy_size == size ? io->copy : realloc(io->copy, size);
    if (copy == NULL)
        return SIM_NO_MEMORY;
    io->copy = copy;
    io->copy_size = size;
    memcpy(copy, mem->data, size);
    return SIM_OK;
}

/* Locked. */
static int bind(struct context *c, struct memory *mem, const struct sim_matmul_tensor_attr *attr)
{
    struct matmul *m = c->impl;
    struct sim_matmul_io_attr io;
    if (m->current < 0)
        return sim_misuse(SIM_FAIL, "rknn_matmul_set_io_mem before rknn_matmul_set_dynamic_shape");
    describe_shape(m, m->shapes[m->current], &io);
    int i = which(attr->name);
    const struct sim_matmul_tensor_attr *want = i == 0 ? &io.A : i == 1 ? &io.B : &io.C;
    if (i < 0 || attr->size != want->size || attr->type != want->type || attr->n_dims != want->n_dims ||
        memcmp(attr->dims, want->dims, sizeof attr->dims[0] * want->n_dims))
        return sim_misuse(SIM_BAD_PARAM, "rknn_matmul_set_io_mem: the attributes are not those of this context");
    if (mem->size < want->size)
        return sim_misuse(SIM_BAD_PARAM, "rknn_matmul_set_io_mem: %s needs %u bytes, the memory has %u", names[i],
                          want->size, mem->size);
    if (mem->ctx != c->id && !sim.config.share) {
        sim_log('E', "rknn_matmul_set_io_mem: memory of another context (share=no)");
        return SIM_BAD_PARAM;
    }
    bool copied = (i == 0 && m->info.AC_layout != SIM_NATIVE) || (i == 1 && m->info.B_layout != SIM_NATIVE);
    int r = copied ? rearrange(&m->io[i], mem, want->size) : SIM_OK;
    if (r == SIM_OK)
        m->io[i].memory = mem->id;
    return r;
}

int rknn_matmul_set_io_mem(rknn_context ctx, struct sim_tensor_mem *mem, struct sim_matmul_tensor_attr *attr)
{
    struct context *c = context_enter(ctx, CONTEXT_MATMUL);
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    sim_lock();
    struct memory *found = memory_find(mem);
    int r = found && attr ? bind(c, found, attr) : SIM_BAD_PARAM;
    sim_unlock();
    context_leave(c);
    return r;
}

int rknn_B_normal_layout_to_native_layout(void *in, void *out, int K, int N, struct sim_matmul_info *info)
{
    sim_start();
    sim_lock();
    const struct platform *p = sim.config.platform;
    sim_unlock();
    if (in == NULL || out == NULL || info == NULL || matmul_kind(info->type) == NULL || !(p->types >> info->type & 1) ||
        !shape_ok(p, info, (struct sim_matmul_shape){ 1, K, N }))
        return SIM_BAD_PARAM;
    struct tile t = platform_tile(p, info->type);
    size_t bits = type_bits(matmul_kind(info->type)->b);
    const uint8_t *src = in;
    uint8_t *dst = out;
    for (uint32_t k = 0; k < (uint32_t)K; k++)
        for (uint32_t n = 0; n < (uint32_t)N; n++) {
            size_t from = (size_t)k * (uint32_t)N + n, to = native_b(&t, (uint32_t)K, (uint32_t)N, k, n);
            if (bits == 16) {
                memcpy(dst + 2 * to, src + 2 * from, 2);
            } else if (bits == 8) {
                dst[to] = src[from];
            } else { /* two per byte, the first in the low half */
                uint8_t v = src[from / 2] >> 4 * (from & 1) & 15, keep = to & 1 ? 0x0f : 0xf0;
                dst[to / 2] = (uint8_t)((dst[to / 2] & keep) | v << 4 * (to & 1));
            }
        }
    return SIM_OK;
}

/* ---- running */

struct run {
    struct matmul_product product;
    struct memory *memory[3];
};

/* Locked. The documented contract: memory that both the CPU and the device use is synced in between. What is in normal
 * layout was copied when it was set. */
static void check_synced(const struct matmul *m, struct memory **io)
{
    bool ok = m->info.AC_layout != SIM_NATIVE || (io[0]->synced && !io[2]->unread);
    ok &= m->info.B_layout != SIM_NATIVE || io[1]->synced || (io[1]->block && io[1]->block->synced);
    sim.counters.unsynced += !ok;
    io[0]->synced = false;
}

/* Locked. Pins the memories; false if one is missing. */
static bool collect(const struct matmul *m, struct run *r)
{
    struct matmul_product *p = &r->product;
    struct sim_matmul_shape s = m->shapes[m->current];
    *p = (struct matmul_product){ .m = m, .M = (uint32_t)s.M, .K = (uint32_t)s.K, .N = (uint32_t)s.N };
    for (int i = 0; i < 3; i++) {
        r->memory[i] = m->io[i].memory ? memory_pin(m->io[i].memory) : NULL;
        if (r->memory[i] == NULL)
            return false;
    }
    check_synced(m, r->memory);
    p->a = m->info.AC_layout == SIM_NATIVE ? memory_device(r->memory[0]) : m->io[0].copy;
    p->b = m->info.B_layout == SIM_NATIVE ? memory_device(r->memory[1]) : m->io[1].copy;
    p->c = memory_device(r->memory[2]);
    p->c_bytes = (size_t)s.M * (size_t)s.N * type_bits(m->kind->c) / 8;
    return true;
}

static void compute(void *arg)
{
    struct run *r = arg;
    r->product.result = matmul_compute(&r->product);
}

int rknn_matmul_run(rknn_context ctx)
{
    struct context *c = context_enter(ctx, CONTEXT_MATMUL);
    struct run run = { 0 };
    int r = SIM_OK;
    if (c == NULL)
        return SIM_BAD_CONTEXT;
    const struct matmul *m = c->impl;
    sim_lock();
    if (m->current < 0)
        r = sim_misuse(SIM_FAIL, "rknn_matmul_run before rknn_matmul_set_dynamic_shape");
    else if (!collect(m, &run))
        r = sim_misuse(SIM_FAIL, "rknn_matmul_run: A, B or C is not set, or its memory is gone");
    else
        sim.counters.runs++;
    sim_unlock();
    if (r == SIM_OK) {
        uint32_t cores;
        int64_t begin = sim_now_ns();
        struct matmul_product *p = &run.product;
        bool native = m->info.AC_layout == SIM_NATIVE && m->info.B_layout == SIM_NATIVE;
        struct work w = { .ctx = ctx, .mask = c->mask, .compute = compute, .arg = &run };
        for (uint32_t busy = 1; busy <= SIM_CORES; busy++)
            w.seconds[busy - 1] = cost_submit() + cost_matmul(p->M, p->K, p->N, m->info.type, native, busy);
        r = npu_run(&w, &cores);
        if (r == SIM_OK)
            r = p->result;
        if (r) /* whatever was in C is no result: NaN */
            memset(p->c, 0xff, p->c_bytes);
        sim_lock();
        c->run_us = (sim_now_ns() - begin) / 1000;
        run.memory[2]->unread = r == SIM_OK;
        sim_unlock();
    }
    sim_lock();
    for (int i = 0; i < 3; i++)
        memory_unpin(run.memory[i]);
    sim_unlock();
    context_leave(c);
    return r;
}
