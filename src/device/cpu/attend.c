/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over a ragged batch. A task is up to TASK_QUERIES queries of one head of one sequence. It walks over the
 * keys in blocks of K_BLOCK, whose keys and values it first brings together from the rows of qkv (which are a page and
 * more apart), and over its queries in blocks whose scores stay in the first cache. For each query it keeps the largest
 * score and the sum of exponentials so far (online softmax): no more than a block of scores exists per thread, however
 * long the sequence.
 *
 * Position terms (DeBERTa): within a block query - key takes queries + keys - 1 values at most, whose rows of
 * rel_index are one range; q and k are multiplied with the rows of that range only, then picked by rel_index. Those
 * products cost the keys again for every block of queries, so that there the blocks are larger.
 */
#include "device/cpu/cpu_private.h"

#include <math.h>
#include <string.h>

enum { TASK_QUERIES = 256, FEW_QUERIES = 64, Q_BLOCK = 28, Q_BLOCK_TERMS = 64, K_BLOCK = 256, PAD = KERNEL_MAX_LANES };

/* One thread's memory. */
struct attend_area {
    float *keys;             // [head_dim][at most K_BLOCK + PAD], transposed
    float *values;           // [K_BLOCK][head_dim]
    float *scores;           // [j.q_block][at most K_BLOCK + PAD]
    float *max, *sum, *keep; // [TASK_QUERIES]
    float *rel;              // [head_dim][rel_range] transposed rows of pos_key or pos_query
    float *rel_dots;         // [max(q_block, K_BLOCK)][rel_range]
};

struct attend_job {
    const struct kernels *k;
    const struct attention *a;
    const struct batch *b;
    struct view qkv, out;
    uint32_t q_block; /* of a task's queries, at once */
    uint32_t task_queries;
    uint32_t rel_range;   /* most rows of a block's range, and padding */
    uint32_t *first_task; // [n_seqs + 1]
    struct attend_area *areas;
};

/* What a task works on: all [tokens of the sequence][stride]. */
struct attend_task {
    const float *q, *k, *v;
    float *out;
    size_t stride, out_stride;
    uint32_t head, length, first, queries; /* queries first .. first + queries */
};

/* Some of a task's queries and keys, with the scores of each pair. */
struct block {
    const struct attend_job *j;
    const struct attend_task *t;
    const struct attend_area *area;
    uint32_t query, queries, key, keys;
    float *scores;     // [queries][lds]
    size_t lds;        /* of scores, and of the transposed keys */
    bool begins, ends; /* its keys are the first, the last that the task sees */
};

/* Cuts the keys [*begin, *end) down to those that query i sees; may leave none. */
static void visible(const struct attention *a, uint32_t i, uint32_t *begin, uint32_t *end)
{
    if (!a->window)
        return;
    uint32_t low = i > a->window ? i - a->window : 0, high = i + a->window + 1;
    low = low < *end ? low : *end;
    *begin = low > *begin ? low : *begin;
    high = high > *begin ? high : *begin;
    *end = high < *end ? high : *end;
}

static int32_t rel_row(const struct attention *a, int64_t distance)
{
    int64_t last = 2 * (int64_t)a->rel_index_span - 2, i = distance + a->rel_index_span - 1;
    return a->rel_index[i < 0 ? 0 : i > last ? last : i];
}

/* scores[i][j] += rows[by key ? j : i] . table[rel_index[i - j]] for the block's queries and keys */
static void add_position_term(const struct block *b, const float *table, bool by_key)
{
    const struct attend_job *j = b->j;
    const struct attend_task *t = b->t;
    const struct attention *a = j->a;
    int64_t nearest = (int64_t)b->query - (b->key + b->keys - 1),
            farthest = (int64_t)b->query + b->queries - 1 - b->key;
    int32_t low = rel_row(a, nearest), range = rel_row(a, farthest) - low + 1;
    size_t width = (size_t)a->heads * a->head_dim;
    struct matmul dots = { .a = by_key ? t->k + b->key * t->stride : t->q + b->query * t->stride,
                           .b = b->area->rel,
                           .c = b->area->rel_dots,
                           .lda = t->stride,
                           .ldb = j->rel_range,
                           .ldc = j->rel_range,
                           .rows = by_key ? b->keys : b->queries,
                           .cols = (uint32_t)range,
                           .k = a->head_dim };
    j->k->transpose(table + (size_t)low * width + (size_t)t->head * a->head_dim, width, (uint32_t)range, a->head_dim,
                    b->area->rel, j->rel_range);
    j->k->matmul(&dots);
    for (uint32_t i = 0; i < b->queries; i++)
        for (uint32_t n = 0; n < b->keys; n++) {
            int32_t r = rel_row(a, (int64_t)b->query + i - (b->key + n)) - low;
            b->scores[i * b->lds + n] += dots.c[(size_t)(by_key ? n : i) * j->rel_range + (uint32_t)r];
        }
}

/* Relative bias of query i for keys begin .. end in bias[]. */
static void fill_bias(const struct attention *a, uint32_t head, uint32_t i, uint32_t begin, uint32_t end, float *bias)
{
    const float *table = a->rel_bias + (size_t)head * (2 * (size_t)a->rel_span - 1);
    int64_t last = 2 * (int64_t)a->rel_span - 2;
    for (uint32_t n = begin; n < end; n++) {
        int64_t at = (int64_t)n - i + a->rel_span - 1;
        *bias++ = table[at < 0 ? 0 : at > last ? last : at];
    }
}

/* One query of a block where each sees other keys, or with a bias of its own. */
static void soften_one(const struct block *b, uint32_t row, struct soften p)
{
    const struct attention *a = b->j->a;
    float bias[K_BLOCK];
    uint32_t begin = b->key, end = b->key + b->keys, query = b->query + row;
    visible(a, query, &begin, &end);
    p.s += row * b->lds;
    memset(p.s, 0, (begin - b->key) * sizeof *p.s);
    memset(p.s + (end - b->key), 0, (b->key + b->keys - end) * sizeof *p.s);
    p.max += row;
    p.sum += row;
    p.keep += row;
    p.rows = 1;
    p.n = end - begin;
    p.s += begin - b->key;
    if (a->bias == ATTN_BIAS_RELATIVE) {
        fill_bias(a, b->t->head, query, begin, end, bias);
        p.bias = bias;
    }
    if (p.n)
        b->j->k->soften(&p);
    else
        *p.keep = 1;
}

/* out = softmax(q k) v of a block's queries as far as its keys go; after the last block it is divided by the sums. */
static void run_block(const struct block *b)
{
    const struct attend_job *j = b->j;
    const struct attend_task *t = b->t;
    const struct attention *a = j->a;
    uint32_t first = b->query - t->first, pad = j->k->lanes;
    float *max = b->area->max + first, *sum = b->area->sum + first, *keep = b->area->keep + first;
    struct matmul dots = { .a = t->q + b->query * t->stride,
                           .b = b->area->keys,
                           .c = b->scores,
                           .lda = t->stride,
                           .ldb = b->lds,
                           .ldc = b->lds,
                           .rows = b->queries,
                           .cols = (b->keys + pad - 1) / pad * pad, /* beyond the keys are zeros */
                           .k = a->head_dim };
    struct soften soften = { b->scores, b->lds, b->queries, b->keys, a->scale, NULL, max, sum, keep };
    struct matmul mix = { .a = b->scores,
                          .b = b->area->values,
                          .c = t->out + b->query * t->out_stride,
                          .lda = b->lds,
                          .ldb = a->head_dim,
                          .ldc = t->out_stride,
                          .rows = b->queries,
                          .cols = a->head_dim,
                          .k = b->keys };
    j->k->matmul(&dots);
    if (a->bias == ATTN_BIAS_DISENTANGLED && a->pos_key)
        add_position_term(b, a->pos_key, false);
    if (a->bias == ATTN_BIAS_DISENTANGLED && a->pos_query)
        add_position_term(b, a->pos_query, true);
    if (!a->window && a->bias != ATTN_BIAS_RELATIVE)
        j->k->soften(&soften);
    else
        for (uint32_t i = 0; i < b->queries; i++)
            soften_one(b, i, soften);
    mix.keep = b->begins ? NULL : keep;
    for (uint32_t i = 0; b->ends && i < b->queries; i++)
        sum[i] = 1 / sum[i];
    mix.scale = b->ends ? sum : NULL;
    j->k->matmul(&mix);
}

/* A block of keys against all of the task's queries. */
static void run_keys(struct block *b)
{
    const struct attend_task *t = b->t;
    const struct attention *a = b->j->a;
    uint32_t each = b->j->q_block;
    b->lds = (b->keys + PAD - 1) / PAD * PAD;
    b->lds += b->lds % (2 * PAD) ? 0 : PAD; /* no power of two, or the rows would share few lines of the cache */
    b->j->k->transpose(t->k + b->key * t->stride, t->stride, b->keys, a->head_dim, b->area->keys, b->lds);
    for (uint32_t i = 0; i < b->keys; i++)
        memcpy(b->area->values + (size_t)i * a->head_dim, t->v + (b->key + i) * t->stride, a->head_dim * sizeof(float));
    for (uint32_t q = 0; q < t->queries; q += each) {
        b->query = t->first + q;
        b->queries = t->queries - q < each ? t->queries - q : each;
        run_block(b);
    }
}

static void run_task(const struct attend_job *j, const struct attend_task *t, const struct attend_area *area)
{
    const struct attention *a = j->a;
    uint32_t begin = 0, end = t->length;
    if (a->window) {
        begin = t->first > a->window ? t->first - a->window : 0;
        if (end - t->first - (t->queries - 1) > a->window + 1)
            end = t->first + t->queries + a->window;
    }
    for (uint32_t i = 0; i < t->queries; i++) {
        area->max[i] = -INFINITY;
        area->sum[i] = 0;
    }
    struct block b = { .j = j, .t = t, .area = area, .scores = area->scores };
    for (b.key = begin; b.key < end; b.key += K_BLOCK) {
        b.keys = end - b.key < K_BLOCK ? end - b.key : K_BLOCK;
        b.begins = b.key == begin;
        b.ends = b.key + b.keys == end;
        run_keys(&b);
    }
}

static uint32_t tasks_of(const struct attend_job *j, uint32_t length)
{
    return (length + j->task_queries - 1) / j->task_queries;
}

static void run_tasks(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct attend_job *j = arg;
    const struct attention *a = j->a;
    uint32_t seq = 0;
    for (uint32_t i = begin; i < end; i++) {
        while (i >= j->first_task[seq + 1])
            seq++;
        uint32_t first = j->b->cu_lens[seq], length = j->b->cu_lens[seq + 1] - first;
        uint32_t head = (i - j->first_task[seq]) / tasks_of(j, length);
        uint32_t query = (i - j->first_task[seq]) % tasks_of(j, length) * j->task_queries;
        const float *row = (const float *)j->qkv.p + first * j->qkv.stride;
        uint32_t kv_head = head / (a->heads / a->kv_heads);
        struct attend_task t = {
            .q = row + (size_t)head * a->head_dim,
            .k = row + (size_t)(a->heads + kv_head) * a->head_dim,
            .v = row + (size_t)(a->heads + a->kv_heads + kv_head) * a->head_dim,
            .out = (float *)j->out.p + first * j->out.stride + (size_t)head * a->head_dim,
            .stride = j->qkv.stride,
            .out_stride = j->out.stride,
            .head = head,
            .length = length,
            .first = query,
            .queries = length - query < j->task_queries ? length - query : j->task_queries,
        };
        run_task(j, &t, &j->areas[thread]);
    }
}

static size_t whole(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static rkf_status areas_alloc(struct exec *x, struct attend_job *j, rkf_error *err)
{
    uint32_t threads = (uint32_t)team_size(x->team), dim = j->a->head_dim;
    if (j->a->bias == ATTN_BIAS_DISENTANGLED) {
        j->rel_range = j->q_block + K_BLOCK;
        if (j->rel_range > j->a->rel_rows)
            j->rel_range = j->a->rel_rows;
        j->rel_range = (uint32_t)whole(j->rel_range, PAD);
    }
    size_t keys = (size_t)dim * (K_BLOCK + PAD), values = whole((size_t)dim * K_BLOCK, PAD);
    size_t scores = (size_t)j->q_block * (K_BLOCK + PAD), rel = (size_t)dim * j->rel_range;
    size_t dots = (size_t)K_BLOCK * j->rel_range, each = keys + values + scores + 3 * TASK_QUERIES + rel + dots;
    j->areas = arena_array(&x->scratch, threads, sizeof *j->areas);
    float *p = j->areas ? arena_array(&x->scratch, threads * each, sizeof(float)) : NULL;
    if (!p)
        return rkf_fail_memory(err, threads * each * sizeof(float), "attention");
    for (uint32_t i = 0; i < threads; i++) {
        struct attend_area *area = &j->areas[i];
        area->keys = p;
        area->values = area->keys + keys;
        area->scores = area->values + values;
        area->max = area->scores + scores;
        area->sum = area->max + TASK_QUERIES;
        area->keep = area->sum + TASK_QUERIES;
        area->rel = area->keep + TASK_QUERIES;
        area->rel_dots = area->rel + rel;
        p += each;
    }
    return RKF_OK;
}

static rkf_status check(const struct attention *a, const struct batch *b, const struct view *qkv,
                        const struct view *out, rkf_error *err)
{
    if (!a->heads || !a->kv_heads || !a->head_dim || a->heads % a->kv_heads)
        return rkf_fail(err, RKF_INTERNAL, "attention of %u heads over %u of keys, %u wide", a->heads, a->kv_heads,
                        a->head_dim);
    if (qkv->type != DTYPE_F32 || qkv->rows < b->n_tokens || qkv->cols != (a->heads + 2 * a->kv_heads) * a->head_dim ||
        out->type != DTYPE_F32 || out->rows < b->n_tokens || out->cols != a->heads * a->head_dim)
        return rkf_fail(err, RKF_INTERNAL, "attention of %u tokens: qkv is [%u, %u], out [%u, %u]", b->n_tokens,
                        qkv->rows, qkv->cols, out->rows, out->cols);
    bool disentangled = a->bias == ATTN_BIAS_DISENTANGLED;
    if ((a->bias == ATTN_BIAS_RELATIVE && (!a->rel_bias || !a->rel_span)) ||
        (disentangled && (!a->rel_index || !a->rel_index_span || !a->rel_rows || a->heads != a->kv_heads)))
        return rkf_fail(err, RKF_INTERNAL, "attention lacks its tables of positions");
    return RKF_OK;
}

rkf_status cpu_attend(struct exec *x, const struct attention *a, const struct batch *b, struct view qkv,
                      struct view out, rkf_error *err)
{
    struct attend_job j = { .k = cpu_kernels(x), .a = a, .b = b, .qkv = qkv, .out = out };
    rkf_status rc = check(a, b, &qkv, &out, err);
    if (rc)
        return rc;
    j.q_block = a->bias == ATTN_BIAS_DISENTANGLED ? Q_BLOCK_TERMS : Q_BLOCK;
    j.q_block -= j.q_block % j.k->matmul_rows;
    j.task_queries = a->window || b->n_seqs * a->heads < 4 * (uint32_t)team_size(x->team) ? FEW_QUERIES : TASK_QUERIES;
    struct arena_mark mark = arena_mark(&x->scratch);
    j.first_task = arena_array(&x->scratch, (size_t)b->n_seqs + 1, sizeof *j.first_task);
    if (!j.first_task)
        return rkf_fail_memory(err, ((size_t)b->n_seqs + 1) * sizeof *j.first_task, "attention");
    rc = areas_alloc(x, &j, err);
    if (!rc) {
        uint32_t tasks = 0;
        for (uint32_t i = 0; i < b->n_seqs; i++) {
            j.first_task[i] = tasks;
            tasks += tasks_of(&j, b->cu_lens[i + 1] - b->cu_lens[i]) * a->heads;
        }
        j.first_task[b->n_seqs] = tasks;
        team_for(x->team, tasks, 1, run_tasks, &j);
    }
    arena_release(&x->scratch, mark);
    return rc;
}
