/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass. Buffers, all in the exec's scratch and sized by the batch:
 *
 *   stream  [tokens, hidden]                the residual stream, updated in place
 *   normed  [tokens, hidden]                pre-norm models: what the next linear layer reads
 *   wide    [tokens, max(qkv + context, intermediate)]   qkv beside the context, then the MLP's middle
 *
 * With several threads and sequences enough, parts.c gives each thread sequences of its own.
 *
 * Post-norm (BERT): stream = norm(stream + o(attend(qkv(stream)))), stream = norm(stream + down(act(up(stream)))).
 * Pre-norm (ModernBERT, EuroBERT): each linear layer's epilogue adds to stream and leaves the next norm's output in
 * normed, so that a norm is never a pass of its own.
 */
#include "encoder/body.h"
#include "encoder/encoder.h"

#include <string.h>

struct run {
    const struct encoder *e;
    struct exec *x;
    const struct batch *b;
    struct view stream, normed; /* normed: stream itself in post-norm models */
    float *wide;
    bool first_only; /* after the last attention only each sequence's first row goes on */
    rkf_error *err;
};

/* ---- checks */

static rkf_status check_ids(const struct encoder *e, const struct batch *b, rkf_error *err)
{
    const struct encoder_spec *s = &e->spec;
    for (uint32_t i = 0; i < b->n_tokens; i++)
        if (b->ids[i] < 0 || (uint32_t)b->ids[i] >= s->vocab_size)
            return rkf_fail(err, RKF_INVALID, "token id %d is outside of the model's vocabulary of %u", b->ids[i],
                            s->vocab_size);
    for (uint32_t i = 0; s->type_vocab_size > 1 && b->type_ids && i < b->n_tokens; i++)
        if (b->type_ids[i] >= s->type_vocab_size)
            return rkf_fail(err, RKF_INVALID, "token type %u: the model has %u token types", b->type_ids[i],
                            s->type_vocab_size);
    return RKF_OK;
}

static rkf_status check_batch(const struct encoder *e, const struct batch *b, rkf_error *err)
{
    if (!b->n_seqs || b->cu_lens[0] || b->cu_lens[b->n_seqs] != b->n_tokens)
        return rkf_fail(err, RKF_INTERNAL, "a batch whose lengths do not add up to its %u tokens", b->n_tokens);
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        uint32_t n = b->cu_lens[i + 1] - b->cu_lens[i];
        if (b->cu_lens[i + 1] < b->cu_lens[i])
            return rkf_fail(err, RKF_INTERNAL, "a batch whose lengths do not rise");
        if (n > e->spec.max_positions)
            return rkf_fail(err, RKF_TOO_LONG, "a text of %u tokens, the model takes %u", n, e->spec.max_positions);
    }
    return check_ids(e, b, err);
}

/* ---- steps */

static rkf_status get_buffers(struct run *r)
{
    const struct encoder_spec *s = &r->e->spec;
    size_t tokens = r->b->n_tokens, hidden = s->hidden_size;
    size_t attention = (size_t)(2 * s->heads + 2 * s->kv_heads) * s->head_dim;
    size_t mlp = r->x->device->linear->apply_pair ? 0 : s->intermediate_size;
    size_t wide = attention > mlp ? attention : mlp;
    if (r->e->project && s->embedding_size > wide)
        wide = s->embedding_size;
    float *stream = arena_array(&r->x->scratch, tokens * hidden, sizeof *stream);
    float *normed = s->pre_norm ? arena_array(&r->x->scratch, tokens * hidden, sizeof *normed) : stream;
    r->wide = arena_array(&r->x->scratch, tokens * wide, sizeof *r->wide);
    if (!stream || !normed || !r->wide)
        return rkf_fail_memory(r->err, tokens * (2 * hidden + wide) * sizeof *stream, "the activations of a batch");
    r->stream = view_make(stream, DTYPE_F32, r->b->n_tokens, s->hidden_size);
    r->normed = view_make(normed, DTYPE_F32, r->b->n_tokens, s->hidden_size);
    return RKF_OK;
}

/* RoBERTa counts positions without padding tokens, and gives them the row before the first. They appear inside of a
 * text only if it spells the padding token out; *rows stays NULL where none does. */
static rkf_status count_positions(struct run *r, const uint32_t **rows)
{
    const struct batch *b = r->b;
    int32_t offset = r->e->spec.position_offset, pad = offset - 1;
    uint32_t first = 0;
    while (offset && first < b->n_tokens && b->ids[first] != pad)
        first++;
    if (!offset || first == b->n_tokens)
        return RKF_OK;
    uint32_t *p = arena_array(&r->x->scratch, b->n_tokens, sizeof *p);
    if (!p)
        return rkf_fail_memory(r->err, b->n_tokens * sizeof *p, "positions");
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        uint32_t row = (uint32_t)offset;
        for (uint32_t t = b->cu_lens[i]; t < b->cu_lens[i + 1]; t++)
            p[t] = b->ids[t] == pad ? (uint32_t)pad : row++;
    }
    *rows = p;
    return RKF_OK;
}

static rkf_status embed(struct run *r)
{
    const struct encoder *e = r->e;
    const struct device *d = r->x->device;
    struct embedding_tables tables = e->tables;
    struct batch b = *r->b;
    if (e->spec.type_vocab_size < 2)
        b.type_ids = NULL;
    rkf_status rc = count_positions(r, &tables.position_rows);
    if (rc)
        return rc;
    if (!e->project)
        return d->cpu->embed(r->x, &tables, &b, r->stream, r->err);
    struct view narrow = view_make(r->wide, DTYPE_F32, b.n_tokens, e->spec.embedding_size);
    struct epilogue epi = { .norm = e->spec.embedding_norm && !tables.norm ? &e->embedding_norm : NULL };
    rc = d->cpu->embed(r->x, &tables, &b, narrow, r->err);
    return rc ? rc : d->linear->apply(r->x, e->project, narrow, &epi, r->stream, r->err);
}

/* What follows an addition to the stream: the norm whose output the next linear layer reads. */
static struct epilogue add_to_stream(const struct run *r, const struct norm *norm)
{
    struct epilogue epi = { .residual = r->stream, .norm = norm };
    if (r->e->spec.pre_norm)
        epi.sum = r->stream;
    return epi;
}

/* Row i becomes that of sequence i's first token. Sequences are not empty, so rows only move towards the begin. */
static struct view first_rows(const struct batch *b, struct view v)
{
    for (uint32_t i = 1; i < b->n_seqs; i++)
        memmove((float *)v.p + (size_t)i * v.stride, (float *)v.p + (size_t)b->cu_lens[i] * v.stride,
                v.cols * sizeof(float));
    v.rows = b->n_seqs;
    return v;
}

static rkf_status attention(struct run *r, const struct layer *y, bool local, bool last, const struct norm *after)
{
    const struct encoder_spec *s = &r->e->spec;
    const struct device *d = r->x->device;
    const struct epilogue plain = { .act = ACT_NONE };
    uint32_t q = s->heads * s->head_dim, all = q + 2 * s->kv_heads * s->head_dim;
    struct view qkv = view_make(r->wide, DTYPE_F32, r->b->n_tokens, all);
    struct view context = view_make(r->wide + (size_t)r->b->n_tokens * all, DTYPE_F32, r->b->n_tokens, q);
    struct attention a = r->e->attention;
    a.pos_key = y->pos_key;
    a.pos_query = y->pos_query;
    a.window = local ? s->local_window : 0;
    rkf_status rc = d->linear->apply(r->x, y->qkv, r->normed, &plain, qkv, r->err);
    if (!rc && s->position == POSITION_ROTARY)
        rc = d->cpu->rotate(r->x, &r->e->rotary[local], &a, r->b, qkv, r->err);
    if (!rc)
        rc = d->cpu->attend(r->x, &a, r->b, qkv, context, r->err);
    if (!rc && last && r->first_only) {
        context = first_rows(r->b, context);
        r->stream = first_rows(r->b, r->stream);
        r->normed.rows = r->stream.rows;
    }
    struct epilogue epi = add_to_stream(r, after);
    return rc ? rc : d->linear->apply(r->x, y->o, context, &epi, r->normed, r->err);
}

static rkf_status mlp(struct run *r, const struct layer *y, const struct norm *after)
{
    const struct encoder_spec *s = &r->e->spec;
    const struct linear_ops *l = r->x->device->linear;
    struct view middle = view_make(r->wide, DTYPE_F32, r->normed.rows, s->intermediate_size);
    struct epilogue first = { .act = s->act, .gated = s->gated }, second = add_to_stream(r, after);
    if (l->apply_pair)
        return l->apply_pair(r->x, y->up, &first, y->down, &second, r->normed, r->normed, r->err);
    rkf_status rc = l->apply(r->x, y->up, r->normed, &first, middle, r->err);
    return rc ? rc : l->apply(r->x, y->down, middle, &second, r->normed, r->err);
}

/* The norm between layer i - 1 and layer i of a pre-norm model. */
static const struct norm *norm_before(const struct encoder *e, uint32_t i)
{
    if (i == e->spec.layers)
        return e->spec.final_norm ? &e->final_norm : NULL;
    const struct layer *y = &e->sets[spec_layer_set(&e->spec, i)];
    return y->has_attention_norm ? &y->attention_norm : NULL;
}

/* Pre-norm models read normed from the first layer on. */
static rkf_status enter(struct run *r)
{
    const struct norm *n = norm_before(r->e, 0);
    if (!r->e->spec.pre_norm)
        return RKF_OK;
    if (n)
        return r->x->device->cpu->normalize(r->x, n, r->stream, (struct view){ 0 }, (struct view){ 0 }, r->normed,
                                            r->err);
    memcpy(r->normed.p, r->stream.p, (size_t)r->stream.rows * r->stream.cols * sizeof(float));
    return RKF_OK;
}

static rkf_status layer(struct run *r, uint32_t i)
{
    const struct encoder_spec *s = &r->e->spec;
    const struct layer *y = &r->e->sets[spec_layer_set(s, i)];
    if (r->x->deadline_ns && time_now_ns() > r->x->deadline_ns)
        return rkf_fail(r->err, RKF_DEADLINE, "the deadline passed after %u of %u layers", i, s->layers);
    rkf_status rc = attention(r, y, s->layer_local[i], i + 1 == s->layers,
                              s->pre_norm ? &y->mlp_norm : &y->attention_norm);
    return rc ? rc : mlp(r, y, s->pre_norm ? norm_before(r->e, i + 1) : &y->mlp_norm);
}

/* ---- the rest of a body */

static struct body_limits encoder_limits(const struct body *body)
{
    const struct encoder *e = (const struct encoder *)body;
    return (struct body_limits){ .max_tokens = e->spec.max_positions, .bytes = e->bytes };
}

/* Multiplications of a run: linear layers by token, attention by pair of tokens. */
uint64_t encoder_work(const struct encoder_spec *s, const uint32_t *lengths, uint32_t n)
{
    enum { FEWEST = 8 }; /* tokens: below, reading the weights is the cost */
    uint64_t heads = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    uint64_t linear = s->hidden_size * (2 * heads + 2 * kv + (uint64_t)s->intermediate_size * (s->gated ? 3 : 2));
    uint64_t tokens = 0, pairs = 0;
    for (uint32_t i = 0; i < n; i++) {
        tokens += lengths[i];
        pairs += (uint64_t)lengths[i] * lengths[i];
    }
    return s->layers * ((tokens < FEWEST ? FEWEST : tokens) * linear + 2 * pairs * heads);
}

static uint32_t encoder_cost_us(const struct body *body, uint32_t n_cores, const uint32_t *lengths, uint32_t n)
{
    struct encoder *e = (struct encoder *)body;
    return cost_fit_us(&e->cost, n_cores, 1e-6 * (double)encoder_work(&e->spec, lengths, n));
}

/* Learns from a run what such work takes; what it waited for other runs on its cores does not count. */
static void learn_cost(struct encoder *e, const struct exec *x, const struct batch *b, int64_t began_ns)
{
    uint32_t lengths[64], n = b->n_seqs < 64 ? b->n_seqs : 64, cores = (uint32_t)__builtin_popcount(x->cores);
    for (uint32_t i = 0; i < n; i++)
        lengths[i] = b->cu_lens[i + 1] - b->cu_lens[i];
    double scale = (double)b->n_tokens / (double)(b->cu_lens[n] ? b->cu_lens[n] : 1); /* the rest is like these */
    double units = 1e-6 * scale * (double)encoder_work(&e->spec, lengths, n);
    cost_fit_add(&e->cost, cores, units, 1e-3 * (double)(time_now_ns() - began_ns - x->stalled_ns));
}

rkf_status encoder_run_whole(const struct encoder *e, struct exec *x, const struct batch *b, struct rows *out,
                             rkf_error *err)
{
    struct run r = { .e = e, .x = x, .b = b, .first_only = b->first_only, .err = err };
    rkf_status rc = get_buffers(&r);
    if (!rc)
        rc = embed(&r);
    if (!rc)
        rc = enter(&r);
    for (uint32_t i = 0; !rc && i < e->spec.layers; i++)
        rc = layer(&r, i);
    if (!rc)
        *out = (struct rows){ BODY_HIDDEN, r.normed.p, r.normed.rows, e->spec.hidden_size, !r.first_only };
    return rc;
}

static rkf_status encoder_run(struct body *body, struct exec *x, const struct batch *given, struct rows *out,
                              rkf_error *err)
{
    struct encoder *e = (struct encoder *)body;
    struct batch b = *given;
    int64_t began_ns = time_now_ns();
    x->stalled_ns = 0;
    rkf_status rc = check_batch(e, &b, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < b.n_seqs; i++)
        b.first_only &= b.cu_lens[i] < b.cu_lens[i + 1];
    if (parts_wanted(e, x, &b))
        rc = encoder_run_parts(e, x, &b, out, err);
    else
        rc = encoder_run_whole(e, x, &b, out, err);
    if (!rc)
        learn_cost(e, x, &b, began_ns);
    return rc;
}

static void encoder_release(struct body *body)
{
    encoder_free((struct encoder *)body);
}

const struct body_ops encoder_ops = {
    .limits = encoder_limits,
    .cost_us = encoder_cost_us,
    .run = encoder_run,
    .release = encoder_release,
};
