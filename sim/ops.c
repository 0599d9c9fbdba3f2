/* SPDX-License-Identifier: Apache-2.0 */
/* The operators of our .rknn bodies, written as they are defined: f16 in and out, f32 between. */
#include "matmul.h"
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An op's tensors and where they are. */
struct args {
    const struct op *op;
    const struct tensor *in[OP_INPUTS], *out; /* NULL: none */
    uint8_t *p[OP_INPUTS], *q;
};

static float get(const uint8_t *p, size_t i)
{
    uint16_t h;
    memcpy(&h, p + 2 * i, 2);
    return half_to_float(h);
}

static void put(uint8_t *p, size_t i, float f)
{
    uint16_t h = float_to_half(f);
    memcpy(p + 2 * i, &h, 2);
}

static int64_t get_id(const uint8_t *p, size_t i)
{
    int64_t v;
    memcpy(&v, p + 8 * i, 8);
    return v;
}

static size_t last(const struct tensor *t)
{
    return t->n_dims ? t->dims[t->n_dims - 1] : 1;
}

static bool is(const struct tensor *t, int type)
{
    return t && t->type == type;
}

static bool same(const struct args *a)
{
    return is(a->in[0], SIM_F16) && is(a->out, SIM_F16) && a->in[0]->elems == a->out->elems &&
           last(a->in[0]) == last(a->out);
}

/* ---- gather, positions, mask */

static bool check_gather(const struct args *a)
{
    const struct tensor *t = a->in[1];
    return is(a->in[0], SIM_I64) && is(t, SIM_F16) && t->n_dims == 2 && is(a->out, SIM_F16) &&
           a->out->elems == a->in[0]->elems * t->dims[1];
}

static int run_gather(const struct args *a)
{
    size_t h = a->in[1]->dims[1];
    for (size_t i = 0; i < a->in[0]->elems; i++) {
        int64_t id = get_id(a->p[0], i);
        if (id < 0 || id >= a->in[1]->dims[0]) {
            sim_log('E', "gather: id %lld is outside of a table of %u rows", (long long)id, a->in[1]->dims[0]);
            return SIM_FAIL;
        }
        memcpy(a->q + 2 * h * i, a->p[1] + 2 * h * (size_t)id, 2 * h);
    }
    return SIM_OK;
}

static bool check_positions(const struct args *a)
{
    return is(a->in[0], SIM_I64) && is(a->out, SIM_I64) && a->in[0]->elems == a->out->elems;
}

static int run_positions(const struct args *a)
{
    size_t s = last(a->out);
    int64_t pad = a->op->ints[0], count = 0;
    for (size_t i = 0; i < a->out->elems; i++) {
        if (i % s == 0)
            count = 0;
        bool token = get_id(a->p[0], i) != pad;
        int64_t v = token ? ++count + pad : pad;
        memcpy(a->q + 8 * i, &v, 8);
    }
    return SIM_OK;
}

static bool check_mask(const struct args *a)
{
    return is(a->in[0], SIM_I64) && is(a->out, SIM_F16) && a->in[0]->elems == a->out->elems;
}

static int run_mask(const struct args *a)
{
    for (size_t i = 0; i < a->out->elems; i++)
        put(a->q, i, get_id(a->p[0], i) ? 0 : a->op->floats[0]);
    return SIM_OK;
}

/* ---- elementwise */

static bool check_add(const struct args *a)
{
    const struct tensor *b = a->in[1];
    if (!same(a) || !is(b, SIM_F16) || b->n_dims > a->out->n_dims)
        return false;
    for (uint32_t i = 0; i < b->n_dims; i++) {
        uint32_t d = a->out->dims[a->out->n_dims - b->n_dims + i];
        if (b->dims[i] != 1 && b->dims[i] != d)
            return false;
    }
    return true;
}

/* Index in b of element i of the output, the first of a row. */
static size_t broadcast(const struct tensor *out, const struct tensor *b, size_t i)
{
    size_t at = 0, step = 1;
    for (uint32_t k = 0; k < b->n_dims; k++) { /* from the last dim */
        size_t d = out->dims[out->n_dims - 1 - k], own = b->dims[b->n_dims - 1 - k];
        at += own == 1 ? 0 : i % d * step;
        step *= own;
        i /= d;
    }
    return at;
}

static int run_add(const struct args *a)
{
    const struct tensor *b = a->in[1];
    size_t row = last(a->out), step = last(b) > 1;
    for (size_t r = 0; r < a->out->elems; r += row) {
        size_t at = broadcast(a->out, b, r);
        for (size_t i = 0; i < row; i++)
            put(a->q, r + i, get(a->p[0], r + i) + get(a->p[1], at + i * step));
    }
    return SIM_OK;
}

static bool check_act(const struct args *a)
{
    return same(a) && a->op->ints[0] >= 0 && a->op->ints[0] < ACT_COUNT;
}

static float activate(int kind, float x)
{
    switch (kind) {
    case ACT_GELU:
        return 0.5f * x * (1 + erff(x * 0.70710678f));
    case ACT_GELU_TANH:
        return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_TANH:
        return tanhf(x);
    default:
        return x / (1 + expf(-x));
    }
}

static int run_act(const struct args *a)
{
    for (size_t i = 0; i < a->out->elems; i++)
        put(a->q, i, activate(a->op->ints[0], get(a->p[0], i)));
    return SIM_OK;
}

/* ---- rows */

static bool check_norm(const struct args *a)
{
    return same(a) && is(a->in[1], SIM_F16) && is(a->in[2], SIM_F16) && a->in[1]->elems == last(a->out) &&
           a->in[2]->elems == last(a->out);
}

static int run_norm(const struct args *a)
{
    size_t h = last(a->out);
    for (size_t r = 0; r < a->out->elems; r += h) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < h; i++)
            sum += get(a->p[0], r + i);
        double mean = sum / (double)h;
        for (size_t i = 0; i < h; i++) {
            double d = get(a->p[0], r + i) - mean;
            squares += d * d;
        }
        double scale = 1 / sqrt(squares / (double)h + a->op->floats[0]);
        for (size_t i = 0; i < h; i++)
            put(a->q, r + i, (float)((get(a->p[0], r + i) - mean) * scale) * get(a->p[1], i) + get(a->p[2], i));
    }
    return SIM_OK;
}

static int run_softmax(const struct args *a)
{
    size_t n = last(a->out);
    for (size_t r = 0; r < a->out->elems; r += n) {
        float max = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            if (get(a->p[0], r + i) > max)
                max = get(a->p[0], r + i);
        if (max == -INFINITY) /* all masked: evenly */
            max = 0;
        for (size_t i = 0; i < n; i++)
            sum += expf(get(a->p[0], r + i) - max);
        for (size_t i = 0; i < n; i++)
            put(a->q, r + i, sum > 0 ? (float)(expf(get(a->p[0], r + i) - max) / sum) : 1 / (float)n);
    }
    return SIM_OK;
}

static bool check_first(const struct args *a)
{
    const struct tensor *x = a->in[0];
    return is(x, SIM_F16) && x->n_dims == 3 && is(a->out, SIM_F16) && a->out->elems == (size_t)x->dims[0] * x->dims[2];
}

static int run_first(const struct args *a)
{
    size_t s = a->in[0]->dims[1], h = a->in[0]->dims[2];
    for (size_t b = 0; b < a->in[0]->dims[0]; b++)
        memcpy(a->q + 2 * h * b, a->p[0] + 2 * h * s * b, 2 * h);
    return SIM_OK;
}

/* ---- products */

static bool check_matmul(const struct args *a)
{
    const struct tensor *x = a->in[0], *w = a->in[1], *bias = a->in[2];
    return is(x, SIM_F16) && is(w, SIM_F16) && is(a->out, SIM_F16) && w->n_dims == 2 && last(x) == w->dims[1] &&
           (bias == NULL || (is(bias, SIM_F16) && bias->elems == w->dims[0])) &&
           a->out->elems == x->elems / w->dims[1] * w->dims[0];
}

static int run_matmul(const struct args *a)
{
    uint32_t n = a->in[1]->dims[0], k = a->in[1]->dims[1];
    size_t elems = a->out->elems;
    float *sums = malloc(elems * sizeof *sums); // [rows, n] f32
    struct matmul m = { .info = { .B_layout = SIM_TRANSPOSED }, .kind = matmul_kind(SIM_F16_F16_F32) };
    struct matmul_product p = { .m = &m, .M = (uint32_t)(elems / n), .K = k, .N = n, .a = a->p[0], .b = a->p[1] };
    if (sums == NULL)
        return SIM_NO_MEMORY;
    p.c = (uint8_t *)sums;
    int r = matmul_compute(&p);
    for (size_t i = 0; r == SIM_OK && i < elems; i++)
        put(a->q, i, sums[i] + (a->in[2] ? get(a->p[2], i % n) : 0));
    free(sums);
    return r;
}

/* t [b, s, h] split into ints[0] heads; p its probabilities [b, heads, s, s] */
static bool heads_fit(const struct args *a, const struct tensor *t, const struct tensor *p)
{
    int32_t heads = a->op->ints[0];
    return is(t, SIM_F16) && is(p, SIM_F16) && t->n_dims == 3 && heads > 0 && t->dims[2] % (uint32_t)heads == 0 &&
           p->n_dims == 4 && p->dims[0] == t->dims[0] && p->dims[1] == (uint32_t)heads && p->dims[2] == t->dims[1] &&
           p->dims[3] == t->dims[1];
}

static bool check_scores(const struct args *a)
{
    return heads_fit(a, a->in[0], a->out) && heads_fit(a, a->in[1], a->out) && a->in[0]->dims[2] == a->in[1]->dims[2];
}

/* n elements to f32 */
static float *widen(const uint8_t *p, size_t n)
{
    float *f = malloc(n * sizeof *f);
    for (size_t i = 0; f && i < n; i++)
        f[i] = get(p, i);
    return f;
}

static int run_scores(const struct args *a)
{
    size_t s = a->in[0]->dims[1], h = a->in[0]->dims[2], heads = (size_t)a->op->ints[0], d = h / heads, at = 0;
    float *q = widen(a->p[0], a->in[0]->elems), *k = widen(a->p[1], a->in[1]->elems);
    for (size_t b = 0; q && k && b < a->in[0]->dims[0]; b++)
        for (size_t head = 0; head < heads; head++)
            for (size_t i = 0; i < s; i++)
                for (size_t j = 0; j < s; j++) {
                    const float *x = q + (b * s + i) * h + head * d, *y = k + (b * s + j) * h + head * d;
                    float sum = 0;
                    for (size_t c = 0; c < d; c++)
                        sum += x[c] * y[c];
                    put(a->q, at++, sum * a->op->floats[0]);
                }
    int r = q && k ? SIM_OK : SIM_NO_MEMORY;
    free(q);
    free(k);
    return r;
}

static bool check_context(const struct args *a)
{
    return heads_fit(a, a->in[1], a->in[0]) && is(a->out, SIM_F16) && a->out->elems == a->in[1]->elems;
}

static int run_context(const struct args *a)
{
    size_t s = a->in[1]->dims[1], h = a->in[1]->dims[2], heads = (size_t)a->op->ints[0], d = h / heads;
    float *p = widen(a->p[0], a->in[0]->elems), *v = widen(a->p[1], a->in[1]->elems);
    float *row = malloc(d * sizeof *row);
    for (size_t b = 0; p && v && row && b < a->in[1]->dims[0]; b++)
        for (size_t head = 0; head < heads; head++)
            for (size_t i = 0; i < s; i++) {
                const float *weight = p + ((b * heads + head) * s + i) * s;
                memset(row, 0, d * sizeof *row);
                for (size_t j = 0; j < s; j++)
                    for (size_t c = 0; c < d; c++)
                        row[c] += weight[j] * v[(b * s + j) * h + head * d + c];
                for (size_t c = 0; c < d; c++)
                    put(a->q, (b * s + i) * h + head * d + c, row[c]);
            }
    int r = p && v && row ? SIM_OK : SIM_NO_MEMORY;
    free(p);
    free(v);
    free(row);
    return r;
}

/* ---- output */

static bool check_copy(const struct args *a)
{
    return is(a->in[0], SIM_F16) && a->out && a->out->type != SIM_I64 && a->in[0]->elems == a->out->elems;
}

static int run_copy(const struct args *a)
{
    for (size_t i = 0; i < a->out->elems; i++) {
        float f = get(a->p[0], i);
        if (a->out->type == SIM_F16)
            put(a->q, i, f);
        else if (a->out->type == SIM_F32)
            memcpy(a->q + 4 * i, &f, 4);
        else
            a->q[i] = (uint8_t)(int8_t)fminf(127, fmaxf(-128, nearbyintf(f / a->out->scale) + (float)a->out->zp));
    }
    return SIM_OK;
}

/* ---- all of them */

static const struct {
    uint32_t n_in; /* that must be there */
    bool (*check)(const struct args *a);
    int (*run)(const struct args *a);
} ops[OP_COUNT] = {
    [OP_GATHER] = { 2, check_gather, run_gather },    [OP_POSITIONS] = { 1, check_positions, run_positions },
    [OP_MASK] = { 1, check_mask, run_mask },          [OP_ADD] = { 2, check_add, run_add },
    [OP_NORM] = { 3, check_norm, run_norm },          [OP_MATMUL] = { 2, check_matmul, run_matmul },
    [OP_SCORES] = { 2, check_scores, run_scores },    [OP_SOFTMAX] = { 1, same, run_softmax },
    [OP_CONTEXT] = { 2, check_context, run_context }, [OP_ACT] = { 1, check_act, run_act },
    [OP_FIRST] = { 1, check_first, run_first },       [OP_COPY] = { 1, check_copy, run_copy },
};

static bool gather_args(const struct model *m, uint8_t *const *data, const struct op *op, struct args *a)
{
    *a = (struct args){ .op = op };
    for (int i = 0; i < OP_INPUTS; i++) {
        if (op->in[i] == MODEL_NO_TENSOR)
            continue;
        if (op->in[i] < 0 || (uint32_t)op->in[i] >= m->n_tensors)
            return false;
        a->in[i] = &m->tensors[op->in[i]];
        a->p[i] = data ? data[op->in[i]] : NULL;
    }
    if (op->out < 0 || (uint32_t)op->out >= m->n_tensors)
        return false;
    a->out = &m->tensors[op->out];
    a->q = data ? data[op->out] : NULL;
    return a->out->kind == TENSOR_TEMP || a->out->kind == TENSOR_OUTPUT;
}

bool op_check(const struct model *m, const struct op *op)
{
    struct args a;
    if (op->code == 0 || op->code >= OP_COUNT || !gather_args(m, NULL, op, &a))
        return false;
    for (uint32_t i = 0; i < ops[op->code].n_in; i++)
        if (a.in[i] == NULL)
            return false;
    return ops[op->code].check(&a);
}

int op_run(const struct model *m, uint8_t *const *data, const struct op *op)
{
    struct args a;
    return gather_args(m, data, op, &a) ? ops[op->code].run(&a) : SIM_FAIL;
}

/* Products at the matmul's speed in native layout, everything else at the memory's. */
double op_cost(const struct model *m, const struct op *op, uint32_t busy)
{
    struct args a;
    if (!gather_args(m, NULL, op, &a))
        return 0;
    if (op->code == OP_MATMUL) {
        uint32_t n = a.in[1]->dims[0];
        return cost_matmul((uint32_t)(a.out->elems / n), a.in[1]->dims[1], n, SIM_F16_F16_F16, true, busy);
    }
    if (op->code == OP_SCORES || op->code == OP_CONTEXT) {
        const struct tensor *v = a.in[1]; // [b, s, h]
        uint32_t heads = (uint32_t)op->ints[0], d = v->dims[2] / heads, s = v->dims[1];
        bool scores = op->code == OP_SCORES;
        return (double)v->dims[0] * heads * cost_matmul(s, scores ? d : s, scores ? s : d, SIM_F16_F16_F16, true, busy);
    }
    uint64_t bytes = a.out->bytes;
    for (int i = 0; i < OP_INPUTS; i++) /* a gather reads the rows it writes */
        bytes += a.in[i] && !(op->code == OP_GATHER && i == 1) ? a.in[i]->bytes : 0;
    return cost_stream(bytes, busy);
}
