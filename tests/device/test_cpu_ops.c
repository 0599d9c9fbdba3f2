/* SPDX-License-Identifier: Apache-2.0 */
/* Attention, embedding, norm, rotary and the row operations of every instruction set against plain loops in double. */
#include "cpu_test_util.h"

struct ragged {
    struct batch b;
    uint32_t cu[9];
    int32_t *ids;
    uint8_t *types;
};

static void ragged_make(struct ragged *r, uint32_t longest, uint32_t vocab)
{
    memset(r, 0, sizeof *r);
    r->b.n_seqs = 1 + random_below(5);
    for (uint32_t i = 0; i < r->b.n_seqs; i++)
        r->cu[i + 1] = r->cu[i] + 1 + random_below(random_below(3) ? 30 : longest);
    r->b.cu_lens = r->cu;
    r->b.n_tokens = r->cu[r->b.n_seqs];
    r->ids = malloc(r->b.n_tokens * sizeof *r->ids);
    r->types = malloc(r->b.n_tokens);
    for (uint32_t i = 0; i < r->b.n_tokens; i++) {
        r->ids[i] = (int32_t)random_below(vocab);
        r->types[i] = (uint8_t)random_below(2);
    }
    r->b.ids = r->ids;
    r->b.type_ids = random_below(2) ? r->types : NULL;
}

static void ragged_free(struct ragged *r)
{
    free(r->ids), free(r->types);
}

TEST_REFERENCE static double score(const struct attention *a, const float *q, const float *k, uint32_t head, int64_t i,
                                   int64_t j)
{
    double s = 0;
    for (uint32_t d = 0; d < a->head_dim; d++)
        s += (double)q[d] * k[d];
    if (a->bias == ATTN_BIAS_DISENTANGLED) {
        int64_t at = i - j + a->rel_index_span - 1, last = 2 * (int64_t)a->rel_index_span - 2;
        size_t row = (size_t)a->rel_index[at < 0 ? 0 : at > last ? last : at];
        size_t first = row * a->heads * a->head_dim + (size_t)head * a->head_dim;
        for (uint32_t d = 0; d < a->head_dim; d++) {
            s += a->pos_key ? (double)q[d] * a->pos_key[first + d] : 0;
            s += a->pos_query ? (double)k[d] * a->pos_query[first + d] : 0;
        }
    }
    s *= a->scale;
    if (a->bias == ATTN_BIAS_RELATIVE) {
        int64_t at = j - i + a->rel_span - 1, last = 2 * (int64_t)a->rel_span - 2;
        s += a->rel_bias[head * (size_t)(last + 1) + (size_t)(at < 0 ? 0 : at > last ? last : at)];
    }
    return s;
}

TEST_REFERENCE static void reference_attend(const struct attention *a, const struct batch *b, const float *qkv,
                                            size_t stride, double *out)
{
    uint32_t dim = a->head_dim;
    for (uint32_t s = 0; s < b->n_seqs; s++)
        for (uint32_t h = 0; h < a->heads; h++)
            for (uint32_t i = b->cu_lens[s]; i < b->cu_lens[s + 1]; i++) {
                double *o = out + ((size_t)i * a->heads + h) * dim, sum = 0, max = -1e300;
                const float *q = qkv + i * stride + (size_t)h * dim;
                uint32_t kv = h / (a->heads / a->kv_heads);
                memset(o, 0, dim * sizeof *o);
                for (int pass = 0; pass < 2; pass++)
                    for (uint32_t j = b->cu_lens[s]; j < b->cu_lens[s + 1]; j++) {
                        if (a->window && (j > i ? j - i : i - j) > a->window)
                            continue;
                        const float *k = qkv + j * stride + (size_t)(a->heads + kv) * dim;
                        double p = score(a, q, k, h, i, j);
                        if (pass == 0) {
                            max = fmax(max, p);
                            continue;
                        }
                        sum += p = exp(p - max);
                        for (uint32_t d = 0; d < dim; d++)
                            o[d] += p * k[(size_t)a->kv_heads * dim + d];
                    }
                for (uint32_t d = 0; d < dim; d++)
                    o[d] /= sum;
            }
}

static void attend_case(const struct device *d, int n)
{
    static const uint32_t dims[] = { 32, 64, 8, 20, 48, 80, 128 };
    struct exec x;
    struct ragged r;
    rkf_error err;
    exec_open(&x, d, 1 + n % 3);
    ragged_make(&r, n % 5 ? 100 : 700, 10);
    struct attention a = { .kv_heads = 1 + random_below(3), .head_dim = dims[random_below(7)] };
    a.bias = (enum attention_bias)random_below(3);
    a.heads = a.kv_heads * (a.bias == ATTN_BIAS_DISENTANGLED ? 1 : 1 + random_below(2));
    a.scale = 1 / sqrtf((float)a.head_dim);
    a.window = random_below(2) ? 0 : 1 + random_below(random_below(2) ? 10 : 300);
    a.rel_span = 1 + random_below(100);
    float *rel = random_floats(a.heads * 2u * a.rel_span, -1, 1);
    a.rel_bias = rel;
    a.rel_index_span = 1 + random_below(300);
    a.rel_rows = 2 + random_below(200);
    float *pos = random_floats((size_t)a.rel_rows * a.heads * a.head_dim, -1, 1);
    float *pos2 = random_floats((size_t)a.rel_rows * a.heads * a.head_dim, -1, 1);
    a.pos_key = random_below(4) ? pos : NULL;
    a.pos_query = random_below(4) ? pos2 : NULL;
    int32_t *index = malloc(2 * a.rel_index_span * sizeof *index);
    for (uint32_t i = 0; i < 2 * a.rel_index_span - 1; i++)
        index[i] = (int32_t)((uint64_t)i * a.rel_rows / (2 * a.rel_index_span));
    a.rel_index = index;
    uint32_t cols = (a.heads + 2 * a.kv_heads) * a.head_dim, wide = a.heads * a.head_dim;
    size_t stride = cols + random_below(2) * 7;
    float *qkv = random_floats(r.b.n_tokens * stride, -2, 2), *out = random_floats((size_t)r.b.n_tokens * wide, 0, 0);
    double *want = malloc((size_t)r.b.n_tokens * wide * sizeof *want);
    reference_attend(&a, &r.b, qkv, stride, want);
    struct view qv = { qkv, DTYPE_F32, r.b.n_tokens, cols, stride }, ov = view_make(out, DTYPE_F32, r.b.n_tokens, wide);
    assert_int_equal(d->cpu->attend(&x, &a, &r.b, qv, ov, &err), RKF_OK);
    for (size_t i = 0; i < (size_t)r.b.n_tokens * wide; i++)
        if (!(fabs(out[i] - want[i]) <= 4e-6))
            fail_msg("attend: dim %u heads %u/%u window %u bias %d: out[%zu] = %g, not %g", a.head_dim, a.heads,
                     a.kv_heads, a.window, (int)a.bias, i, (double)out[i], want[i]);
    assert_int_equal(x.scratch.live, 0);
    free(rel), free(pos), free(pos2), free(index), free(qkv), free(out), free(want);
    ragged_free(&r);
    exec_close(&x);
}

static void attend_level(struct device *d)
{
    for (int i = 0; i < 60; i++)
        attend_case(d, i);
}

static void test_attend(void **state)
{
    (void)state;
    each_level(attend_level);
}

static double norm_of(const struct norm *n, const double *x, uint32_t i)
{
    double mean = 0, square = 0;
    for (uint32_t c = 0; c < n->size; c++)
        mean += x[c] / n->size;
    mean = n->kind == NORM_LAYER ? mean : 0;
    for (uint32_t c = 0; c < n->size; c++)
        square += (x[c] - mean) * (x[c] - mean) / n->size;
    return (x[i] - mean) / sqrt(square + n->eps) * (n->gamma ? n->gamma[i] : 1) + (n->beta ? n->beta[i] : 0);
}

static void embed_level(struct device *d)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    for (int n = 0; n < 30; n++) {
        struct exec x;
        struct ragged r;
        rkf_error err;
        enum dtype type = types[n % 3];
        uint32_t size = 1 + random_below(n % 4 ? 100 : 800), offset = random_below(3);
        exec_open(&x, d, 1 + n % 2);
        ragged_make(&r, 100, 50);
        size_t rows = 50 + 110 + 2;
        float *table = random_floats(rows * size, -1, 1), *gamma = random_floats(size, 0, 2);
        void *stored = malloc(rows * size * 4);
        for (size_t i = 0; i < rows * size; i++)
            if (type == DTYPE_F32)
                ((float *)stored)[i] = table[i];
            else
                ((uint16_t *)stored)[i] = type == DTYPE_F16 ? f32_to_f16(table[i]) : f32_to_bf16(table[i]);
        convert_to_f32(table, stored, type, rows * size);
        size_t bytes = size * dtype_size(type);
        struct norm norm = { n % 2 ? NORM_RMS : NORM_LAYER, size, 1e-6f, gamma, NULL };
        struct embedding_tables t = { .word = view_make(stored, type, 50, size),
                                      .position = view_make((char *)stored + 50 * bytes, type, 110, size),
                                      .type = view_make((char *)stored + 160 * bytes, type, 2, size),
                                      .position_offset = (int32_t)offset,
                                      .scale = n % 2 ? 1 : 3,
                                      .norm = n % 3 ? &norm : NULL };
        if (n % 5 == 0)
            t.position.p = NULL;
        if (n % 7 == 0)
            t.type.p = NULL;
        float *out = random_floats((size_t)r.b.n_tokens * size, 0, 0);
        double *row = malloc(size * sizeof *row);
        struct view ov = view_make(out, DTYPE_F32, r.b.n_tokens, size);
        assert_int_equal(d->cpu->embed(&x, &t, &r.b, ov, &err), RKF_OK);
        for (uint32_t s = 0; s < r.b.n_seqs; s++)
            for (uint32_t i = r.cu[s]; i < r.cu[s + 1]; i++) {
                for (uint32_t c = 0; c < size; c++) {
                    row[c] = (double)t.scale * table[(size_t)r.ids[i] * size + c];
                    row[c] += t.position.p ? table[(50 + i - r.cu[s] + offset) * size + c] : 0;
                    row[c] += t.type.p ? table[(160 + (r.b.type_ids ? r.types[i] : 0u)) * size + c] : 0;
                }
                for (uint32_t c = 0; c < size; c++) {
                    double want = t.norm ? norm_of(t.norm, row, c) : row[c];
                    assert_true(fabs(out[(size_t)i * size + c] - want) <= 1e-5 * (1 + fabs(want)));
                }
            }
        free(table), free(gamma), free(stored), free(out), free(row);
        ragged_free(&r);
        exec_close(&x);
    }
}

static void test_embed(void **state)
{
    (void)state;
    each_level(embed_level);
}

static void normalize_level(struct device *d)
{
    for (int n = 0; n < 40; n++) {
        struct exec x;
        rkf_error err;
        exec_open(&x, d, 1 + n % 2);
        uint32_t rows = 1 + random_below(50), size = 1 + random_below(n % 4 ? 100 : 1000);
        size_t all = (size_t)rows * size;
        float *in = random_floats(all, -3, 5), *res = random_floats(all, -1, 1), *keep = random_floats(all, 0, 0);
        float *sum = random_floats(all, 0, 0), *y = random_floats(all, 0, 0), *beta = random_floats(size, -1, 1);
        memcpy(keep, in, all * sizeof *in);
        float *res_keep = random_floats(all, 0, 0);
        memcpy(res_keep, res, all * sizeof *res);
        struct norm norm = { n % 2 ? NORM_RMS : NORM_LAYER, size, 1e-6f, NULL, beta };
        bool with_res = n % 3, with_sum = n % 5 > 1, same = n % 7 == 0;
        struct view none = { 0 }, iv = view_make(in, DTYPE_F32, rows, size), rv = view_make(res, DTYPE_F32, rows, size),
                    sv = view_make(n % 5 == 4 && with_res ? res : sum, DTYPE_F32, rows, size),
                    yv = same ? iv : view_make(y, DTYPE_F32, rows, size);
        assert_int_equal(d->cpu->normalize(&x, &norm, iv, with_res ? rv : none, with_sum ? sv : none, yv, &err),
                         RKF_OK);
        double *t = malloc(size * sizeof *t);
        for (uint32_t r = 0; r < rows; r++) {
            for (uint32_t c = 0; c < size; c++)
                t[c] = (double)keep[r * size + c] + (with_res ? res_keep[r * size + c] : 0);
            for (uint32_t c = 0; c < size; c++) {
                double want = norm_of(&norm, t, c);
                assert_true(fabs(((float *)yv.p)[r * size + c] - want) <= 1e-5 * (1 + fabs(want)));
                if (with_sum)
                    assert_true(fabs(((float *)sv.p)[r * size + c] - t[c]) <= 1e-6 * (1 + fabs(t[c])));
            }
        }
        free(in), free(res), free(keep), free(sum), free(y), free(beta), free(t), free(res_keep);
        exec_close(&x);
    }
}

static void test_normalize(void **state)
{
    (void)state;
    each_level(normalize_level);
}

static void rotate_level(struct device *d)
{
    for (int n = 0; n < 20; n++) {
        struct exec x;
        struct ragged r;
        rkf_error err;
        exec_open(&x, d, 1 + n % 2);
        ragged_make(&r, 80, 10);
        struct attention a = { .heads = 4, .kv_heads = n % 3 ? 4 : 2, .head_dim = 8 * (1 + random_below(16)) };
        struct rotary rot = { .dim = a.head_dim, .positions = 90, .interleaved = n % 2 };
        if (n % 4 == 3)
            rot.dim = a.head_dim / 4 * 2;
        uint32_t cols = (a.heads + 2 * a.kv_heads) * a.head_dim, half = rot.dim / 2;
        float *angle = random_floats(90u * half, -3, 3), *cs = random_floats(90u * half, 0, 0),
              *sn = random_floats(90u * half, 0, 0);
        for (uint32_t i = 0; i < 90 * half; i++) {
            cs[i] = cosf(angle[i]);
            sn[i] = sinf(angle[i]);
        }
        rot.cos = cs;
        rot.sin = sn;
        float *qkv = random_floats((size_t)r.b.n_tokens * cols, -1, 1),
              *before = random_floats((size_t)r.b.n_tokens * cols, 0, 0);
        memcpy(before, qkv, (size_t)r.b.n_tokens * cols * sizeof *qkv);
        assert_int_equal(d->cpu->rotate(&x, &rot, &a, &r.b, view_make(qkv, DTYPE_F32, r.b.n_tokens, cols), &err),
                         RKF_OK);
        for (uint32_t s = 0; s < r.b.n_seqs; s++)
            for (uint32_t i = r.cu[s]; i < r.cu[s + 1]; i++)
                for (uint32_t c = 0; c < cols; c++) {
                    uint32_t h = c / a.head_dim, e = c % a.head_dim, pair = rot.interleaved ? e / 2 : e % half;
                    double want = before[(size_t)i * cols + c];
                    if (h < a.heads + a.kv_heads && e < rot.dim) { /* first of a pair turns back, second forward */
                        bool second = rot.interleaved ? e % 2 : e >= half;
                        size_t at = (size_t)i * cols + c, apart = rot.interleaved ? 1 : half;
                        size_t other = second ? at - apart : at + apart;
                        double t = angle[(i - r.cu[s]) * half + pair];
                        want = want * cos(t) + before[other] * sin(t) * (second ? 1 : -1);
                    }
                    assert_true(fabs(qkv[(size_t)i * cols + c] - want) <= 1e-6);
                }
        rot.positions = 1;
        struct batch two = r.b;
        if (r.b.n_tokens > r.b.n_seqs)
            assert_int_equal(d->cpu->rotate(&x, &rot, &a, &two, view_make(qkv, DTYPE_F32, r.b.n_tokens, cols), &err),
                             RKF_INTERNAL);
        free(angle), free(cs), free(sn), free(qkv), free(before);
        ragged_free(&r);
        exec_close(&x);
    }
}

static void test_rotate(void **state)
{
    (void)state;
    each_level(rotate_level);
}

/* exp, erf and tanh over their whole range: what embeddings within 1e-5 need, and much more. */
static void activate_level(struct device *d)
{
    enum { N = 4001 };
    struct exec x;
    rkf_error err;
    exec_open(&x, d, 1);
    float *in = random_floats(N, 0, 0), *out = random_floats(N, 0, 0);
    for (int range = 0; range < 3; range++)
        for (int act = 0; act < ACT_COUNT; act++) {
            float span = range == 0 ? 1 : range == 1 ? 12 : 100;
            for (int i = 0; i < N; i++)
                in[i] = (float)(i - N / 2) / (N / 2) * span;
            struct view iv = view_make(in, DTYPE_F32, 1, N), ov = view_make(out, DTYPE_F32, 1, N);
            assert_int_equal(d->cpu->activate(&x, (enum activation)act, iv, ov, &err), RKF_OK);
            for (int i = 0; i < N; i++) {
                double want = activation_apply((enum activation)act, in[i]);
                if (!(fabs(out[i] - want) <= 3e-7 * fabs(want) + 2e-7))
                    fail_msg("%s(%.9g) = %.9g, not %.9g", activation_name((enum activation)act), (double)in[i],
                             (double)out[i], want);
            }
        }
    free(in), free(out);
    exec_close(&x);
}

static void test_activate(void **state)
{
    (void)state;
    each_level(activate_level);
}

static void row_ops_level(struct device *d)
{
    for (uint32_t n = 1; n < 200; n += 1 + n / 20) {
        float *a = random_floats(n, -3, 3), *b = random_floats(n, -3, 3), *y = random_floats(n, 0, 0);
        double dot = 0, size = 0, sum = 0, max = -1e9;
        memcpy(y, a, n * sizeof *a);
        for (uint32_t i = 0; i < n; i++) {
            dot += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
            max = fmax(max, a[i]);
        }
        assert_true(fabs(d->cpu->dot(a, b, n) - dot) <= 1e-6 * size);
        d->cpu->add(y, b, -0.5f, n);
        for (uint32_t i = 0; i < n; i++)
            assert_true(fabs(y[i] - (a[i] - 0.5 * b[i])) <= 1e-6);
        for (uint32_t i = 0; i < n; i++)
            sum += exp(a[i] - max);
        memcpy(y, a, n * sizeof *a);
        d->cpu->softmax(y, n);
        for (uint32_t i = 0; i < n; i++)
            assert_true(fabs(y[i] - exp(a[i] - max) / sum) <= 1e-6 * exp(a[i] - max) / sum + 1e-9);
        free(a), free(b), free(y);
    }
}

static void test_row_ops(void **state)
{
    (void)state;
    each_level(row_ops_level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attend), cmocka_unit_test(test_embed),    cmocka_unit_test(test_normalize),
        cmocka_unit_test(test_rotate), cmocka_unit_test(test_activate), cmocka_unit_test(test_row_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
