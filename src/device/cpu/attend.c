/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over a ragged batch. A task is up to Q_BLOCK queries of one head of one sequence; it walks over the keys in
 * blocks of K_BLOCK, keeping for each query the largest score and the sum of exponentials so far (online softmax), so
 * that no more than Q_BLOCK x K_BLOCK scores exist per thread, however long the sequence.
 *
 * Position terms (DeBERTa): within a block query - key takes Q_BLOCK + K_BLOCK - 1 values at most, whose rows of
 * rel_index are one range; q and k are multiplied with the rows of that range only, then picked by rel_index.
 */
#include "device/cpu/cpu_private.h"

#include <math.h>
#include <string.h>

enum { Q_BLOCK = 64, K_BLOCK = 256 };

/* One thread's memory. */
struct attend_area {
    float *keys;     // [head_dim][K_BLOCK], transposed
    float *scores;   // [Q_BLOCK][K_BLOCK]
    float *max;      // [Q_BLOCK]
    float *sum;      // [Q_BLOCK]
    float *rel;      // [head_dim][rel_range] transposed rows of pos_key or pos_query
    float *rel_dots; // [max(Q_BLOCK, K_BLOCK)][rel_range]
};

struct attend_job {
    const struct kernels *k;
    const struct attention *a;
    const struct batch *b;
    struct view qkv, out;
    uint32_t rel_range;   /* most rows of a block's range */
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
static void add_position_term(const struct attend_job *j, const struct attend_task *t, const struct attend_area *area,
                              const float *table, bool by_key, uint32_t key, uint32_t keys)
{
    const struct attention *a = j->a;
    int64_t nearest = (int64_t)t->first - (key + keys - 1), farthest = (int64_t)t->first + t->queries - 1 - key;
    int32_t low = rel_row(a, nearest), range = rel_row(a, farthest) - low + 1;
    size_t width = (size_t)a->heads * a->head_dim;
    const float *rows = by_key ? t->k + key * t->stride : t->q + t->first * t->stride;
    uint32_t n_rows = by_key ? keys : t->queries;
    j->k->transpose(table + (size_t)low * width + (size_t)t->head * a->head_dim, width, (uint32_t)range, a->head_dim,
                    area->rel, j->rel_range);
    j->k->matmul(rows, t->stride, area->rel, j->rel_range, n_rows, (uint32_t)range, a->head_dim, area->rel_dots,
                 j->rel_range, false);
    for (uint32_t i = 0; i < t->queries; i++)
        for (uint32_t n = 0; n < keys; n++) {
            int32_t r = rel_row(a, (int64_t)t->first + i - (key + n)) - low;
            area->scores[i * K_BLOCK + n] += area->rel_dots[(size_t)(by_key ? n : i) * j->rel_range + (uint32_t)r];
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

/* Turns the scores of query i for keys [key, key + keys) into exponentials and scales what was summed before. */
static void soften_row(const struct attend_job *j, const struct attend_task *t, const struct attend_area *area,
                       uint32_t row, uint32_t key, uint32_t keys)
{
    const struct attention *a = j->a;
    const struct kernels *k = j->k;
    float *s = area->scores + row * K_BLOCK, bias[K_BLOCK], *out = t->out + (t->first + row) * t->out_stride;
    uint32_t begin = key, end = key + keys;
    visible(a, t->first + row, &begin, &end);
    memset(s, 0, (begin - key) * sizeof *s);
    memset(s + (end - key), 0, (key + keys - end) * sizeof *s);
    if (begin == end)
        return;
    if (a->bias == ATTN_BIAS_RELATIVE)
        fill_bias(a, t->head, t->first + row, begin, end, bias);
    s += begin - key;
    float old = area->max[row];
    float max = k->scale_max(s, a->scale, a->bias == ATTN_BIAS_RELATIVE ? bias : NULL, end - begin);
    if (max > old) {
        float fade = old > -INFINITY ? expf(old - max) : 0;
        area->max[row] = max;
        area->sum[row] *= fade;
        if (old > -INFINITY)
            k->scale(out, fade, a->head_dim);
    }
    area->sum[row] += k->exp_sum(s, area->max[row], end - begin);
}

static void run_task(const struct attend_job *j, const struct attend_task *t, const struct attend_area *area)
{
    const struct attention *a = j->a;
    const struct kernels *k = j->k;
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
    float *out = t->out + t->first * t->out_stride;
    for (uint32_t key = begin; key < end; key += K_BLOCK) {
        uint32_t keys = end - key < K_BLOCK ? end - key : K_BLOCK;
        k->transpose(t->k + key * t->stride, t->stride, keys, a->head_dim, area->keys, K_BLOCK);
        k->matmul(t->q + t->first * t->stride, t->stride, area->keys, K_BLOCK, t->queries, keys, a->head_dim,
                  area->scores, K_BLOCK, false);
        if (a->bias == ATTN_BIAS_DISENTANGLED && a->pos_key)
            add_position_term(j, t, area, a->pos_key, false, key, keys);
        if (a->bias == ATTN_BIAS_DISENTANGLED && a->pos_query)
            add_position_term(j, t, area, a->pos_query, true, key, keys);
        for (uint32_t i = 0; i < t->queries; i++)
            soften_row(j, t, area, i, key, keys);
        k->matmul(area->scores, K_BLOCK, t->v + key * t->stride, t->stride, t->queries, a->head_dim, keys, out,
                  t->out_stride, key > begin);
    }
    for (uint32_t i = 0; i < t->queries; i++)
        k->scale(out + i * t->out_stride, 1 / area->sum[i], a->head_dim);
}

static uint32_t query_blocks(uint32_t length)
{
    return (length + Q_BLOCK - 1) / Q_BLOCK;
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
        uint32_t head = (i - j->first_task[seq]) / query_blocks(length);
        uint32_t query = (i - j->first_task[seq]) % query_blocks(length) * Q_BLOCK;
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
            .queries = length - query < Q_BLOCK ? length - query : Q_BLOCK,
        };
        run_task(j, &t, &j->areas[thread]);
    }
}

static rkf_status areas_alloc(struct exec *x, struct attend_job *j, rkf_error *err)
{
    uint32_t threads = (uint32_t)team_size(x->team), dim = j->a->head_dim;
    if (j->a->bias == ATTN_BIAS_DISENTANGLED) {
        j->rel_range = Q_BLOCK + K_BLOCK;
        if (j->rel_range > j->a->rel_rows)
            j->rel_range = j->a->rel_rows;
    }
    size_t keys = (size_t)dim * K_BLOCK, scores = Q_BLOCK * K_BLOCK, rel = (size_t)dim * j->rel_range;
    size_t dots = (size_t)K_BLOCK * j->rel_range, each = keys + scores + 2 * Q_BLOCK + rel + dots;
    each = (each + 15) / 16 * 16;
    j->areas = arena_array(&x->scratch, threads, sizeof *j->areas);
    float *p = j->areas ? arena_array(&x->scratch, threads * each, sizeof(float)) : NULL;
    if (!p)
        return rkf_fail_memory(err, threads * each * sizeof(float), "attention");
    for (uint32_t i = 0; i < threads; i++, p += each)
        j->areas[i] = (struct attend_area){ .keys = p,
                                            .scores = p + keys,
                                            .max = p + keys + scores,
                                            .sum = p + keys + scores + Q_BLOCK,
                                            .rel = p + keys + scores + 2 * Q_BLOCK,
                                            .rel_dots = p + keys + scores + 2 * Q_BLOCK + rel };
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
    struct arena_mark mark = arena_mark(&x->scratch);
    j.first_task = arena_array(&x->scratch, (size_t)b->n_seqs + 1, sizeof *j.first_task);
    if (!j.first_task)
        return rkf_fail_memory(err, ((size_t)b->n_seqs + 1) * sizeof *j.first_task, "attention");
    rc = areas_alloc(x, &j, err);
    if (!rc) {
        uint32_t tasks = 0;
        for (uint32_t i = 0; i < b->n_seqs; i++) {
            j.first_task[i] = tasks;
            tasks += query_blocks(b->cu_lens[i + 1] - b->cu_lens[i]) * a->heads;
        }
        j.first_task[b->n_seqs] = tasks;
        team_for(x->team, tasks, 1, run_tasks, &j);
    }
    arena_release(&x->scratch, mark);
    return rc;
}
