/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing the weights of linear layers, and taking outlier channels out of them.
 *
 * Every part of a fused product begins a panel of its own, so that the panels of gate and up pair up.
 */
#include "device/cpu/linear.h"
#include "device/cpu/pack_cache.h"

#include <math.h>
#include <string.h>

/* ---- packing */

struct pack_job {
    const struct linear_part *parts;
    struct cpu_linear *l;
    float *rows; // [threads][nr][in]: weights that are not packed as the file has them pass through here
};

/* The part that a panel is of, and its first row there. */
static const struct linear_part *part_of(const struct cpu_linear *l, const struct linear_part *parts, uint32_t panel,
                                         uint32_t *row)
{
    uint32_t part = 0, first = 0, col = l->panels[panel].col;
    while (col >= first + parts[part].weight.rows)
        first += parts[part++].weight.rows;
    *row = col - first;
    return &parts[part];
}

static const char *weights_at(const struct linear_part *p, uint32_t row, uint32_t channel)
{
    return (const char *)p->weight.p + (row * p->weight.stride + channel) * dtype_size(p->weight.type);
}

/* rows [nr][in] is scratch. Channels that are multiplied in f32 count as 0. */
static void pack_panel(const struct cpu_linear *l, const struct linear_part *parts, uint32_t panel, float *rows)
{
    const struct outliers *o = &l->outliers;
    uint32_t nr = l->g->nr, in = l->base.in, cols = l->panels[panel].cols, row;
    const struct linear_part *p = part_of(l, parts, panel, &row);
    const float *w = (const float *)(const void *)weights_at(p, row, 0);
    size_t stride = p->weight.stride, at = (size_t)panel * nr;
    if (p->weight.type != DTYPE_F32 || (uintptr_t)w % sizeof(float) || o->n) {
        for (uint32_t n = 0; n < cols; n++) {
            convert_to_f32(rows + (size_t)n * in, weights_at(p, row + n, 0), p->weight.type, in);
            for (uint32_t i = 0; i < o->n; i++)
                rows[(size_t)n * in + o->channel[i]] = 0;
        }
        w = rows;
        stride = in;
    }
    gemm_pack_b(l->g, w, stride, cols, in, l->b + panel * l->panel_bytes, l->panel_bytes,
                l->scale ? l->scale + at : NULL, l->wsum ? l->wsum + at : NULL);
    if (p->bias)
        convert_to_f32(l->bias + at, (const char *)p->bias + row * dtype_size(p->bias_type), p->bias_type, cols);
}

static void pack_panels(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct pack_job *j = arg;
    for (uint32_t i = begin; i < end; i++)
        pack_panel(j->l, j->parts, i, j->rows + (size_t)thread * j->l->g->nr * j->l->base.in);
}

void cpu_linear_release(struct linear *base)
{
    if (!base)
        return;
    struct cpu_linear *l = (struct cpu_linear *)base;
    if (l->slab)
        slab_give(&((struct cpu_device *)(uintptr_t)base->device)->slabs, l->slab);
    mem_free(l->outliers.seen);
    mem_free(l->parts);
    mem_free(l->panels);
    mem_free(l);
}

static rkf_status check_parts(const struct linear_part *parts, uint32_t n, enum dtype type, rkf_error *err)
{
    if (!n || gemm_type_of(type) == GEMM_COUNT)
        return rkf_fail(err, RKF_UNSUPPORTED, "the CPU has no linear layers of type %s: use f32, bf16, f16 or int8",
                        dtype_name(type));
    return linear_parts_check(parts, n, UINT32_MAX / 2, UINT32_MAX / 2, err);
}

static void lay_panels(struct cpu_linear *l, const struct linear_part *parts, uint32_t n)
{
    uint32_t nr = l->g->nr, at = 0, first = 0;
    l->part_out = parts[0].weight.rows;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t out = parts[i].weight.rows;
        for (uint32_t c = 0; c < out; c += nr)
            l->panels[at++] = (struct panel){ first + c, out - c < nr ? out - c : nr };
        first += out;
        if (out != l->part_out)
            l->part_out = 0;
    }
}

static float largest_weight(const struct linear_part *parts, uint32_t n)
{
    enum { AT_ONCE = 512 };
    float row[AT_ONCE], most = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct view *w = &parts[i].weight;
        size_t size = dtype_size(w->type);
        for (uint32_t r = 0; r < w->rows; r++)
            for (uint32_t c = 0; c < w->cols; c += AT_ONCE) {
                uint32_t some = w->cols - c < AT_ONCE ? w->cols - c : AT_ONCE;
                convert_to_f32(row, (const char *)w->p + ((size_t)r * w->stride + c) * size, w->type, some);
                for (uint32_t k = 0; k < some; k++)
                    most = fabsf(row[k]) > most ? fabsf(row[k]) : most;
            }
    }
    return most;
}

static const struct gemm *gemm_for(const struct kernels *k, const struct linear_part *parts, uint32_t n,
                                   enum dtype type)
{
    const struct gemm *g = &k->gemm[gemm_type_of(type)];
    return g->most > 0 && largest_weight(parts, n) > g->most ? &k->gemm_wide_f16 : g;
}

/* Gives the layer's memory its pieces. NULL: returns how much it needs. */
static size_t lay_memory(struct cpu_linear *l, uint8_t *p)
{
    size_t panels = l->n_panels * l->panel_bytes, wide = (size_t)l->n_panels * l->g->nr;
    bool int8 = l->base.type == DTYPE_I8;
    if (p) {
        l->b = p;
        l->bias = (float *)(void *)(p + panels);
        l->scale = int8 ? l->bias + wide : NULL;
        l->wsum = int8 ? (int32_t *)(void *)(l->scale + wide) : NULL;
        l->outliers.weights = l->outliers.seen ? (float *)(void *)(l->wsum + wide) : NULL;
        l->chosen = l->outliers.seen ? (uint32_t *)(void *)(l->outliers.weights + OUTLIERS * wide) : NULL;
        memset(l->bias, 0, wide * sizeof *l->bias);
    }
    return panels + wide * sizeof(float) * ((int8 ? 3 : 1) + (l->outliers.seen ? OUTLIERS : 0)) +
           (l->outliers.seen ? (1 + OUTLIERS) * sizeof *l->chosen : 0);
}

/* What a layer needs to look for outliers and to take them out. */
static bool begin_observed(struct cpu_linear *l, const struct linear_part *parts)
{
    l->outliers.seen = mem_zalloc(l->base.in, sizeof *l->outliers.seen);
    l->parts = mem_array(l->n_parts, sizeof *parts);
    if (l->parts)
        memcpy(l->parts, parts, l->n_parts * sizeof *parts);
    return l->outliers.seen && l->parts;
}

static void end_observed(struct cpu_linear *l)
{
    mem_free(l->outliers.seen);
    mem_free(l->parts);
    l->outliers.seen = NULL;
    l->parts = NULL;
}

static rkf_status linear_alloc(const struct exec *x, const struct linear_part *parts, uint32_t n, enum dtype type,
                               struct cpu_linear **out, rkf_error *err)
{
    struct cpu_device *cpu = (struct cpu_device *)(uintptr_t)x->device;
    struct cpu_linear *l = mem_zalloc(1, sizeof *l);
    if (!l)
        return rkf_fail_memory(err, sizeof *l, "a linear layer");
    const struct gemm *g = gemm_for(&cpu->k, parts, n, type);
    l->g = g;
    l->base.device = x->device;
    l->base.in = parts[0].weight.cols;
    l->base.type = type;
    l->k = gemm_depth(g, l->base.in);
    l->n_parts = n;
    for (uint32_t i = 0; i < n; i++) {
        l->base.out += parts[i].weight.rows;
        l->n_panels += (parts[i].weight.rows + g->nr - 1) / g->nr;
    }
    l->panel_bytes = (size_t)l->k * g->nr * dtype_size(type);
    bool ready = !(x->observe && type == DTYPE_I8) || begin_observed(l, parts);
    l->bytes = lay_memory(l, NULL);
    l->panels = ready ? mem_array(l->n_panels, sizeof *l->panels) : NULL;
    uint8_t *memory = l->panels ? slab_take(&cpu->slabs, l->bytes, &l->slab) : NULL;
    if (!memory) {
        size_t bytes = l->bytes;
        cpu_linear_release(&l->base);
        return rkf_fail_memory(err, bytes, "packed weights");
    }
    lay_memory(l, memory);
    lay_panels(l, parts, n);
    *out = l;
    return RKF_OK;
}

/* Everything that decides the packed form, but the values. */
static uint64_t pack_key(const struct cpu_linear *l, const struct linear_part *parts, const char *isa)
{
    uint64_t key = pack_cache_hash(0, isa, strlen(isa));
    const uint32_t whole[] = { l->base.in,   l->base.out,  l->n_parts,
                               l->base.type, l->k,         l->g->nr,
                               l->g->kr,     l->g->a_size, l->outliers.seen != NULL };
    key = pack_cache_hash(key, whole, sizeof whole);
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const uint32_t part[] = { parts[i].weight.rows, parts[i].weight.type, parts[i].bias != NULL };
        key = pack_cache_hash(key, part, sizeof part);
    }
    return key;
}

/* A layer with outliers is cached as it is when settled. */
static void take_chosen(struct cpu_linear *l)
{
    struct outliers *o = &l->outliers;
    if (!o->seen)
        return;
    o->n = l->chosen[0] <= OUTLIERS ? l->chosen[0] : 0;
    for (uint32_t i = 0; i < o->n; i++)
        o->channel[i] = l->chosen[1 + i] < l->base.in ? l->chosen[1 + i] : 0;
    end_observed(l);
}

static rkf_status pack_parts(struct exec *x, const struct linear_part *parts, struct cpu_linear *l, rkf_error *err)
{
    struct arena_mark mark = arena_mark(&x->scratch);
    struct pack_job job = { parts, l, NULL };
    size_t rows = (size_t)team_size(x->team) * l->g->nr * l->base.in;
    job.rows = arena_array(&x->scratch, rows, sizeof(float));
    if (!job.rows)
        return rkf_fail_memory(err, rows * sizeof(float), "packing weights");
    team_for(x->team, l->n_panels, 1, pack_panels, &job);
    arena_release(&x->scratch, mark);
    return RKF_OK;
}

rkf_status cpu_linear_prepare(struct exec *x, const struct linear_part *parts, uint32_t n, enum dtype type,
                              struct linear **out, rkf_error *err)
{
    struct cpu_linear *l = NULL;
    rkf_status rc = check_parts(parts, n, type, err);
    if (!rc)
        rc = linear_alloc(x, parts, n, type, &l, err);
    if (rc)
        return rc;
    struct cpu_device *cpu = (struct cpu_device *)(uintptr_t)x->device;
    l->key = x->packs ? pack_key(l, parts, cpu->k.gemm_isa[gemm_type_of(type)]) : 0;
    if (x->packs && pack_cache_get(x->packs, l->key, l->b, l->bytes)) {
        take_chosen(l);
    } else {
        rc = pack_parts(x, parts, l, err);
        if (rc) {
            cpu_linear_release(&l->base);
            return rc;
        }
        if (x->packs && !l->outliers.seen)
            pack_cache_put(x->packs, l->key, l->b, l->bytes);
    }
    slab_written(&cpu->slabs, l->slab);
    *out = &l->base;
    return RKF_OK;
}

/* ---- outliers of x: taken out of the panels when it is known which they are */

struct settle_job {
    const struct cpu_linear *l;
    float *rows; // [threads][nr][in]
};

/* The weights of the channels that a panel's columns have in the file. */
static void read_channels(const struct cpu_linear *l, uint32_t panel)
{
    uint32_t nr = l->g->nr, row;
    const struct linear_part *p = part_of(l, l->parts, panel, &row);
    float *w = l->outliers.weights + (size_t)panel * OUTLIERS * nr;
    memset(w, 0, (size_t)OUTLIERS * nr * sizeof *w);
    for (uint32_t i = 0; i < l->outliers.n; i++, w += nr)
        for (uint32_t col = 0; col < l->panels[panel].cols; col++) {
            const char *from = weights_at(p, row + col, l->outliers.channel[i]);
            if (p->weight.type == DTYPE_F32)
                memcpy(w + col, from, sizeof *w); /* the compiler's: many at once are on their way from memory */
            else
                convert_to_f32(w + col, from, p->weight.type, 1);
        }
}

/* A panel whose steps were made for what is taken out is packed again. */
static void take_channels(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct settle_job *j = arg;
    const struct cpu_linear *l = j->l;
    uint32_t nr = l->g->nr;
    for (uint32_t panel = begin; panel < end; panel++) {
        read_channels(l, panel);
        if (outliers_clear(&l->outliers, l->g, l->k, (int8_t *)l->b + panel * l->panel_bytes,
                           l->wsum + (size_t)panel * nr))
            pack_panel(l, l->parts, panel, j->rows + (size_t)thread * nr * l->base.in);
    }
}

static rkf_status take_outliers(struct exec *x, struct cpu_linear *l, rkf_error *err)
{
    struct arena_mark mark = arena_mark(&x->scratch);
    size_t rows = (size_t)team_size(x->team) * l->g->nr * l->base.in;
    struct settle_job j = { l, arena_array(&x->scratch, rows, sizeof(float)) };
    if (!j.rows)
        return rkf_fail_memory(err, rows * sizeof(float), "packing weights");
    team_for(x->team, l->n_panels, 1, take_channels, &j);
    arena_release(&x->scratch, mark);
    return RKF_OK;
}

rkf_status cpu_linear_settle(struct exec *x, struct linear *base, rkf_error *err)
{
    struct cpu_linear *l = (struct cpu_linear *)base;
    struct outliers *o = l ? &l->outliers : NULL;
    if (!o || !o->seen)
        return RKF_OK;
    outliers_choose(o, l->base.in);
    rkf_status rc = o->n ? take_outliers(x, l, err) : RKF_OK;
    if (rc)
        return rc;
    l->chosen[0] = o->n;
    memcpy(l->chosen + 1, o->channel, sizeof o->channel);
    if (x->packs)
        pack_cache_put(x->packs, l->key, l->b, l->bytes);
    end_observed(l);
    return RKF_OK;
}
