/* SPDX-License-Identifier: Apache-2.0 */
/* What surrounds the linear layers: embedding, norm, rotary positions, activation; rows spread over the team. */
#include "device/cpu/cpu_private.h"

#include <string.h>

enum { GRAIN = 16 }; /* rows a thread takes at once: some microseconds of work */

static float *view_row(const struct view *v, size_t row)
{
    return (float *)v->p + row * v->stride;
}

static rkf_status check_rows(const char *what, const struct view *v, uint32_t rows, uint32_t cols, rkf_error *err)
{
    if (v->p && v->type == DTYPE_F32 && v->rows >= rows && v->cols == cols && v->stride >= cols)
        return RKF_OK;
    return rkf_fail(err, RKF_INTERNAL, "%s is [%u, %u], not [%u, %u] f32", what, v->rows, v->cols, rows, cols);
}

/* ---- embedding */

struct embed_job {
    const struct kernels *k;
    const struct embedding_tables *t;
    const struct batch *b;
    struct view out;
};

static void add_table(const struct embed_job *j, const struct view *table, uint32_t row, float scale, float *y,
                      bool set)
{
    const char *p = (const char *)table->p + row * table->stride * dtype_size(table->type);
    j->k->gather(y, p, table->type, scale, table->cols, set);
}

/* The sequence that holds token i. */
static uint32_t sequence_of(const struct batch *b, uint32_t i)
{
    uint32_t lo = 0, hi = b->n_seqs;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (b->cu_lens[mid] <= i)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static void embed_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct embed_job *j = arg;
    const struct embedding_tables *t = j->t;
    const struct batch *b = j->b;
    uint32_t seq = sequence_of(b, begin);
    for (uint32_t i = begin; i < end; i++) {
        float *y = view_row(&j->out, i);
        while (i >= b->cu_lens[seq + 1])
            seq++;
        add_table(j, &t->word, (uint32_t)b->ids[i], t->scale, y, true);
        if (t->position.p)
            add_table(j, &t->position,
                      t->position_rows ? t->position_rows[i] : i - b->cu_lens[seq] + (uint32_t)t->position_offset, 1, y,
                      false);
        if (t->type.p)
            add_table(j, &t->type, b->type_ids ? b->type_ids[i] : 0, 1, y, false);
        if (t->norm)
            j->k->norm(t->norm, y, y);
    }
}

static rkf_status cpu_embed(struct exec *x, const struct embedding_tables *t, const struct batch *b, struct view out,
                            rkf_error *err)
{
    rkf_status rc = check_rows("embedding", &out, b->n_tokens, t->word.cols, err);
    if (rc)
        return rc;
    struct embed_job j = { cpu_kernels(x), t, b, out };
    team_for(x->team, b->n_tokens, GRAIN, embed_rows, &j);
    return RKF_OK;
}

/* ---- norm */

struct norm_job {
    const struct kernels *k;
    const struct norm *n;
    struct view in, residual, sum, y;
};

static void norm_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct norm_job *j = arg;
    size_t bytes = j->in.cols * sizeof(float);
    for (uint32_t i = begin; i < end; i++) {
        const float *t = view_row(&j->in, i);
        float *y = view_row(&j->y, i);
        if (j->residual.p || j->sum.p) {
            /* t = in + residual, made where it shall stay: in sum, else in y */
            float *dest = j->sum.p ? view_row(&j->sum, i) : y;
            const float *r = j->residual.p ? view_row(&j->residual, i) : NULL;
            if (dest == r) {
                j->k->add(dest, t, 1, j->in.cols);
            } else {
                if (dest != t)
                    memcpy(dest, t, bytes);
                if (r)
                    j->k->add(dest, r, 1, j->in.cols);
            }
            t = dest;
        }
        j->k->norm(j->n, t, y);
    }
}

static rkf_status cpu_normalize(struct exec *x, const struct norm *n, struct view in, struct view residual,
                                struct view sum, struct view y, rkf_error *err)
{
    rkf_status rc = check_rows("norm input", &in, in.rows, n->size, err);
    if (!rc)
        rc = check_rows("norm output", &y, in.rows, n->size, err);
    if (!rc && residual.p)
        rc = check_rows("norm residual", &residual, in.rows, n->size, err);
    if (!rc && sum.p)
        rc = check_rows("norm sum", &sum, in.rows, n->size, err);
    if (rc)
        return rc;
    struct norm_job j = { cpu_kernels(x), n, in, residual, sum, y };
    team_for(x->team, in.rows, GRAIN, norm_rows, &j);
    return RKF_OK;
}

/* ---- rotary positions */

struct rotate_job {
    const struct kernels *k;
    const struct rotary *r;
    const struct attention *a;
    const struct batch *b;
    struct view qkv;
};

static void rotate_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct rotate_job *j = arg;
    const struct rotary *r = j->r;
    uint32_t seq = sequence_of(j->b, begin), half = r->dim / 2;
    for (uint32_t i = begin; i < end; i++) {
        while (i >= j->b->cu_lens[seq + 1])
            seq++;
        size_t position = i - j->b->cu_lens[seq];
        const float *cos = r->cos + position * half, *sin = r->sin + position * half;
        float *row = view_row(&j->qkv, i);
        for (uint32_t h = 0; h < j->a->heads + j->a->kv_heads; h++)
            j->k->rotate(row + (size_t)h * j->a->head_dim, cos, sin, r->dim, r->interleaved);
    }
}

static rkf_status cpu_rotate(struct exec *x, const struct rotary *r, const struct attention *a, const struct batch *b,
                             struct view qkv, rkf_error *err)
{
    rkf_status rc = check_rows("qkv", &qkv, b->n_tokens, (a->heads + 2 * a->kv_heads) * a->head_dim, err);
    if (rc)
        return rc;
    if (r->dim > a->head_dim || r->dim % 2)
        return rkf_fail(err, RKF_INTERNAL, "rotary positions of %u values in a head of %u", r->dim, a->head_dim);
    for (uint32_t i = 0; i < b->n_seqs; i++)
        if (b->cu_lens[i + 1] - b->cu_lens[i] > r->positions)
            return rkf_fail(err, RKF_INTERNAL, "%u rotary positions for a sequence of %u tokens", r->positions,
                            b->cu_lens[i + 1] - b->cu_lens[i]);
    struct rotate_job j = { cpu_kernels(x), r, a, b, qkv };
    team_for(x->team, b->n_tokens, GRAIN, rotate_rows, &j);
    return RKF_OK;
}

/* ---- activation */

struct activate_job {
    const struct kernels *k;
    enum activation act;
    struct view in, y;
};

static void activate_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct activate_job *j = arg;
    for (uint32_t i = begin; i < end; i++)
        j->k->activate(j->act, view_row(&j->in, i), view_row(&j->y, i), j->in.cols);
}

static rkf_status cpu_activate(struct exec *x, enum activation act, struct view in, struct view y, rkf_error *err)
{
    rkf_status rc = check_rows("activation input", &in, in.rows, in.cols, err);
    if (!rc)
        rc = check_rows("activation output", &y, in.rows, in.cols, err);
    if (rc)
        return rc;
    struct activate_job j = { cpu_kernels(x), act, in, y };
    team_for(x->team, in.rows, GRAIN, activate_rows, &j);
    return RKF_OK;
}

void cpu_ops_init(struct cpu_ops *ops, const struct kernels *k)
{
    *ops = (struct cpu_ops){ .embed = cpu_embed,
                             .normalize = cpu_normalize,
                             .rotate = cpu_rotate,
                             .attend = cpu_attend,
                             .activate = cpu_activate,
                             .dot = k->dot,
                             .add = k->add,
                             .softmax = k->softmax };
}
