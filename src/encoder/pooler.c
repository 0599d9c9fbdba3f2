/* SPDX-License-Identifier: Apache-2.0 */
/* What sentence-transformers puts after a transformer: pooling, dense layers, layer norm, normalising, truncation. */
#include "encoder/encoder.h"
#include "encoder/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct step { /* a module after pooling */
    enum module_kind kind;
    struct linear *dense, *residual; /* residual: NULL, or the projection of a residual whose sizes differ */
    bool add_input;
    enum activation act;
    struct norm norm;
    uint32_t out; /* columns after it; 0: as before it */
};

struct pooler {
    struct params params;
    uint32_t hidden;
    uint8_t pool[POOL_COUNT];
    uint32_t n_pool;
    bool skip_prompt;
    struct step *steps;
    uint32_t n_steps;
};

void pooler_free(struct pooler *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        linear_release(p->steps[i].dense);
        linear_release(p->steps[i].residual);
    }
    mem_free(p->steps);
    params_free(&p->params);
    mem_free(p);
}

bool pooler_skips_prompt(const struct pooler *p)
{
    return p->skip_prompt;
}

bool pooler_first_only(const struct pooler *p, const struct pool_options *o)
{
    bool cls = o->pooling < 0 ? p->n_pool == 1 && p->pool[0] == POOL_CLS : o->pooling == POOL_CLS;
    return cls && !o->skip;
}

static uint32_t pooled_width(const struct pooler *p, const struct pool_options *o)
{
    return p->hidden * (o->pooling < 0 ? p->n_pool : 1);
}

static uint32_t full_width(const struct pooler *p, const struct pool_options *o)
{
    for (uint32_t i = p->n_steps; i > 0; i--)
        if (p->steps[i - 1].out)
            return p->steps[i - 1].out;
    return pooled_width(p, o);
}

uint32_t pooler_width(const struct pooler *p, const struct pool_options *o)
{
    uint32_t width = full_width(p, o);
    return o->truncate_dim && o->truncate_dim < width ? o->truncate_dim : width;
}

/* ---- create */

static rkf_status load_dense(struct loader *l, const struct st_module *m, struct step *s, rkf_error *err)
{
    struct matrix linear = matrix_of("linear", m->out, m->bias), residual = matrix_of("residual", m->out, false);
    s->act = m->act;
    s->add_input = m->residual && m->in == m->out;
    rkf_status rc = load_linear(l, &linear, 1, m->in, &s->dense, err);
    if (!rc && m->residual && m->in != m->out)
        rc = load_linear(l, &residual, 1, m->in, &s->residual, err);
    return rc;
}

static rkf_status load_layer_norm(struct loader *l, const struct st_module *m, struct step *s, rkf_error *err)
{
    s->norm = (struct norm){ .kind = NORM_LAYER, .size = m->in, .eps = 1e-5f }; /* torch's default */
    rkf_status rc = load_vector(l, "norm", ".weight", m->in, &s->norm.gamma, err);
    return rc ? rc : load_vector(l, "norm", ".bias", m->in, &s->norm.beta, err);
}

static rkf_status load_step(struct pooler *p, struct exec *x, const struct st_module *m, enum dtype type,
                            struct step *s, rkf_error *err)
{
    struct weights *w;
    rkf_status rc = weights_open(m->path, &w, err);
    if (rc)
        return rc;
    struct loader l = { .x = x, .w = w, .where = m->path, .type = type, .params = &p->params };
    rc = m->kind == MODULE_DENSE ? load_dense(&l, m, s, err) : load_layer_norm(&l, m, s, err);
    weights_close(w);
    return rc;
}

static rkf_status add_step(struct pooler *p, struct exec *x, const struct st_module *m, enum dtype type, rkf_error *err)
{
    uint32_t width = full_width(p, &(struct pool_options){ .pooling = -1 });
    struct step *s = &p->steps[p->n_steps];
    *s = (struct step){ .kind = m->kind, .out = m->out };
    p->n_steps++;
    if (m->kind == MODULE_NORMALIZE)
        return RKF_OK;
    if (m->in != width)
        return rkf_fail(err, RKF_FORMAT, "%s: this module takes %u columns, the one before it gives %u", m->path, m->in,
                        width);
    return load_step(p, x, m, type, s, err);
}

static rkf_status add_module(struct pooler *p, struct exec *x, const struct st_module *m, enum dtype type, bool *pooled,
                             rkf_error *err)
{
    if (m->kind == MODULE_SPLADE)
        return RKF_OK; /* head_run_splade */
    if (m->kind != MODULE_POOLING && !*pooled)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: a module before the pooling is not supported", m->path);
    if (m->kind != MODULE_POOLING)
        return add_step(p, x, m, type, err);
    if (*pooled)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: a second pooling is not supported", m->path);
    *pooled = true;
    memcpy(p->pool, m->pool, sizeof p->pool);
    p->n_pool = m->n_pool;
    p->skip_prompt = !m->include_prompt;
    return RKF_OK;
}

rkf_status pooler_create(struct exec *x, const struct model_dir *m, enum dtype type, struct pooler **out,
                         rkf_error *err)
{
    rkf_status rc = RKF_OK;
    bool pooled = false;
    struct pooler *p = mem_zalloc(1, sizeof *p);
    if (!p || !(p->steps = mem_zalloc(m->n_modules, sizeof *p->steps))) {
        rc = rkf_fail_memory(err, sizeof *p, "pooling");
        goto fail;
    }
    p->hidden = m->spec.hidden_size;
    p->pool[0] = POOL_MEAN;
    p->n_pool = 1;
    for (uint32_t i = 0; i < m->n_modules; i++)
        if ((rc = add_module(p, x, &m->modules[i], type, &pooled, err)))
            goto fail;
    *out = p;
    return RKF_OK;
fail:
    pooler_free(p);
    return rc;
}

/* ---- pooling */

struct pool_job {
    const struct batch *b;
    const struct cpu_ops *cpu;
    const float *in; // [n_tokens, cols]
    float *out;      // [n_seqs, n_pool * cols]
    uint32_t cols, n_pool;
    const uint8_t *pool;
    const uint32_t *skip;
};

/* One mode of one sequence: tokens `first` to `end`, of which those before `begin` are left out. */
static void pool_one(const struct pool_job *j, enum pooling_mode mode, uint32_t first, uint32_t begin, uint32_t end,
                     float *y)
{
    const float *in = j->in + (size_t)begin * j->cols;
    uint32_t n = end - begin;
    memset(y, 0, j->cols * sizeof *y);
    if (mode == POOL_CLS && n) {
        memcpy(y, in, j->cols * sizeof *y);
    } else if (mode == POOL_LAST_TOKEN && n) {
        memcpy(y, in + (size_t)(n - 1) * j->cols, j->cols * sizeof *y);
    } else if (mode == POOL_MAX && n) {
        memcpy(y, in, j->cols * sizeof *y);
        for (uint32_t t = 1; t < n; t++)
            for (uint32_t c = 0; c < j->cols; c++)
                y[c] = in[(size_t)t * j->cols + c] > y[c] ? in[(size_t)t * j->cols + c] : y[c];
    } else { /* sums: weights are 1, or the position from 1 on, prompt included */
        double weights = 0;
        bool weighted = mode == POOL_WEIGHTED_MEAN;
        for (uint32_t t = 0; t < n; t++)
            weights += weighted ? begin - first + t + 1 : 1;
        double scale = weights > 0 ? 1 / (mode == POOL_MEAN_SQRT_LEN ? sqrt(weights) : weights) : 0;
        for (uint32_t t = 0; t < n; t++)
            j->cpu->add(y, in + (size_t)t * j->cols, (float)(scale * (weighted ? begin - first + t + 1 : 1)), j->cols);
    }
}

static void pool_sequences(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct pool_job *j = arg;
    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        uint32_t first = j->b->cu_lens[i], last = j->b->cu_lens[i + 1], skip = j->skip ? j->skip[i] : 0;
        uint32_t from = skip < last - first ? first + skip : last;
        for (uint32_t k = 0; k < j->n_pool; k++)
            pool_one(j, (enum pooling_mode)j->pool[k], first, from, last,
                     j->out + ((size_t)i * j->n_pool + k) * j->cols);
    }
}

/* ---- what follows */

struct normalize_job {
    const struct cpu_ops *cpu;
    const float *in; // [n, in_cols]
    float *out;      // [n, cols]; may be in
    uint32_t in_cols, cols;
    bool unit; /* else a plain copy */
};

static void normalize_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct normalize_job *j = arg;
    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        const float *x = j->in + (size_t)i * j->in_cols;
        float *y = j->out + (size_t)i * j->cols;
        float norm = sqrtf(j->cpu->dot(x, x, j->cols));
        float scale = !j->unit ? 1 : 1 / (norm > 1e-12f ? norm : 1e-12f);
        for (uint32_t c = 0; c < j->cols; c++)
            y[c] = x[c] * scale;
    }
}

static rkf_status run_dense(const struct step *s, struct exec *x, struct view in, struct view y, rkf_error *err)
{
    const struct linear_ops *l = x->device->linear;
    struct epilogue epi = { .act = s->act }, plain = { .act = ACT_NONE };
    rkf_status rc = RKF_OK;
    if (s->add_input)
        epi.residual = in;
    if (s->residual) {
        rc = l->apply(x, s->residual, in, &plain, y, err);
        epi.residual = y;
    }
    return rc ? rc : l->apply(x, s->dense, in, &epi, y, err);
}

static rkf_status run_step(const struct step *s, struct exec *x, struct view *at, rkf_error *err)
{
    struct view none = { 0 };
    if (s->kind == MODULE_NORMALIZE) {
        struct normalize_job j = { x->device->cpu, at->p, at->p, at->cols, at->cols, true };
        team_for(x->team, at->rows, 16, normalize_rows, &j);
        return RKF_OK;
    }
    if (s->kind == MODULE_LAYER_NORM)
        return x->device->cpu->normalize(x, &s->norm, *at, none, none, *at, err);
    float *p = arena_array(&x->scratch, (size_t)at->rows * s->out, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, (size_t)at->rows * s->out * sizeof *p, "a dense module");
    struct view y = view_make(p, DTYPE_F32, at->rows, s->out);
    rkf_status rc = run_dense(s, x, *at, y, err);
    *at = y;
    return rc;
}

static rkf_status check_options(const struct pooler *p, const struct batch *b, const struct rows *hidden,
                                const struct pool_options *o, rkf_error *err)
{
    bool first_only = !hidden->per_token && pooler_first_only(p, o);
    if (hidden->cols != p->hidden || hidden->rows != (first_only ? b->n_seqs : b->n_tokens))
        return rkf_fail(err, RKF_INTERNAL, "pooling of %u columns got [%u, %u]", p->hidden, hidden->rows, hidden->cols);
    if (o->pooling >= POOL_COUNT)
        return rkf_fail(err, RKF_INTERNAL, "pooling mode %d", o->pooling);
    if (p->n_steps && o->pooling >= 0 && p->n_pool != 1 && p->steps[0].kind != MODULE_NORMALIZE)
        return rkf_fail(err, RKF_INVALID, "another pooling does not fit this model's modules: they take %u columns",
                        p->hidden * p->n_pool);
    return RKF_OK;
}

rkf_status pooler_run(const struct pooler *p, struct exec *x, const struct batch *b, const struct rows *hidden,
                      const struct pool_options *o, float *out, rkf_error *err)
{
    uint8_t asked = (uint8_t)o->pooling;
    bool as_modules = o->pooling < 0;
    rkf_status rc = check_options(p, b, hidden, o, err);
    if (rc)
        return rc;
    float *pooled = arena_array(&x->scratch, (size_t)b->n_seqs * pooled_width(p, o), sizeof *pooled);
    if (!pooled)
        return rkf_fail_memory(err, (size_t)b->n_seqs * pooled_width(p, o) * sizeof *pooled, "pooling");
    struct pool_job j = { .b = b,
                          .cpu = x->device->cpu,
                          .in = hidden->data,
                          .out = pooled,
                          .cols = p->hidden,
                          .n_pool = as_modules ? p->n_pool : 1,
                          .pool = as_modules ? p->pool : &asked,
                          .skip = o->skip };
    if (hidden->per_token)
        team_for(x->team, b->n_seqs, 1, pool_sequences, &j);
    else
        memcpy(pooled, hidden->data, (size_t)b->n_seqs * p->hidden * sizeof *pooled);
    struct view at = view_make(pooled, DTYPE_F32, b->n_seqs, pooled_width(p, o));
    for (uint32_t i = 0; !rc && i < p->n_steps; i++)
        if (p->steps[i].kind != MODULE_NORMALIZE || o->normalize != 0)
            rc = run_step(&p->steps[i], x, &at, err);
    if (rc)
        return rc;
    struct normalize_job last = { x->device->cpu, at.p, out, at.cols, pooler_width(p, o), o->normalize == 1 };
    team_for(x->team, b->n_seqs, 16, normalize_rows, &last);
    return RKF_OK;
}
