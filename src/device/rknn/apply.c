/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a linear layer: y = epilogue(x W^T + b).
 *
 * Rows are cut into pieces of the sizes that contexts are made for; the weights are cut into blocks. A step is one
 * piece on one block: its rows of x are converted on the CPU, then every core of the lane multiplies them with its
 * share of the block's columns. Two steps are in flight, so that one is converted, and the one before it finished,
 * while the NPU works:
 *
 *     CPU   convert 0 | convert 1 | finish 0, convert 2 | finish 1, convert 3 | ...
 *     NPU             |    run 0  |        run 1        |        run 2        | ...
 */
#include "base/thread.h"
#include "device/cpu/cpu.h"
#include "device/rknn/linear.h"
#include "device/rknn/native.h"

#include <string.h>

/* Numbers of rows that contexts are made for: wasted rows stay below a third from 32 rows on. */
static const uint32_t ladder[] = { 8, 16, 32, 64, 96, 128, 192, 256 };
enum {
    LADDER = sizeof ladder / sizeof *ladder,
    MAX_ROWS = 256, /* the last of them: above it the weights' way from memory no longer counts */
    GRAIN = 16,     /* rows that a thread converts at once */
    IN_FLIGHT = 2,
    MAX_HELD = 2 * 2 * 2 * NPU_MAX_CORES, /* full and last piece, full and last cut of k and of n, cores */
};

struct held { /* a context that this run has */
    struct matmul_context *c;
    uint32_t core;
    struct matmul_shape shape;
    uint32_t uses; /* slots alternate */
    bool broken;
};

struct flight { /* one core's part of a step */
    struct held *held;
    uint32_t slot, n0, n; /* columns of the block, padding included */
    const void *c;
};

struct step {
    bool flying;
    uint32_t piece, k_cut, n_cut;
    uint32_t n_flights;
    struct flight flights[NPU_MAX_CORES];
};

struct run {
    struct exec *x;
    struct rknn_linear *l;
    const struct epilogue *epi;
    struct view in, y;
    uint32_t cores[NPU_MAX_CORES], n_cores;
    bool direct;                     /* t is made where it shall go; else in temp */
    struct view dest;                /* [rows, columns of y]: sum, else y */
    float *temp;                     // [MAX_ROWS or fewer, out] f32
    float *row_scale[IN_FLIGHT + 1]; // [MAX_ROWS] by piece
    struct held held[MAX_HELD];
    uint32_t n_held;
    struct step steps[IN_FLIGHT];
};

static float *row_of(const struct view *v, size_t row)
{
    return (float *)v->p + row * v->stride;
}

static struct view rows_of(const struct view *v, uint32_t row, uint32_t rows)
{
    struct view w = *v;
    if (v->p)
        w.p = row_of(v, row);
    w.rows = rows;
    return w;
}

static uint32_t piece_rows(const struct run *r, uint32_t piece)
{
    uint32_t left = r->in.rows - piece * MAX_ROWS;
    return left < MAX_ROWS ? left : MAX_ROWS;
}

static uint32_t piece_m(const struct run *r, uint32_t piece)
{
    uint32_t rows = piece_rows(r, piece);
    for (int i = 0; i < LADDER; i++)
        if (ladder[i] >= rows)
            return ladder[i];
    return MAX_ROWS;
}

/* ---- x on its way in */

struct convert_job {
    const struct run *r;
    const struct step *s;
    struct matmul_shape shape;
    void *a;
    float *row_scale;
};

static void scale_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct convert_job *j = arg;
    const struct view *in = &j->r->in;
    native_row_scales(row_of(in, (size_t)j->s->piece * MAX_ROWS + begin), in->stride, end - begin, in->cols,
                      j->r->l->base.type, j->row_scale + begin);
}

static void convert_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct convert_job *j = arg;
    const struct rknn_linear *l = j->r->l;
    const float *x = row_of(&j->r->in, (size_t)j->s->piece * MAX_ROWS + begin) + (size_t)j->s->k_cut * l->k_step;
    native_put_a(j->a, l->base.type, j->shape.m, j->shape.k, l->home->a_group, begin, x, j->r->in.stride, end - begin,
                 linear_k(l, j->s->k_cut), j->row_scale + begin);
}

static void convert(struct run *r, const struct step *s, struct matmul_shape shape, void *a)
{
    uint32_t rows = piece_rows(r, s->piece);
    struct convert_job j = { r, s, shape, a, r->row_scale[s->piece % (IN_FLIGHT + 1)] };
    if (s->k_cut == 0 && s->n_cut == 0)
        team_for(r->x->team, rows, GRAIN, scale_rows, &j);
    team_for(r->x->team, rows, GRAIN, convert_rows, &j);
    native_clear_a(a, r->l->base.type, shape.m, shape.k, r->l->home->a_group, rows, shape.m - rows);
}

/* ---- starting a step */

static rkf_status hold_context(struct run *r, uint32_t core, struct matmul_shape shape, struct held **out,
                               rkf_error *err)
{
    for (uint32_t i = 0; i < r->n_held; i++) {
        struct held *h = &r->held[i];
        if (h->core == core && h->shape.m == shape.m && h->shape.k == shape.k && h->shape.n == shape.n) {
            *out = h;
            return RKF_OK;
        }
    }
    if (r->n_held == MAX_HELD)
        return rkf_fail(err, RKF_INTERNAL, "a linear layer needs more than %d matmul contexts", MAX_HELD);
    struct held *h = &r->held[r->n_held];
    *h = (struct held){ .core = core, .shape = shape };
    int64_t begin = time_now_ns();
    rkf_status rc = matmul_acquire(r->l->d, core, shape, r->x->deadline_ns, &h->c, &r->x->cores_failed, err);
    r->x->stalled_ns += time_now_ns() - begin;
    if (rc)
        return rc;
    r->n_held++;
    *out = h;
    return RKF_OK;
}

/* A of this flight's slot: converted once per step, copied for further cores, kept where it is there already. */
static rkf_status fill_a(struct run *r, const struct step *s, struct flight *f, const void **first, rkf_error *err)
{
    struct held *h = f->held;
    void *a;
    int64_t begin = time_now_ns();
    rkf_status rc = matmul_slot(h->c, f->slot, r->x->deadline_ns, &a, &f->c, &r->x->cores_failed, err);
    r->x->stalled_ns += time_now_ns() - begin;
    if (rc)
        return rc;
    uint64_t *tag = matmul_tag(h->c, f->slot), wanted = (uint64_t)s->piece * r->l->k_cuts + s->k_cut + 1;
    if (*tag != wanted) {
        if (*first)
            memcpy(a, *first, (size_t)h->shape.m * h->shape.k * dtype_size(h->shape.type));
        else
            convert(r, s, h->shape, a);
        *tag = wanted;
    }
    *first = a;
    return RKF_OK;
}

static rkf_status start_flight(struct run *r, struct step *s, struct block *b, uint32_t core_index, const void **first,
                               rkf_error *err)
{
    uint32_t tile = r->l->n_align, tiles = b->n / tile, core = r->cores[core_index];
    uint32_t n0 = tiles * core_index / r->n_cores * tile, n1 = tiles * (core_index + 1) / r->n_cores * tile;
    if (n0 == n1)
        return RKF_OK;
    struct flight *f = &s->flights[s->n_flights];
    struct matmul_shape shape = { piece_m(r, s->piece), b->k, n1 - n0, r->l->base.type };
    *f = (struct flight){ .n0 = n0, .n = n1 - n0 };
    rkf_status rc = hold_context(r, core, shape, &f->held, err);
    if (rc)
        return rc;
    f->slot = f->held->uses++ % MATMUL_SLOTS;
    rc = fill_a(r, s, f, first, err);
    if (!rc)
        rc = matmul_start(f->held->c, f->slot, b, n0, &r->l->life, &r->x->cores_failed, err);
    if (rc) {
        f->held->broken = true;
        return rc;
    }
    s->n_flights++;
    return RKF_OK;
}

static rkf_status start_step(struct run *r, struct step *s, uint32_t index, rkf_error *err)
{
    const struct rknn_linear *l = r->l;
    uint32_t blocks = l->n_cuts * l->k_cuts;
    *s = (struct step){
        .flying = true, .piece = index / blocks, .n_cut = index % blocks / l->k_cuts, .k_cut = index % l->k_cuts
    };
    struct block *b = &l->blocks[s->n_cut * l->k_cuts + s->k_cut];
    const void *first = NULL;
    rkf_status rc = RKF_OK;
    if (r->x->deadline_ns && time_now_ns() >= r->x->deadline_ns)
        return rkf_fail(err, RKF_DEADLINE, "the deadline passed");
    for (uint32_t i = 0; i < r->n_cores && !rc; i++)
        rc = start_flight(r, s, b, i, &first, err);
    return rc;
}

/* ---- t on its way out */

struct collect_job {
    const struct run *r;
    const struct step *s;
    struct view t, residual; /* of the piece; residual.p NULL: later or none */
};

static void collect_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct collect_job *j = arg;
    const struct rknn_linear *l = j->r->l;
    const struct step *s = j->s;
    for (uint32_t i = 0; i < s->n_flights; i++) {
        const struct flight *f = &s->flights[i];
        uint32_t col = s->n_cut * l->n_step + f->n0, have = linear_n(l, s->n_cut);
        if (f->n0 >= have)
            continue;
        struct native_c c = { .src = f->c,
                              .i32 = l->base.type == DTYPE_I8,
                              .m = f->held->shape.m,
                              .group = l->home->c_group,
                              .row_scale = j->r->row_scale[s->piece % (IN_FLIGHT + 1)],
                              .col_scale = l->scaled ? l->scale + col : NULL,
                              .bias = s->k_cut == 0 ? l->bias + col : NULL,
                              .add = s->k_cut > 0 };
        uint32_t cols = have - f->n0 < f->n ? have - f->n0 : f->n;
        native_get_c(&c, begin, end - begin, cols, j->residual.p ? row_of(&j->residual, begin) + col : NULL,
                     j->residual.stride, row_of(&j->t, begin) + col, j->t.stride);
    }
}

struct combine_job { /* dest = t (* up) (+ residual) */
    struct view t, residual, dest;
    bool gated;
};

static void combine_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct combine_job *j = arg;
    for (uint32_t i = begin; i < end; i++) {
        const float *t = row_of(&j->t, i), *res = j->residual.p ? row_of(&j->residual, i) : NULL;
        float *y = row_of(&j->dest, i);
        for (uint32_t c = 0; c < j->dest.cols; c++) {
            float v = j->gated ? t[c] * t[j->dest.cols + c] : t[c];
            y[c] = res ? v + res[c] : v;
        }
    }
}

/* The piece's t is complete: what the epilogue asks for. */
static rkf_status finish_piece(struct run *r, struct view t, uint32_t row, uint32_t rows, rkf_error *err)
{
    const struct epilogue *e = r->epi;
    const struct cpu_ops *cpu = r->x->device->cpu;
    struct view dest = rows_of(&r->dest, row, rows), none = { 0 }, gate = t, y = rows_of(&r->y, row, rows);
    rkf_status rc = RKF_OK;
    gate.cols = e->gated ? t.cols / 2 : t.cols;
    if (e->act != ACT_NONE)
        rc = cpu->activate(r->x, e->act, gate, gate, err);
    if (!rc && !r->direct) {
        struct combine_job j = { t, rows_of(&e->residual, row, rows), dest, e->gated };
        team_for(r->x->team, rows, GRAIN, combine_rows, &j);
    }
    if (!rc && e->norm)
        rc = cpu->normalize(r->x, e->norm, dest, none, none, y, err);
    else if (!rc && dest.p != y.p)
        for (uint32_t i = 0; i < rows; i++)
            memcpy(row_of(&y, i), row_of(&dest, i), y.cols * sizeof(float));
    return rc;
}

static rkf_status finish_step(struct run *r, struct step *s, rkf_error *err)
{
    const struct rknn_linear *l = r->l;
    rkf_status rc = RKF_OK;
    rkf_error other;
    int64_t since = time_now_ns(), longest = 0, waited;
    s->flying = false;
    for (uint32_t i = 0; i < s->n_flights; i++) { /* all of them, so that none is left behind if one fails */
        struct flight *f = &s->flights[i];
        int64_t took = 0;
        rkf_status one = matmul_finish(f->held->c, f->slot, r->x->deadline_ns, &took, &r->x->cores_failed,
                                       rc ? &other : err);
        longest = took > longest ? took : longest;
        f->held->broken |= one != RKF_OK;
        rc = rc ? rc : one;
        r->x->cores_used |= one ? 0 : (uint8_t)(1u << f->held->core);
    }
    waited = time_now_ns() - since; /* longer than its slowest part runs: for others on these cores */
    r->x->stalled_ns += waited > longest ? waited - longest : 0;
    if (rc)
        return rc;
    uint32_t row = s->piece * MAX_ROWS, rows = piece_rows(r, s->piece);
    struct collect_job j = { r, s, view_make(r->temp, DTYPE_F32, rows, l->base.out), { 0 } };
    if (r->direct) {
        j.t = rows_of(&r->dest, row, rows);
        j.residual = rows_of(&r->epi->residual, row, rows);
    }
    team_for(r->x->team, rows, GRAIN, collect_rows, &j);
    if (s->n_cut == l->n_cuts - 1 && s->k_cut == l->k_cuts - 1)
        rc = finish_piece(r, j.t, row, rows, err);
    return rc;
}

/* ---- all of it */

static rkf_status check_view(const char *what, const struct view *v, uint32_t rows, uint32_t cols, rkf_error *err)
{
    if (v->p && v->type == DTYPE_F32 && v->rows >= rows && v->cols == cols && v->stride >= cols)
        return RKF_OK;
    return rkf_fail(err, RKF_INTERNAL, "linear: %s is [%u, %u] %s, not [%u, %u] f32", what, v->rows, v->cols,
                    v->p ? dtype_name(v->type) : "NULL", rows, cols);
}

static rkf_status check_run(const struct run *r, rkf_error *err)
{
    const struct epilogue *e = r->epi;
    const struct rknn_linear *l = r->l;
    uint32_t out = e->gated ? l->base.out / 2 : l->base.out;
    if (e->gated && (l->n_parts != 2 || !l->part_out))
        return rkf_fail(err, RKF_INTERNAL, "linear: a gated layer must have two parts of equal width");
    rkf_status rc = check_view("x", &r->in, r->in.rows, l->base.in, err);
    if (!rc)
        rc = check_view("y", &r->y, r->in.rows, out, err);
    if (!rc && e->residual.p)
        rc = check_view("residual", &e->residual, r->in.rows, out, err);
    if (!rc && e->sum.p)
        rc = check_view("sum", &e->sum, r->in.rows, out, err);
    if (!rc && e->norm && e->norm->size != out)
        rc = rkf_fail(err, RKF_INTERNAL, "linear: a norm of %u columns for an output of %u", e->norm->size, out);
    return rc;
}

/* Which cores, and where t is made. */
static rkf_status plan(struct run *r, rkf_error *err)
{
    struct exec *x = r->x;
    uint8_t lane = x->cores ? x->cores : 1;
    bool parts = false;
    uint32_t first = (uint32_t)__builtin_ctz(lane);
    rkf_status rc = sharing_ensure(r->l->d, first, x->deadline_ns, &parts, &x->cores_failed, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < r->l->d->platform->cores; i++)
        if (lane >> i & 1 && (parts || i == first))
            r->cores[r->n_cores++] = i;
    if (!r->n_cores)
        return rkf_fail(err, RKF_INTERNAL, "cores %s do not exist on %s", core_set_name(lane), r->l->d->platform->name);
    const struct epilogue *e = r->epi;
    r->dest = e->sum.p ? e->sum : r->y;
    r->direct = !e->gated && r->l->k_cuts == 1 && (e->act == ACT_NONE || !e->residual.p);
    uint32_t rows = r->in.rows < MAX_ROWS ? r->in.rows : MAX_ROWS;
    for (int i = 0; i <= IN_FLIGHT; i++)
        if (!(r->row_scale[i] = arena_array(&x->scratch, MAX_ROWS, sizeof(float))))
            return rkf_fail_memory(err, MAX_ROWS * sizeof(float), "a linear layer");
    if (!r->direct && !(r->temp = arena_array(&x->scratch, (size_t)rows * r->l->base.out, sizeof(float))))
        return rkf_fail_memory(err, (size_t)rows * r->l->base.out * sizeof(float), "a linear layer");
    return RKF_OK;
}

/* Ends what is in flight and gives the contexts back. */
static void clean_up(struct run *r)
{
    uint8_t failed = 0;
    int64_t took;
    for (int i = 0; i < IN_FLIGHT; i++)
        for (uint32_t f = 0; r->steps[i].flying && f < r->steps[i].n_flights; f++) {
            struct flight *fl = &r->steps[i].flights[f];
            fl->held->broken |= matmul_finish(fl->held->c, fl->slot, r->x->deadline_ns, &took, &failed, NULL) != RKF_OK;
        }
    r->x->cores_failed |= failed;
    for (uint32_t i = 0; i < r->n_held; i++)
        matmul_release(r->held[i].c, r->held[i].broken);
}

rkf_status rknn_apply(struct exec *x, const struct linear *base, struct view in, const struct epilogue *epi,
                      struct view y, rkf_error *err)
{
    struct run r = { .x = x, .l = (struct rknn_linear *)base, .epi = epi, .in = in, .y = y };
    struct arena_mark mark = arena_mark(&x->scratch);
    rkf_status rc = check_run(&r, err);
    if (rc || !in.rows)
        return rc;
    rc = plan(&r, err);
    uint32_t n = (in.rows + MAX_ROWS - 1) / MAX_ROWS * r.l->n_cuts * r.l->k_cuts;
    for (uint32_t i = 0; i < n + IN_FLIGHT - 1 && !rc; i++) {
        if (i < n)
            rc = start_step(&r, &r.steps[i % IN_FLIGHT], i, err);
        if (!rc && i + 1 >= IN_FLIGHT)
            rc = finish_step(&r, &r.steps[(i + 1) % IN_FLIGHT], err);
    }
    clean_up(&r);
    arena_release(&x->scratch, mark);
    return rc;
}
