/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the native body: finds the weights that the spec asks for, packs the linear layers, fills tables of positions.
 */
#include "encoder/body.h"
#include "encoder/encoder.h"
#include "encoder/positions.h"

#include <math.h>
#include <string.h>

enum { OBSERVED_TOKENS = 24 };

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; e->sets && i < e->spec.layer_sets; i++) {
        linear_release(e->sets[i].qkv);
        linear_release(e->sets[i].o);
        linear_release(e->sets[i].up);
        linear_release(e->sets[i].down);
    }
    linear_release(e->project);
    mem_free(e->sets);
    params_free(&e->params);
    cost_fit_free(&e->cost);
    mem_free(e);
}

/* ---- embeddings */

static rkf_status load_embedding_table(struct loader *l, enum weight_role role, uint32_t rows, struct view *out,
                                       rkf_error *err)
{
    char name[NAME_CAP];
    if (!rows || !loader_name(l, role, 0, name, sizeof name))
        return RKF_OK;
    return load_table(l, name, rows, l->spec->embedding_size, out, err);
}

static bool has_position_table(const struct encoder_spec *s)
{
    return s->position == POSITION_LEARNED || s->position == POSITION_LEARNED_OFFSET ||
           s->position == POSITION_RELATIVE_BIAS || (s->position == POSITION_DISENTANGLED && s->position_biased);
}

static rkf_status load_embeddings(struct encoder *e, struct loader *l, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    char name[NAME_CAP];
    uint32_t positions = has_position_table(s) ? s->max_positions + (uint32_t)s->position_offset : 0;
    bool project = s->arch->always_project || s->embedding_size != s->hidden_size;
    bool norm_last = s->arch->embedding_norm_last;
    e->tables.position_offset = s->position_offset;
    e->tables.scale = 1;
    rkf_status rc = load_embedding_table(l, WEIGHT_WORD, s->vocab_size, &e->tables.word, err);
    if (!rc)
        rc = load_embedding_table(l, WEIGHT_POSITION, positions, &e->tables.position, err);
    if (!rc)
        rc = load_embedding_table(l, WEIGHT_TYPE, s->type_vocab_size, &e->tables.type, err);
    if (!rc && s->embedding_norm && loader_name(l, WEIGHT_EMBEDDING_NORM, 0, name, sizeof name))
        rc = load_norm(l, name, norm_last ? s->hidden_size : s->embedding_size, s->norm_bias, &e->embedding_norm, err);
    if (!rc && project && loader_name(l, WEIGHT_EMBEDDING_PROJECT, 0, name, sizeof name)) {
        struct matrix m = matrix_of(name, s->hidden_size, !norm_last); /* DeBERTa's has no bias */
        rc = load_linear(l, &m, 1, s->embedding_size, &e->project, err);
    }
    if (!rc && s->embedding_norm && !(e->project && norm_last))
        e->tables.norm = &e->embedding_norm;
    return rc;
}

/* ---- one layer */

/* A fused matrix that the file has whole, or its parts. rows[]: of the parts. */
static rkf_status load_fused(struct loader *l, enum weight_role whole, const enum weight_role *roles,
                             const uint32_t *rows, uint32_t n, uint32_t set, bool bias, struct linear **out,
                             rkf_error *err)
{
    struct matrix m[3];
    char name[NAME_CAP];
    uint32_t total = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        total += rows[i];
    bool fused = loader_name(l, whole, set, name, sizeof name);
    for (uint32_t i = 0; i < n; i++) {
        if (!fused && !loader_name(l, roles[i], set, name, sizeof name))
            return rkf_fail(err, RKF_INTERNAL, "the architecture table has no name for a weight of %s",
                            l->spec->arch->model_type);
        m[i] = matrix_of(name, rows[i], bias);
        if (fused) {
            m[i].first = at;
            m[i].whole = total;
        }
        at += rows[i];
    }
    return load_linear(l, m, n, l->spec->hidden_size, out, err);
}

static rkf_status load_attention(struct encoder *e, struct loader *l, uint32_t set, rkf_error *err)
{
    static const enum weight_role roles[] = { WEIGHT_Q, WEIGHT_K, WEIGHT_V };
    const struct encoder_spec *s = &e->spec;
    const uint32_t rows[] = { s->heads * s->head_dim, s->kv_heads * s->head_dim, s->kv_heads * s->head_dim };
    struct layer *y = &e->sets[set];
    char name[NAME_CAP];
    rkf_status rc = load_fused(l, WEIGHT_QKV, roles, rows, 3, set, s->attention_bias, &y->qkv, err);
    if (rc)
        return rc;
    loader_name(l, WEIGHT_O, set, name, sizeof name);
    struct matrix m = matrix_of(name, s->hidden_size, s->attention_bias);
    if ((rc = load_linear(l, &m, 1, rows[0], &y->o, err)))
        return rc;
    y->has_attention_norm = !(set == 0 && s->arch->first_norm_is_identity);
    loader_name(l, WEIGHT_ATTENTION_NORM, set, name, sizeof name);
    return y->has_attention_norm ? load_norm(l, name, s->hidden_size, s->norm_bias, &y->attention_norm, err) : RKF_OK;
}

static rkf_status load_mlp(struct encoder *e, struct loader *l, uint32_t set, rkf_error *err)
{
    static const enum weight_role gated[] = { WEIGHT_GATE, WEIGHT_UP }, plain[] = { WEIGHT_UP };
    const struct encoder_spec *s = &e->spec;
    const uint32_t rows[] = { s->intermediate_size, s->intermediate_size };
    struct layer *y = &e->sets[set];
    char name[NAME_CAP];
    rkf_status rc = s->gated ? load_fused(l, WEIGHT_GATE_UP, gated, rows, 2, set, s->mlp_bias, &y->up, err)
                             : load_fused(l, WEIGHT_ROLES, plain, rows, 1, set, s->mlp_bias, &y->up, err);
    if (rc)
        return rc;
    loader_name(l, WEIGHT_DOWN, set, name, sizeof name);
    struct matrix m = matrix_of(name, s->hidden_size, s->mlp_bias);
    if ((rc = load_linear(l, &m, 1, s->intermediate_size, &y->down, err)))
        return rc;
    loader_name(l, WEIGHT_MLP_NORM, set, name, sizeof name);
    return load_norm(l, name, s->hidden_size, s->norm_bias, &y->mlp_norm, err);
}

/* ---- tables of positions */

static rkf_status make_rotary(struct encoder *e, uint32_t which, double theta, double factor, rkf_error *err)
{
    uint32_t n = e->spec.max_positions, half = e->spec.rotary_dim / 2;
    float *cos = params_alloc(&e->params, (size_t)n * half, sizeof *cos);
    float *sin = params_alloc(&e->params, (size_t)n * half, sizeof *sin);
    if (!cos || !sin)
        return rkf_fail_memory(err, (size_t)n * half * sizeof *cos, "rotary positions");
    rotary_fill(theta, factor, e->spec.rotary_dim, n, cos, sin);
    e->rotary[which] = (struct rotary){ cos, sin, e->spec.rotary_dim, n, e->spec.rotary_interleaved };
    return RKF_OK;
}

static rkf_status make_rotaries(struct encoder *e, struct loader *l, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    (void)l;
    rkf_status rc = make_rotary(e, 0, s->rope_theta, s->rope_factor, err);
    if (!rc && memchr(s->layer_local, 1, s->layers))
        rc = make_rotary(e, 1, s->rope_theta_local, s->rope_factor_local, err);
    return rc;
}

static rkf_status make_relative_bias(struct encoder *e, struct loader *l, rkf_error *err)
{
    enum { WIDTH = 2 * RELATIVE_SPAN - 1 };
    const struct encoder_spec *s = &e->spec;
    struct view table;
    char name[NAME_CAP];
    float value;
    loader_name(l, WEIGHT_RELATIVE_BIAS, 0, name, sizeof name);
    rkf_status rc = load_table(l, name, s->relative_buckets, s->heads, &table, err);
    if (rc)
        return rc;
    float *bias = params_alloc(&e->params, (size_t)s->heads * WIDTH, sizeof *bias);
    if (!bias)
        return rkf_fail_memory(err, (size_t)s->heads * WIDTH * sizeof *bias, "relative positions");
    for (uint32_t h = 0; h < s->heads; h++)
        for (int32_t d = 0; d < WIDTH; d++) {
            size_t at = (size_t)relative_bucket(d - (RELATIVE_SPAN - 1)) * s->heads + h;
            convert_to_f32(&value, (const char *)table.p + at * dtype_size(table.type), table.type, 1);
            bias[(size_t)h * WIDTH + (uint32_t)d] = value;
        }
    e->attention.bias = ATTN_BIAS_RELATIVE;
    e->attention.rel_bias = bias;
    e->attention.rel_span = RELATIVE_SPAN;
    return RKF_OK;
}

/* The relative embeddings as the layers use them: f32, normalised. In scratch. */
static rkf_status relative_embeddings(struct encoder *e, struct loader *l, struct view *out, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    struct view table;
    struct norm norm;
    char name[NAME_CAP];
    uint32_t rows = 2 * s->relative_span;
    loader_name(l, WEIGHT_RELATIVE, 0, name, sizeof name);
    rkf_status rc = load_table(l, name, rows, s->hidden_size, &table, err);
    if (rc)
        return rc;
    float *p = arena_array(&l->x->scratch, (size_t)rows * s->hidden_size, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, (size_t)rows * s->hidden_size * sizeof *p, "relative positions");
    convert_to_f32(p, table.p, table.type, (size_t)rows * s->hidden_size);
    *out = view_make(p, DTYPE_F32, rows, s->hidden_size);
    if (!s->norm_rel)
        return RKF_OK;
    loader_name(l, WEIGHT_RELATIVE_NORM, 0, name, sizeof name);
    if ((rc = load_norm(l, name, s->hidden_size, true, &norm, err)))
        return rc;
    return l->x->device->cpu->normalize(l->x, &norm, *out, (struct view){ 0 }, (struct view){ 0 }, *out, err);
}

/* One layer's projection of the relative embeddings, by `own` or by the content's `shared` matrix. */
static rkf_status project_relative(struct encoder *e, struct loader *l, uint32_t set, enum weight_role own,
                                   enum weight_role shared, struct view rel, const float **out, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    const struct epilogue plain = { .act = ACT_NONE };
    uint32_t width = s->heads * s->head_dim;
    struct linear *projection = NULL;
    char name[NAME_CAP];
    loader_name(l, s->share_att_key ? shared : own, set, name, sizeof name);
    struct matrix m = matrix_of(name, width, true);
    float *p = params_alloc(&e->params, (size_t)rel.rows * width, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, (size_t)rel.rows * width * sizeof *p, "relative positions");
    rkf_status rc = load_linear(l, &m, 1, s->hidden_size, &projection, err);
    if (!rc)
        rc = l->x->device->linear->apply(l->x, projection, rel, &plain, view_make(p, DTYPE_F32, rel.rows, width), err);
    linear_release(projection);
    *out = p;
    return rc;
}

static rkf_status make_rel_index(struct encoder *e, rkf_error *err)
{
    uint32_t span = e->spec.max_positions;
    int32_t *index = params_alloc(&e->params, 2 * (size_t)span - 1, sizeof *index);
    if (!index)
        return rkf_fail_memory(err, 2 * (size_t)span * sizeof *index, "relative positions");
    for (uint32_t i = 0; i < 2 * span - 1; i++)
        index[i] = disentangled_row(&e->spec, (int32_t)i - (int32_t)(span - 1));
    e->attention.bias = ATTN_BIAS_DISENTANGLED;
    e->attention.rel_rows = 2 * e->spec.relative_span;
    e->attention.rel_index = index;
    e->attention.rel_index_span = span;
    return RKF_OK;
}

static rkf_status make_disentangled(struct encoder *e, struct loader *l, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    struct view rel;
    e->attention.scale = 1 / sqrtf((float)s->head_dim * (float)(1 + s->c2p + s->p2c));
    if (!s->relative_span || !(s->c2p || s->p2c))
        return RKF_OK;
    struct arena_mark mark = arena_mark(&l->x->scratch);
    rkf_status rc = make_rel_index(e, err);
    if (!rc)
        rc = relative_embeddings(e, l, &rel, err);
    for (uint32_t i = 0; !rc && i < s->layer_sets; i++) {
        if (s->c2p)
            rc = project_relative(e, l, i, WEIGHT_POSITION_KEY, WEIGHT_K, rel, &e->sets[i].pos_key, err);
        if (!rc && s->p2c)
            rc = project_relative(e, l, i, WEIGHT_POSITION_QUERY, WEIGHT_Q, rel, &e->sets[i].pos_query, err);
    }
    arena_release(&l->x->scratch, mark);
    return rc;
}

static rkf_status make_positions(struct encoder *e, struct loader *l, rkf_error *err)
{
    static rkf_status (*const makers[])(struct encoder *, struct loader *, rkf_error *) = {
        [POSITION_RELATIVE_BIAS] = make_relative_bias,
        [POSITION_ROTARY] = make_rotaries,
        [POSITION_DISENTANGLED] = make_disentangled,
    };
    const struct encoder_spec *s = &e->spec;
    e->attention = (struct attention){
        .heads = s->heads, .kv_heads = s->kv_heads, .head_dim = s->head_dim, .scale = 1 / sqrtf((float)s->head_dim)
    };
    return makers[s->position] ? makers[s->position](e, l, err) : RKF_OK;
}

/* ---- all */

static size_t count_bytes(const struct encoder *e)
{
    size_t bytes = e->params.bytes + linear_bytes(e->project);
    for (uint32_t i = 0; i < e->spec.layer_sets; i++)
        bytes += linear_bytes(e->sets[i].qkv) + linear_bytes(e->sets[i].o) + linear_bytes(e->sets[i].up) +
                 linear_bytes(e->sets[i].down);
    return bytes;
}

static rkf_status load_all(struct encoder *e, struct loader *l, rkf_error *err)
{
    char name[NAME_CAP];
    rkf_status rc = loader_init(l, err);
    if (!rc)
        rc = load_embeddings(e, l, err);
    for (uint32_t i = 0; !rc && i < e->spec.layer_sets; i++) {
        rc = load_attention(e, l, i, err);
        if (!rc)
            rc = load_mlp(e, l, i, err);
    }
    if (!rc)
        rc = make_positions(e, l, err);
    if (!rc && e->spec.final_norm && loader_name(l, WEIGHT_FINAL_NORM, 0, name, sizeof name))
        rc = load_norm(l, name, e->spec.hidden_size, e->spec.norm_bias, &e->final_norm, err);
    return rc;
}

/* Ids that a vocabulary has early: special tokens of most families, on which outliers gather, and some words. */
static uint32_t observed_ids(const struct encoder_spec *s, int32_t ids[OBSERVED_TOKENS])
{
    enum { FIRST = 4, BERT_FIRST = 100, BERT_LAST = 104 };
    uint32_t n = s->max_positions < OBSERVED_TOKENS ? s->max_positions : OBSERVED_TOKENS, id = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i < FIRST)
            id = i;
        else if (i < FIRST + BERT_LAST - BERT_FIRST)
            id = BERT_FIRST + i - FIRST;
        else if (i + 2 >= n)
            id = s->vocab_size - (n - i);
        else
            id = i * 2654435761u;
        ids[i] = (int32_t)(id % s->vocab_size);
    }
    return n;
}

/* Shows the layers a text, if they have something to learn of one. */
static rkf_status observe(struct encoder *e, struct exec *x, const struct weights *w, rkf_error *err)
{
    int32_t ids[OBSERVED_TOKENS];
    uint32_t n = observed_ids(&e->spec, ids), cu_lens[] = { 0, n };
    struct batch b = { .n_seqs = 1, .n_tokens = n, .ids = ids, .cu_lens = cu_lens };
    struct rows rows;
    if (!x->observe)
        return RKF_OK;
    struct arena_mark mark = arena_mark(&x->scratch);
    rkf_status rc = encoder_run_whole(e, x, &b, &rows, err);
    arena_release(&x->scratch, mark);
    if (!rc && e->project)
        rc = x->device->linear->settle(x, e->project, err);
    for (uint32_t i = 0; !rc && i < e->spec.layer_sets; i++) {
        const struct layer *y = &e->sets[i];
        struct linear *all[] = { y->qkv, y->o, y->up, y->down };
        for (int k = 0; !rc && k < 4; k++)
            rc = x->device->linear->settle(x, all[k], err);
        weights_drop(w, NULL); /* it may have read them again */
    }
    return rc;
}

rkf_status encoder_create(struct exec *x, const struct model_dir *m, const struct weights *w, enum dtype type,
                          struct body **out, rkf_error *err)
{
    if (m->spec_error.status)
        return rkf_fail(err, m->spec_error.status, "%s", m->spec_error.message);
    struct encoder *e = mem_zalloc(1, sizeof *e);
    if (!e)
        return rkf_fail_memory(err, sizeof *e, "an encoder");
    cost_fit_init(&e->cost);
    e->body = (struct body){ &encoder_ops, x->device };
    e->spec = m->spec;
    rkf_status rc = RKF_OK;
    if (!(e->sets = mem_zalloc(e->spec.layer_sets, sizeof *e->sets))) {
        rc = rkf_fail_memory(err, e->spec.layer_sets * sizeof *e->sets, "layers");
        goto fail;
    }
    struct loader l = { .x = x, .w = w, .spec = &e->spec, .where = m->path, .type = type, .params = &e->params };
    x->observe = type == DTYPE_I8 && x->device->linear->settle;
    rc = load_all(e, &l, err);
    if (!rc)
        rc = observe(e, x, w, err);
    x->observe = false;
    params_free(&l.kept);
    if (rc)
        goto fail;
    if (weights_changed(w)) {
        rc = rkf_fail(err, RKF_FORMAT, "%s: the weights changed while they were read: try again when they are complete",
                      m->path);
        goto fail;
    }
    weights_drop(w, NULL);
    e->bytes = count_bytes(e);
    *out = &e->body;
    return RKF_OK;
fail:
    encoder_free(e);
    return rc;
}
