/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear layers on the CPU: the loops around the tile kernels (linear_pack.c packs).
 *
 * With many rows the threads take blocks of rows that fit their caches, all panels per block, and the norm comes while
 * the rows are still there. Panels in 16 bits are made f32 once per block where multiplying them as they are would be
 * slower. With few rows, where reading the weights is the cost, each thread takes a run of panels, and the norm comes
 * after all are done.
 */
#include "device/cpu/linear.h"

#include <string.h>

enum {
    BLOCK_BYTES = 768 << 10, /* rows of x that one thread keeps at hand, with half of a 2 MB cache left for weights */
    MAX_BLOCK = 1024,
    WIDEN_ROWS = 48, /* from here on widening a panel costs less than multiplying it in 16 bits */
    FEW_ROWS = 32,   /* per thread; fewer: reading the weights is the cost, so cut them, not the rows */
    UNEVEN_CUTS = 4, /* times as many pieces where a thread's CPU may be three times as fast as another's */
    FEWEST_ROWS = 8, /* of such a piece */
};

/* One product over rows and panels. The views begin at the same row; product_at moves them together. */
struct product {
    const struct kernels *k;
    const struct cpu_linear *l;
    const struct epilogue *epi;
    struct view in, residual, dest, y; /* dest: where t goes before the norm: sum or y */
    uint32_t panels;                   /* output panels: half of them if gated */
    uint32_t block;                    /* rows that fit the cache */
    size_t row_bytes;                  /* of a packed row of x; 0: x in place */
    size_t wide_bytes;                 /* of a widened panel; 0: never */
};

/* What one thread needs beside it. */
struct thread_area {
    void *a;              // [block, or the whole steps of it][k] as pack_a makes it
    struct row_quant *rq; // [block]
    float *middle;        // [block][first's out] of a pair
    float *wide;          // [k][nr] a widened panel
    float *row, *far;     // [in], [block][OUTLIERS] of a layer with outliers
};

static float *view_row(const struct view *v, size_t row)
{
    return (float *)v->p + row * v->stride;
}

static void view_advance(struct view *v, size_t rows)
{
    if (v->p)
        v->p = view_row(v, rows);
}

static struct product product_at(const struct product *p, size_t row)
{
    struct product q = *p;
    view_advance(&q.in, row);
    view_advance(&q.residual, row);
    view_advance(&q.dest, row);
    view_advance(&q.y, row);
    return q;
}

static rkf_status check_view(const char *what, const struct view *v, uint32_t rows, uint32_t cols, rkf_error *err)
{
    if (v->p && v->type == DTYPE_F32 && v->rows >= rows && v->cols == cols && v->stride >= cols)
        return RKF_OK;
    return rkf_fail(err, RKF_INTERNAL, "linear: %s is [%u, %u] %s, not [%u, %u] f32", what, v->rows, v->cols,
                    v->p ? dtype_name(v->type) : "NULL", rows, cols);
}

static rkf_status check_product(const struct product *p, uint32_t rows, uint32_t out, rkf_error *err)
{
    const struct epilogue *e = p->epi;
    if (e->gated && (p->l->n_parts != 2 || !p->l->part_out))
        return rkf_fail(err, RKF_INTERNAL, "linear: a gated layer must have two parts of equal width");
    rkf_status rc = check_view("x", &p->in, rows, p->l->base.in, err);
    if (!rc)
        rc = check_view("y", &p->y, rows, out, err);
    if (!rc && e->residual.p)
        rc = check_view("residual", &e->residual, rows, out, err);
    if (!rc && e->sum.p)
        rc = check_view("sum", &e->sum, rows, out, err);
    if (!rc && e->norm && e->norm->size != out)
        rc = rkf_fail(err, RKF_INTERNAL, "linear: a norm of %u columns for an output of %u", e->norm->size, out);
    return rc;
}

static uint32_t product_out(const struct linear *l, const struct epilogue *epi)
{
    return epi->gated ? l->out / 2 : l->out;
}

static rkf_status product_init(struct product *p, const struct exec *x, const struct linear *base,
                               const struct epilogue *epi, struct view in, struct view y, rkf_error *err)
{
    const struct cpu_linear *l = (const struct cpu_linear *)base;
    const struct gemm *g = l->g;
    *p = (struct product){ .k = cpu_kernels(x),
                           .l = l,
                           .epi = epi,
                           .in = in,
                           .residual = epi->residual,
                           .dest = epi->sum.p ? epi->sum : y,
                           .y = y,
                           .panels = epi->gated ? l->n_panels / 2 : l->n_panels };
    size_t block = BLOCK_BYTES / ((size_t)l->k * g->a_size);
    p->block = (uint32_t)(block > MAX_BLOCK ? MAX_BLOCK : block < g->mr ? g->mr : block);
    p->row_bytes = g->pack_a ? (size_t)l->k * g->a_size : 0;
    p->wide_bytes = g->widen ? (size_t)l->k * g->nr * sizeof(float) : 0;
    return check_product(p, in.rows, product_out(base, epi), err);
}

/* The rows of x as a product's tiles read them, and what multiplies them. */
struct rows_in {
    const struct gemm *g;
    const void *a; // [n][lda]
    size_t lda;
    uint32_t n;
    const struct row_quant *rq; // [n]; NULL: not int8
    const float *far;           // [n][OUTLIERS] of a layer with outliers
    float *wide[2];             /* widened panels (the second of a gated product's); NULL: as they are */
};

/* c [rows][nr] += the products of the channels that are not in the panel */
static void add_outliers(const struct product *p, size_t panel, const float *far, uint32_t rows, float *c)
{
    const struct outliers *o = &p->l->outliers;
    uint32_t nr = p->l->g->nr;
    struct channels all = {
        .x = far, .stride = OUTLIERS, .w = o->weights + panel * OUTLIERS * nr, .c = c, .n = o->n, .rows = rows, .nr = nr
    };
    p->k->add_channels(&all);
}

/* n rows of one panel: tile by tile, each finished while it is in the first cache */
static void run_panel(const struct product *p, uint32_t panel, const struct rows_in *in)
{
    const struct cpu_linear *l = p->l;
    const struct gemm *g = in->g;
    bool gated = p->epi->gated;
    _Alignas(64) float c[2][KERNEL_MAX_MR * KERNEL_MAX_NR];
    const struct panel *at = &l->panels[panel];
    uint32_t n = in->n, tiles = (n + g->mr - 1) / g->mr;
    uint32_t each = gemm_rows(g, (n + tiles - 1) / tiles); /* even: low ones are slow */
    /* Each tile asks for its share of the next panel, evenly over its depth: weights come from far for every batch. */
    size_t share = l->panel_bytes / tiles;
    uint32_t step = (uint32_t)(share / (l->k / g->kr)) + 1;
    for (uint32_t half = 0; in->wide[0] && half < (gated ? 2u : 1u); half++)
        l->g->widen(l->b + (panel + (size_t)half * p->panels) * l->panel_bytes, l->base.in, in->wide[half]);
    for (uint32_t r = 0; r < n; r += each) {
        uint32_t rows = n - r < each ? n - r : each;
        for (uint32_t half = 0; half < (gated ? 2u : 1u); half++) {
            size_t b = panel + (size_t)half * p->panels;
            struct tile t = { .a = (const char *)in->a + r * in->lda * g->a_size,
                              .lda = in->lda,
                              .b = in->wide[0] ? (const void *)in->wide[half] : l->b + b * l->panel_bytes,
                              .k = g->pack_a ? l->k : l->base.in,
                              .rows = rows,
                              .c = c[half],
                              .ahead = (uintptr_t)l->b + (b + 1) * l->panel_bytes + r / each * share,
                              .ahead_step = step,
                              .rq = in->rq ? in->rq + r : NULL,
                              .scale = l->scale ? l->scale + b * g->nr : NULL,
                              .wsum = l->wsum ? l->wsum + b * g->nr : NULL,
                              .lone = tiles == 1 };
            gemm_tile(g, &t);
            if (l->outliers.n)
                add_outliers(p, b, in->far + (size_t)r * OUTLIERS, rows, c[half]);
        }
        struct finish f = { .c = c[0],
                            .up = gated ? c[1] : NULL,
                            .bias = l->bias + (size_t)panel * g->nr,
                            .bias_up = gated ? l->bias + ((size_t)panel + p->panels) * g->nr : NULL,
                            .ldc = g->nr,
                            .rows = rows,
                            .cols = at->cols,
                            .act = p->epi->act,
                            .residual = p->residual.p ? view_row(&p->residual, r) + at->col : NULL,
                            .residual_stride = p->residual.stride,
                            .y = view_row(&p->dest, r) + at->col,
                            .stride = p->dest.stride };
        p->k->finish(&f);
    }
}

/* The product's first n rows, n <= block, for some of its panels. */
static void run_block(const struct product *p, const struct thread_area *area, uint32_t n, uint32_t first_panel,
                      uint32_t end_panel)
{
    const struct cpu_linear *l = p->l;
    struct rows_in in = { .g = l->g, .a = p->in.p, .lda = p->in.stride, .n = n };
    if (l->g->pack_a) {
        if (l->outliers.n)
            outliers_pack_a(&l->outliers, l->g, p->in.p, p->in.stride, n, l->base.in, area->a, area->rq, area->far,
                            area->row);
        else
            gemm_pack_a(l->g, p->in.p, p->in.stride, n, l->base.in, area->a, area->rq);
        in.a = area->a;
        in.lda = l->k;
        in.rq = area->rq;
        in.far = area->far;
    }
    if (l->g->widen && n >= WIDEN_ROWS) {
        in.g = &p->k->gemm[GEMM_F32];
        in.wide[0] = area->wide;
        in.wide[1] = area->wide + (size_t)l->k * l->g->nr;
    }
    bool entered = gemm_enter(in.g, n);
    for (uint32_t i = first_panel; i < end_panel; i++)
        run_panel(p, i, &in);
    if (entered)
        in.g->leave();
}

static void run_norm(const struct product *p, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++)
        if (p->epi->norm)
            p->k->norm(p->epi->norm, view_row(&p->dest, r), view_row(&p->y, r));
        else if (p->dest.p != p->y.p)
            memcpy(view_row(&p->y, r), view_row(&p->dest, r), p->y.cols * sizeof(float));
}

struct apply_job {
    const struct product *first, *second; /* second: of a pair, else NULL */
    struct thread_area *areas;            // [threads]
    uint32_t threads, rows, block;
    uint32_t pieces;       /* of at most a block of rows, as many for each thread, all of one height */
    uint32_t panel_pieces; /* where rows are few: pieces of columns */
};

/* Share i of n things. */
static void share(uint32_t n, uint32_t shares, uint32_t i, uint32_t *begin, uint32_t *end)
{
    *begin = (uint32_t)((uint64_t)n * i / shares);
    *end = (uint32_t)((uint64_t)n * (i + 1) / shares);
}

static void apply_by_rows(void *arg, uint32_t piece, uint32_t end_piece, int thread)
{
    const struct apply_job *j = arg;
    const struct thread_area *area = &j->areas[thread];
    for (; piece < end_piece; piece++) {
        uint32_t r, end;
        share(j->rows, j->pieces, piece, &r, &end);
        uint32_t n = end - r;
        struct product p = product_at(j->first, r);
        if (j->second) {
            p.dest = p.y = view_make(area->middle, DTYPE_F32, n, p.y.cols);
            run_block(&p, area, n, 0, p.panels);
            p = product_at(j->second, r);
            p.in = view_make(area->middle, DTYPE_F32, n, p.in.cols);
        }
        run_block(&p, area, n, 0, p.panels);
        run_norm(&p, n);
    }
}

static void apply_by_panels(void *arg, uint32_t piece, uint32_t end_piece, int thread)
{
    const struct apply_job *j = arg;
    uint32_t begin, end, unused;
    share(j->first->panels, j->panel_pieces, piece, &begin, &unused);
    share(j->first->panels, j->panel_pieces, end_piece - 1, &unused, &end);
    for (uint32_t r = 0; r < j->rows; r += j->block) {
        struct product p = product_at(j->first, r);
        run_block(&p, &j->areas[thread], j->rows - r < j->block ? j->rows - r : j->block, begin, end);
    }
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static rkf_status areas_alloc(struct exec *x, struct apply_job *j, rkf_error *err)
{
    const struct product *p = j->first, *q = j->second ? j->second : p;
    size_t a = whole_lines(
        larger(gemm_rows(p->l->g, j->block) * p->row_bytes, gemm_rows(q->l->g, j->block) * q->row_bytes));
    size_t quant = a ? whole_lines(j->block * sizeof(struct row_quant)) : 0;
    size_t middle = j->second ? whole_lines((size_t)j->block * q->in.cols * sizeof(float)) : 0;
    size_t wide = whole_lines(larger(p->wide_bytes * (p->epi->gated ? 2 : 1), q->wide_bytes));
    size_t row = whole_lines(larger(p->l->outliers.n ? p->l->base.in : 0, q->l->outliers.n ? q->l->base.in : 0) *
                             sizeof(float));
    size_t far = row ? whole_lines((size_t)j->block * OUTLIERS * sizeof(float)) : 0;
    size_t each = a + quant + middle + wide + row + far;
    uint32_t round = j->threads * j->block;
    uint32_t cuts = x->uneven ? UNEVEN_CUTS : 1;
    j->panel_pieces = j->threads * cuts;
    j->pieces = (j->rows + round - 1) / round * j->threads;
    if (j->pieces * cuts * FEWEST_ROWS <= j->rows)
        j->pieces *= cuts;
    struct thread_area *areas = arena_array(&x->scratch, j->threads, sizeof *areas);
    uint8_t *memory = areas ? arena_array(&x->scratch, j->threads, each) : NULL;
    if (!memory)
        return rkf_fail_memory(err, j->threads * (each + sizeof *areas), "a linear layer's input");
    for (uint32_t i = 0; i < j->threads; i++, memory += each)
        areas[i] = (struct thread_area){ memory,
                                         (void *)(memory + a),
                                         (void *)(memory + a + quant),
                                         (void *)(memory + a + quant + middle),
                                         (void *)(memory + a + quant + middle + wide),
                                         (void *)(memory + a + quant + middle + wide + row) };
    j->areas = areas;
    return RKF_OK;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Or such as are to be observed, for which what is between a pair must be there as a whole. */
static bool few_rows(const struct apply_job *j, const struct exec *x)
{
    return x->observe || (j->threads > 1 && j->rows <= FEW_ROWS * j->threads);
}

static void observe(const struct exec *x, const struct product *p)
{
    if (x->observe && p->l->outliers.seen)
        outliers_see(&p->l->outliers, p->in.p, p->in.stride, p->in.rows, p->in.cols);
}

static rkf_status cpu_apply(struct exec *x, const struct linear *l, struct view in, const struct epilogue *epi,
                            struct view y, rkf_error *err)
{
    struct product p;
    rkf_status rc = product_init(&p, x, l, epi, in, y, err);
    if (rc || !in.rows)
        return rc;
    observe(x, &p);
    struct arena_mark mark = arena_mark(&x->scratch);
    struct apply_job j = { &p, NULL, NULL, (uint32_t)team_size(x->team), in.rows, 0 };
    j.block = smaller(p.block, j.rows);
    rc = areas_alloc(x, &j, err);
    if (rc)
        return rc;
    if (few_rows(&j, x)) {
        team_for(x->team, j.panel_pieces, 1, apply_by_panels, &j);
        run_norm(&p, in.rows);
    } else {
        team_for(x->team, j.pieces, 1, apply_by_rows, &j);
    }
    arena_release(&x->scratch, mark);
    x->cores_used |= x->cores;
    return RKF_OK;
}

static rkf_status cpu_apply_pair(struct exec *x, const struct linear *first, const struct epilogue *first_epi,
                                 const struct linear *second, const struct epilogue *second_epi, struct view in,
                                 struct view y, rkf_error *err)
{
    if (first_epi->norm || first_epi->residual.p || first_epi->sum.p)
        return rkf_fail(err, RKF_INTERNAL, "linear: the first of a pair takes no norm, residual or sum");
    if (!in.rows)
        return RKF_OK;
    struct arena_mark mark = arena_mark(&x->scratch);
    uint32_t width = product_out(first, first_epi);
    struct apply_job j = { .threads = (uint32_t)team_size(x->team), .rows = in.rows };
    struct view middle = { .type = DTYPE_F32, .rows = in.rows, .cols = width, .stride = width };
    middle.p = few_rows(&j, x) ? arena_array(&x->scratch, (size_t)in.rows * width, sizeof(float)) : y.p;
    if (!middle.p)
        return rkf_fail_memory(err, (size_t)in.rows * width * sizeof(float), "the middle of an MLP");
    struct product p, q;
    rkf_status rc = product_init(&p, x, first, first_epi, in, middle, err);
    if (!rc)
        rc = product_init(&q, x, second, second_epi, middle, y, err);
    if (rc)
        goto done;
    observe(x, &p);
    uint32_t fits = (uint32_t)larger(BLOCK_BYTES / (width * sizeof(float)), 1); /* rows of what is between them */
    fits = smaller(fits, smaller(p.block, q.block));
    j.block = smaller(fits, j.rows);
    j.first = &p;
    j.second = &q;
    rc = areas_alloc(x, &j, err);
    if (rc)
        goto done;
    if (few_rows(&j, x)) {
        team_for(x->team, j.panel_pieces, 1, apply_by_panels, &j);
        observe(x, &q);
        j.first = &q;
        team_for(x->team, j.panel_pieces, 1, apply_by_panels, &j);
        run_norm(&q, in.rows);
    } else {
        team_for(x->team, j.pieces, 1, apply_by_rows, &j);
    }
    x->cores_used |= x->cores;
done:
    arena_release(&x->scratch, mark);
    return rc;
}

static size_t cpu_bytes(const struct linear *l)
{
    return ((const struct cpu_linear *)l)->bytes;
}

const struct linear_ops cpu_linear_ops = {
    .prepare = cpu_linear_prepare,
    .release = cpu_linear_release,
    .apply = cpu_apply,
    .apply_pair = cpu_apply_pair,
    .bytes = cpu_bytes,
    .settle = cpu_linear_settle,
};
