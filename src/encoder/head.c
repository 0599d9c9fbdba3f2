/* SPDX-License-Identifier: Apache-2.0 */
/* Heads: hidden states -> logits. Every family's head is pool -> dense -> activation -> norm -> out with steps left
 * out. */
#include "encoder/encoder.h"
#include "encoder/params.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct head {
    struct encoder_spec spec;
    struct params params;
    struct linear *dense, *out; /* dense: NULL none */
    struct norm norm;
    bool has_norm;
};

enum { SPLADE_BYTES = 16 << 20 }; /* of logits at once */

void head_free(struct head *h)
{
    if (!h)
        return;
    linear_release(h->dense);
    linear_release(h->out);
    params_free(&h->params);
    mem_free(h);
}

uint32_t head_width(const struct head *h)
{
    return h->out->out;
}

bool head_per_token(const struct head *h)
{
    return h->spec.head_pool == HEAD_POOL_TOKENS;
}

bool spec_head_first_only(const struct encoder_spec *spec)
{
    return spec->head != HEAD_NONE && spec->head_pool == HEAD_POOL_FIRST;
}

/* ---- create */

static bool has_bias(const struct encoder_spec *s, enum bias_rule rule)
{
    return rule == BIAS_CLASSIFIER ? s->classifier_bias
           : rule == BIAS_DECODER  ? s->decoder_bias
           : rule == BIAS_MLP      ? s->mlp_bias
                                   : true;
}

static uint32_t out_width(const struct encoder_spec *s)
{
    switch (s->head) {
    case HEAD_MASKED_LM:
        return s->vocab_size;
    case HEAD_QA:
        return 2; /* start, end */
    case HEAD_CHOICE:
        return 1;
    default:
        return s->num_labels;
    }
}

static rkf_status load_dense(struct head *h, struct loader *l, const struct head_names *n, rkf_error *err)
{
    const struct encoder_spec *s = &h->spec;
    char name[NAME_CAP];
    bool in_body = n->dense[0] == '~';
    snprintf(name, sizeof name, "%s%s", in_body ? l->prefix : "", n->dense + in_body);
    struct matrix m = matrix_of(name, s->head_size, has_bias(s, n->dense_bias_rule));
    return load_linear(l, &m, 1, s->hidden_size, &h->dense, err);
}

static rkf_status load_out(struct head *h, struct loader *l, const struct head_names *n, rkf_error *err)
{
    const struct encoder_spec *s = &h->spec;
    bool tied = n->always_tied || (n->tied && s->tie_word_embeddings && !loader_has(l, n->out, ".weight"));
    bool bias = has_bias(s, n->out_bias_rule);
    struct matrix m = matrix_of(n->out, out_width(s), bias);
    if (tied && !loader_name(l, WEIGHT_WORD, 0, m.name, sizeof m.name))
        return rkf_fail(err, RKF_INTERNAL, "the architecture table has no word embeddings");
    if (bias && n->out_bias && !loader_has(l, m.bias, ""))
        snprintf(m.bias, sizeof m.bias, "%s", n->out_bias);
    return load_linear(l, &m, 1, h->dense ? s->head_size : s->hidden_size, &h->out, err);
}

static rkf_status load_head(struct head *h, struct loader *l, rkf_error *err)
{
    const struct head_names *n = arch_head(&h->spec);
    rkf_status rc = loader_init(l, err);
    if (!rc && n->dense && h->spec.head_dense)
        rc = load_dense(h, l, n, err);
    if (!rc && n->norm) {
        h->has_norm = true;
        rc = load_norm(l, n->norm, h->spec.head_size, h->spec.norm_bias, &h->norm, err);
    }
    return rc ? rc : load_out(h, l, n, err);
}

rkf_status head_create(struct exec *x, const struct model_dir *m, const struct weights *w, enum dtype type,
                       struct head **out, rkf_error *err)
{
    if (m->spec_error.status)
        return rkf_fail(err, m->spec_error.status, "%s", m->spec_error.message);
    if (!arch_head(&m->spec)) {
        *out = NULL;
        return RKF_OK;
    }
    struct head *h = mem_zalloc(1, sizeof *h);
    if (!h)
        return rkf_fail_memory(err, sizeof *h, "a head");
    h->spec = m->spec;
    struct loader l = { .x = x, .w = w, .spec = &h->spec, .where = m->path, .type = type, .params = &h->params };
    rkf_status rc = load_head(h, &l, err);
    if (!rc && weights_changed(w))
        rc = rkf_fail(err, RKF_FORMAT, "%s: the weights changed while they were read: try again when they are complete",
                      m->path);
    if (rc) {
        head_free(h);
        return rc;
    }
    *out = h;
    return RKF_OK;
}

/* ---- pooling of rows */

struct pool_job {
    const struct batch *b;
    const struct cpu_ops *cpu;
    const float *in; // [n_tokens, cols]
    float *out;      // [n_seqs, cols]
    uint32_t cols;
    enum head_pool pool;
};

static void pool_rows(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct pool_job *j = arg;
    (void)thread;
    for (uint32_t i = begin; i < end; i++) {
        uint32_t first = j->b->cu_lens[i], last = j->b->cu_lens[i + 1], n = last - first;
        float *y = j->out + (size_t)i * j->cols;
        memset(y, 0, j->cols * sizeof *y);
        if (!n)
            continue;
        if (j->pool == HEAD_POOL_FIRST)
            last = first + 1;
        else if (j->pool == HEAD_POOL_LAST)
            first = last - 1;
        for (uint32_t t = first; t < last; t++)
            j->cpu->add(y, j->in + (size_t)t * j->cols, 1.0f / (float)(last - first), j->cols);
    }
}

static rkf_status pool(struct exec *x, const struct batch *b, enum head_pool how, struct view in, struct view *out,
                       rkf_error *err)
{
    float *y = arena_array(&x->scratch, (size_t)b->n_seqs * in.cols, sizeof *y);
    if (!y)
        return rkf_fail_memory(err, (size_t)b->n_seqs * in.cols * sizeof *y, "pooling");
    struct pool_job j = { b, x->device->cpu, in.p, y, in.cols, how };
    team_for(x->team, b->n_seqs, 1, pool_rows, &j);
    *out = view_make(y, DTYPE_F32, b->n_seqs, in.cols);
    return RKF_OK;
}

static rkf_status gather(struct exec *x, const uint32_t *rows, uint32_t n, struct view in, struct view *out,
                         rkf_error *err)
{
    float *y = arena_array(&x->scratch, (size_t)n * in.cols, sizeof *y);
    if (!y)
        return rkf_fail_memory(err, (size_t)n * in.cols * sizeof *y, "a head's rows");
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i] >= in.rows)
            return rkf_fail(err, RKF_INTERNAL, "row %u of %u", rows[i], in.rows);
        memcpy(y + (size_t)i * in.cols, (const float *)in.p + (size_t)rows[i] * in.cols, in.cols * sizeof *y);
    }
    *out = view_make(y, DTYPE_F32, n, in.cols);
    return RKF_OK;
}

/* ---- run */

/* y [in.rows, width] */
static rkf_status project(const struct head *h, struct exec *x, struct view in, struct view y, rkf_error *err)
{
    const struct epilogue plain = { .act = ACT_NONE };
    const struct epilogue first = { .act = h->spec.head_act, .norm = h->has_norm ? &h->norm : NULL };
    const struct linear_ops *l = x->device->linear;
    rkf_status rc = RKF_OK;
    if (h->dense) {
        struct view middle = view_make(arena_array(&x->scratch, (size_t)in.rows * h->dense->out, sizeof(float)),
                                       DTYPE_F32, in.rows, h->dense->out);
        if (!middle.p)
            return rkf_fail_memory(err, (size_t)in.rows * h->dense->out * sizeof(float), "a head");
        rc = l->apply(x, h->dense, in, &first, middle, err);
        in = middle;
    } else if (h->spec.head_act != ACT_NONE && !h->spec.head_dense && arch_head(&h->spec)->dense) {
        rc = x->device->cpu->activate(x, h->spec.head_act, in, in, err); /* pooled rows: nobody reads them again */
    }
    return rc ? rc : l->apply(x, h->out, in, &plain, y, err);
}

static rkf_status check_hidden(const struct head *h, const struct batch *b, const struct rows *hidden, rkf_error *err)
{
    bool first_only = !hidden->per_token && spec_head_first_only(&h->spec);
    if (hidden->kind != BODY_HIDDEN || hidden->cols != h->spec.hidden_size ||
        hidden->rows != (first_only ? b->n_seqs : b->n_tokens))
        return rkf_fail(err, RKF_INTERNAL, "a head of %u columns got [%u, %u]", h->spec.hidden_size, hidden->rows,
                        hidden->cols);
    return RKF_OK;
}

rkf_status head_run(const struct head *h, struct exec *x, const struct batch *b, const struct rows *hidden,
                    const uint32_t *rows, uint32_t n_rows, struct rows *out, rkf_error *err)
{
    enum head_pool how = h->spec.head_pool;
    struct view in = view_make(hidden->data, DTYPE_F32, hidden->rows, hidden->cols);
    rkf_status rc = check_hidden(h, b, hidden, err);
    if (!rc && how == HEAD_POOL_TOKENS && rows)
        rc = gather(x, rows, n_rows, in, &in, err);
    else if (!rc && how != HEAD_POOL_TOKENS && how != HEAD_POOL_LATE && hidden->per_token)
        rc = pool(x, b, how, in, &in, err);
    if (rc)
        return rc;
    float *data = arena_array(&x->scratch, (size_t)in.rows * head_width(h), sizeof *data);
    if (!data)
        return rkf_fail_memory(err, (size_t)in.rows * head_width(h) * sizeof *data, "logits");
    struct view y = view_make(data, DTYPE_F32, in.rows, head_width(h));
    rc = project(h, x, in, y, err);
    if (!rc && how == HEAD_POOL_LATE)
        rc = pool(x, b, HEAD_POOL_MEAN, y, &y, err);
    if (!rc)
        *out = (struct rows){ BODY_LOGITS, y.p, y.rows, y.cols, how == HEAD_POOL_TOKENS };
    return rc;
}

/* ---- SPLADE */

struct splade_job {
    const float *logits; // [rows, width]
    float *out;          // [width]
    uint32_t rows, width;
    bool max, log_twice;
};

static void splade_columns(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct splade_job *j = arg;
    (void)thread;
    for (uint32_t t = 0; t < j->rows; t++)
        for (uint32_t c = begin; c < end; c++) {
            float v = j->logits[(size_t)t * j->width + c];
            v = v > 0 ? log1pf(v) : 0;
            v = j->log_twice ? log1pf(v) : v;
            j->out[c] = !j->max ? j->out[c] + v : v > j->out[c] ? v : j->out[c];
        }
}

static rkf_status splade_piece(const struct head *h, struct exec *x, struct view in, bool max, bool log_twice,
                               float *out, rkf_error *err)
{
    struct arena_mark mark = arena_mark(&x->scratch);
    uint32_t width = head_width(h);
    float *logits = arena_array(&x->scratch, (size_t)in.rows * width, sizeof *logits);
    if (!logits)
        return rkf_fail_memory(err, (size_t)in.rows * width * sizeof *logits, "logits");
    rkf_status rc = project(h, x, in, view_make(logits, DTYPE_F32, in.rows, width), err);
    struct splade_job j = { logits, out, in.rows, width, max, log_twice };
    if (!rc)
        team_for(x->team, width, 1024, splade_columns, &j);
    arena_release(&x->scratch, mark);
    return rc;
}

rkf_status head_run_splade(const struct head *h, struct exec *x, const struct batch *b, const struct rows *hidden,
                           bool max, bool log_twice, float *out, rkf_error *err)
{
    uint32_t width = head_width(h), most = (uint32_t)(SPLADE_BYTES / sizeof(float) / width) + 1;
    rkf_status rc = check_hidden(h, b, hidden, err);
    if (!rc && h->spec.head != HEAD_MASKED_LM)
        rc = rkf_fail(err, RKF_UNSUPPORTED, "sparse embeddings need a model with a masked-LM head");
    if (rc)
        return rc;
    memset(out, 0, (size_t)b->n_seqs * width * sizeof *out);
    for (uint32_t i = 0; !rc && i < b->n_seqs; i++)
        for (uint32_t t = b->cu_lens[i]; !rc && t < b->cu_lens[i + 1]; t += most) {
            uint32_t n = b->cu_lens[i + 1] - t < most ? b->cu_lens[i + 1] - t : most;
            struct view in = view_make(hidden->data + (size_t)t * hidden->cols, DTYPE_F32, n, hidden->cols);
            rc = splade_piece(h, x, in, max, log_twice, out + (size_t)i * width, err);
        }
    return rc;
}
