/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers on the NPU. prepare cuts the weights into blocks that a matmul can take (K within one segment, N within
 * MAX_N) and writes them in native layout; apply.c runs them.
 */
#include "device/rknn/linear.h"
#include "device/rknn/native.h"

#include <string.h>

enum {
    MAX_N = 8192,             /* columns of one product: bounds C, and is the widest shape with a published speed */
    MAX_K_UNDOCUMENTED = 4096 /* where the platform's segment is not known: the smallest that is */
};

static void linear_destroy(struct call *life)
{
    struct rknn_linear *l = (struct rknn_linear *)((char *)life - offsetof(struct rknn_linear, life));
    struct rknn_device *d = l->d;
    for (uint32_t i = 0; l->blocks && i < l->n_cuts * l->k_cuts; i++)
        block_release(&l->blocks[i]);
    mem_free(l->blocks);
    mem_free_aligned(l->bias);
    mem_free_aligned(l->scale);
    mem_free(l);
    rknn_drop(d);
}

static void rknn_release(struct linear *base)
{
    if (base)
        call_drop(&((struct rknn_linear *)base)->life);
}

static rkf_status check_parts(const struct linear_part *parts, uint32_t n, enum dtype type, rkf_error *err)
{
    if (type != DTYPE_F16 && type != DTYPE_I8)
        return rkf_fail(err, RKF_UNSUPPORTED, "the NPU has no linear layers of type %s: use f16 or int8",
                        dtype_name(type));
    return linear_parts_check(parts, n, 1u << 20, 1u << 24, err);
}

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* How the matrix is cut: equal parts, aligned. */
static void cut(struct rknn_linear *l, const struct home *h)
{
    const struct platform *p = l->d->platform;
    bool i8 = l->base.type == DTYPE_I8;
    uint32_t k_align = larger(h->tile_k, i8 ? p->k_align_i8 : p->k_align_f16);
    uint32_t n_align = larger(h->tile_n, i8 ? p->n_align_i8 : p->n_align_f16);
    uint32_t max_k = p->k_segment ? p->k_segment : MAX_K_UNDOCUMENTED;
    l->home = h;
    l->k_cuts = (l->base.in + max_k - 1) / max_k;
    l->k_step = round_up((l->base.in + l->k_cuts - 1) / l->k_cuts, k_align);
    l->k_cuts = (l->base.in + l->k_step - 1) / l->k_step;
    l->k_align = k_align;
    l->n_cuts = (l->base.out + MAX_N - 1) / MAX_N;
    l->n_step = round_up((l->base.out + l->n_cuts - 1) / l->n_cuts, n_align);
    l->n_cuts = (l->base.out + l->n_step - 1) / l->n_step;
    l->n_align = n_align;
}

static uint32_t part_of(uint32_t total, uint32_t step, uint32_t i)
{
    uint32_t left = total - i * step;
    return left < step ? left : step;
}

uint32_t linear_k(const struct rknn_linear *l, uint32_t i)
{
    return part_of(l->base.in, l->k_step, i);
}

uint32_t linear_n(const struct rknn_linear *l, uint32_t j)
{
    return part_of(l->base.out, l->n_step, j);
}

static rkf_status linear_alloc(struct rknn_device *d, const struct home *h, const struct linear_part *parts, uint32_t n,
                               enum dtype type, struct rknn_linear **out, rkf_error *err)
{
    struct rknn_linear *l = mem_zalloc(1, sizeof *l);
    if (!l)
        return rkf_fail_memory(err, sizeof *l, "a linear layer");
    call_init(&l->life, NULL, linear_destroy);
    rknn_hold(d);
    l->d = d;
    l->base = (struct linear){ .device = &d->base, .in = parts[0].weight.cols, .type = type };
    l->n_parts = n;
    l->part_out = parts[0].weight.rows;
    for (uint32_t i = 0; i < n; i++) {
        l->base.out += parts[i].weight.rows;
        l->part_out = parts[i].weight.rows == l->part_out ? l->part_out : 0;
    }
    cut(l, h);
    rkf_status rc = RKF_OK;
    size_t wide = l->base.out * sizeof(float);
    l->blocks = mem_zalloc((size_t)l->n_cuts * l->k_cuts, sizeof *l->blocks);
    l->bias = mem_alloc_aligned(wide, 64);
    l->scale = mem_alloc_aligned(wide, 64);
    if (!l->blocks || !l->bias || !l->scale)
        rc = rkf_fail_memory(err, 2 * wide, "a linear layer");
    for (uint32_t j = 0; j < l->n_cuts && !rc; j++)
        for (uint32_t i = 0; i < l->k_cuts && !rc; i++) {
            struct block *b = &l->blocks[j * l->k_cuts + i];
            rc = block_create(d, type, round_up(linear_k(l, i), l->k_align), round_up(linear_n(l, j), l->n_align), b,
                              err);
            l->bytes += (size_t)b->k * b->n * dtype_size(type);
        }
    if (rc) {
        call_drop(&l->life);
        return rc;
    }
    l->bytes += 2 * wide;
    *out = l;
    return RKF_OK;
}

/* ---- writing the weights */

struct pack_job {
    struct rknn_linear *l;
    const struct linear_part *parts;
    float *rows; // [threads][in] f32
};

static void put_column(const struct pack_job *j, uint32_t block_col, uint32_t n_cut, const float *w, float scale)
{
    struct rknn_linear *l = j->l;
    for (uint32_t i = 0; i < l->k_cuts; i++) {
        const struct block *b = &l->blocks[n_cut * l->k_cuts + i];
        native_put_b(block_data(b), l->base.type, b->k, l->home->tile_n, l->home->tile_k, block_col,
                     w ? w + i * l->k_step : NULL, w ? linear_k(l, i) : 0, scale);
    }
}

static void pack_column(const struct pack_job *j, uint32_t col, float *row)
{
    struct rknn_linear *l = j->l;
    const struct linear_part *p = j->parts;
    uint32_t in_part = col;
    for (; in_part >= p->weight.rows; p++)
        in_part -= p->weight.rows;
    const struct view *w = &p->weight;
    convert_to_f32(row, (const char *)w->p + in_part * w->stride * dtype_size(w->type), w->type, l->base.in);
    l->scale[col] = native_row_scale(row, l->base.in, l->base.type);
    l->bias[col] = 0;
    if (p->bias)
        convert_to_f32(&l->bias[col], (const char *)p->bias + in_part * dtype_size(p->bias_type), p->bias_type, 1);
    put_column(j, col % l->n_step, col / l->n_step, row, l->scale[col]);
}

static void pack_columns(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct pack_job *j = arg;
    for (uint32_t col = begin; col < end; col++)
        pack_column(j, col, j->rows + (size_t)thread * j->l->base.in);
}

/* Columns that only fill the last tile. */
static void pack_padding(const struct pack_job *j)
{
    const struct rknn_linear *l = j->l;
    uint32_t last = l->n_cuts - 1;
    for (uint32_t col = linear_n(l, last); col < l->blocks[last * l->k_cuts].n; col++)
        put_column(j, col, last, NULL, 1);
}

static rkf_status rknn_prepare(struct exec *x, const struct linear_part *parts, uint32_t n, enum dtype type,
                               struct linear **out, rkf_error *err)
{
    struct rknn_device *d = rknn_of(x->device);
    struct rknn_linear *l = NULL;
    const struct home *h;
    rkf_status rc = check_parts(parts, n, type, err);
    if (!rc)
        rc = home_open(d, DTYPE_F16, &h, err); /* sharing is tried with f16 */
    if (!rc && type != DTYPE_F16)
        rc = home_open(d, type, &h, err);
    if (!rc)
        rc = linear_alloc(d, h, parts, n, type, &l, err);
    if (rc)
        return rc;
    struct arena_mark mark = arena_mark(&x->scratch);
    struct pack_job job = { l, parts, NULL };
    size_t floats = (size_t)team_size(x->team) * l->base.in;
    job.rows = arena_array(&x->scratch, floats, sizeof(float));
    if (!job.rows) {
        rknn_release(&l->base);
        return rkf_fail_memory(err, floats * sizeof(float), "packing weights");
    }
    team_for(x->team, l->base.out, 8, pack_columns, &job);
    pack_padding(&job);
    arena_release(&x->scratch, mark);
    for (uint32_t i = 0; i < l->n_cuts * l->k_cuts && !rc; i++)
        rc = block_written(&l->blocks[i], err);
    if (rc) {
        rknn_release(&l->base);
        return rc;
    }
    l->scaled = false;
    for (uint32_t i = 0; i < l->base.out; i++)
        l->scaled |= l->scale[i] != 1;
    *out = &l->base;
    return RKF_OK;
}

static size_t rknn_bytes(const struct linear *l)
{
    return ((const struct rknn_linear *)l)->bytes;
}

const struct linear_ops rknn_linear_ops = {
    .prepare = rknn_prepare,
    .release = rknn_release,
    .apply = rknn_apply,
    .bytes = rknn_bytes,
};
