/* SPDX-License-Identifier: Apache-2.0 */
/* prepare and apply of every instruction set against plain loops in double: all weight types, epilogues, odd shapes. */
#include "cpu_test_util.h"

struct layer { /* one random layer and what it is made of */
    uint32_t in, out, n_parts, part[3];
    enum dtype source, type;
    float *w, *bias;
    void *stored;           /* w in its source type */
    bool has_bias, keeps_x; /* x stays f32: the weights are only stored in 16 bits */
    bool quads;             /* struct gemm */
    bool half;              /* multiplied in f16, whose sums are rounded to it */
};

static void store(const float *w, enum dtype type, size_t n, void *to)
{
    for (size_t i = 0; i < n; i++)
        if (type == DTYPE_F32)
            ((float *)to)[i] = w[i];
        else
            ((uint16_t *)to)[i] = type == DTYPE_F16 ? f32_to_f16(w[i]) : f32_to_bf16(w[i]);
}

static struct linear *layer_make(struct layer *l, struct exec *x)
{
    struct linear_part parts[3];
    struct linear *out = NULL;
    rkf_error err;
    size_t n = (size_t)l->in * l->out, size = dtype_size(l->source);
    l->w = random_floats(n, -1, 1);
    l->bias = random_floats(l->out, -1, 1);
    l->stored = malloc(n * size);
    store(l->w, l->source, n, l->stored);
    convert_to_f32(l->w, l->stored, l->source, n);
    for (uint32_t i = 0, first = 0; i < l->n_parts; first += l->part[i++])
        parts[i] = (struct linear_part){ view_make((char *)l->stored + (size_t)first * l->in * size, l->source,
                                                   l->part[i], l->in),
                                         l->has_bias ? l->bias + first : NULL, DTYPE_F32 };
    assert_int_equal(x->device->linear->prepare(x, parts, l->n_parts, l->type, &out, &err), RKF_OK);
    assert_true(x->device->linear->bytes(out) >= n * dtype_size(l->type));
    assert_int_equal(x->scratch.live, 0);
    return out;
}

static void layer_free(struct layer *l, struct linear *packed)
{
    packed->device->linear->release(packed);
    free(l->w), free(l->bias), free(l->stored);
}

/* A row of x as the type of the weights makes it, and one column of w. */
static void round_row(float *to, const float *from, uint32_t n, enum dtype type, bool weight, bool quads)
{
    float lo = 0, hi = 0;
    for (uint32_t i = 0; i < n; i++) {
        lo = fminf(lo, from[i]);
        hi = fmaxf(hi, from[i]);
    }
    float max = quads ? quad_range(from, n) : fmaxf(hi, -lo), range = hi - lo,
          zero = nearbyintf(-lo * (range > 0 ? 255 / range : 0));
    for (uint32_t i = 0; i < n; i++)
        if (type == DTYPE_BF16)
            to[i] = bf16_to_f32(f32_to_bf16(from[i]));
        else if (type == DTYPE_F16 && weight)
            to[i] = f16_to_f32(f32_to_f16(from[i]));
        else if (type == DTYPE_I8 && weight)
            to[i] = nearbyintf(from[i] * (max > 0 ? 127 / max : 0)) * (max / 127);
        else if (type == DTYPE_I8)
            to[i] = (fminf(fmaxf(nearbyintf(from[i] * (range > 0 ? 255 / range : 0)) + zero, 0), 255) - zero) *
                    (range / 255);
        else
            to[i] = from[i];
}

/* y [rows, width] in double, and for each the size of what was summed: errors are measured by it. */
TEST_REFERENCE static void reference(const struct layer *l, const float *x, size_t stride, uint32_t rows,
                                     const struct epilogue *e, double *y, double *size, double *sum)
{
    uint32_t width = e->gated ? l->out / 2 : l->out;
    float *xr = malloc(l->in * sizeof *xr), *wr = malloc((size_t)l->in * l->out * sizeof *wr);
    double *t = malloc(l->out * sizeof *t), *s = malloc(l->out * sizeof *s);
    for (uint32_t n = 0; n < l->out; n++)
        round_row(wr + (size_t)n * l->in, l->w + (size_t)n * l->in, l->in, l->type, true, l->quads);
    for (uint32_t r = 0; r < rows; r++) {
        round_row(xr, x + r * stride, l->in, l->keeps_x ? DTYPE_F32 : l->type, false, false);
        for (uint32_t n = 0; n < l->out; n++) {
            t[n] = l->has_bias ? l->bias[n] : 0;
            s[n] = fabs(t[n]);
            for (uint32_t i = 0; i < l->in; i++) {
                t[n] += (double)xr[i] * wr[(size_t)n * l->in + i];
                s[n] += fabs((double)xr[i] * wr[(size_t)n * l->in + i]);
            }
        }
        double mean = 0, square = 0, *out = y + (size_t)r * width, *os = size + (size_t)r * width;
        for (uint32_t n = 0; n < width; n++) {
            out[n] = activation_apply(e->act, (float)t[n]);
            os[n] = s[n] * (e->act == ACT_RELU2 ? 1 + 2 * fabs(t[n]) : 1);
            if (e->gated) {
                os[n] = fabs(t[n + width]) * os[n] + (fabs(out[n]) + 1) * s[n + width];
                out[n] *= t[n + width];
            }
            if (e->residual.p)
                out[n] += ((const float *)e->residual.p)[r * e->residual.stride + n];
            sum[(size_t)r * width + n] = out[n];
            mean += out[n] / width;
        }
        if (!e->norm)
            continue;
        mean = e->norm->kind == NORM_LAYER ? mean : 0;
        for (uint32_t n = 0; n < width; n++)
            square += (out[n] - mean) * (out[n] - mean) / width;
        double worst = 0, f = 1 / sqrt(square + e->norm->eps);
        for (uint32_t n = 0; n < width; n++)
            worst = fmax(worst, os[n]);
        for (uint32_t n = 0; n < width; n++) {
            out[n] = (out[n] - mean) * f * e->norm->gamma[n] + (e->norm->beta ? e->norm->beta[n] : 0);
            os[n] = worst * f * 4 + fabs(out[n]);
        }
    }
    free(xr), free(wr), free(t), free(s);
}

static struct layer random_layer(bool gated)
{
    static const enum dtype sources[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8 };
    struct layer l = { .in = 1 + random_below(random_below(4) ? 80 : 700),
                       .n_parts = gated ? 2 : 1 + random_below(3),
                       .source = sources[random_below(3)],
                       .type = types[random_below(4)],
                       .has_bias = random_below(3) };
    for (uint32_t i = 0; i < l.n_parts; i++) {
        l.part[i] = gated && i ? l.part[0] : 1 + random_below(random_below(4) ? 70 : 300);
        l.out += l.part[i];
    }
    return l;
}

static void check_rows(const float *y, size_t stride, const double *want, const double *size, uint32_t rows,
                       uint32_t cols, const struct layer *l, const struct epilogue *e)
{
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t n = 0; n < cols; n++) {
            double error = fabs(y[r * stride + n] - want[(size_t)r * cols + n]);
            double unit = l->half ? 2e-3 : 1e-6;
            double allowed = unit * size[(size_t)r * cols + n] + 1e-6 * fabs(want[(size_t)r * cols + n]) + 1e-6;
            if (!(error <= allowed))
                fail_msg("%s in %u out %u rows %u, act %s%s: y[%u][%u] = %g, not %g (%g over)", dtype_name(l->type),
                         l->in, l->out, rows, activation_name(e->act), e->gated ? " gated" : "", r, n,
                         (double)y[r * stride + n], want[(size_t)r * cols + n], error / allowed);
        }
}

static void one_case(const struct device *d, int threads)
{
    struct exec x;
    exec_open(&x, d, threads);
    bool gated = !random_below(4);
    struct layer l = random_layer(gated);
    const struct gemm *g = &((const struct kernels *)d->priv)->gemm[gemm_type_of(l.type) % GEMM_COUNT];
    l.keeps_x = !g->pack_a;
    l.quads = g->quads;
    l.half = l.type == DTYPE_F16 && !l.keeps_x;
    l.keeps_x |= l.half;
    struct linear *packed = layer_make(&l, &x);
    uint32_t width = gated ? l.out / 2 : l.out, rows = 1 + random_below(random_below(3) ? 20 : 150);
    size_t xs = l.in + random_below(3) * 5, ys = width + random_below(3) * 3;
    float *in = random_floats(rows * xs, -2, 2), *y = random_floats(rows * ys, -1, 1);
    float *residual = random_floats(rows * ys, -1, 1), *sum = random_floats((size_t)rows * width, 0, 0);
    float *gamma = random_floats(width, 0.5f, 1.5f), *beta = random_floats(width, -1, 1);
    struct norm norm = { random_below(2) ? NORM_LAYER : NORM_RMS, width, 1e-5f, gamma, random_below(2) ? beta : NULL };
    struct epilogue e = { .act = random_below(2) ? ACT_NONE : (enum activation)random_below(ACT_COUNT),
                          .gated = gated };
    bool in_place = random_below(3) == 0;
    if (random_below(2))
        e.residual = (struct view){ in_place ? y : residual, DTYPE_F32, rows, width, ys };
    if (random_below(2))
        e.sum = view_make(sum, DTYPE_F32, rows, width);
    if (random_below(2))
        e.norm = &norm;
    double *want = malloc(rows * (size_t)width * 8), *size = malloc(rows * (size_t)width * 8),
           *want_sum = malloc(rows * (size_t)width * 8);
    reference(&l, in, xs, rows, &e, want, size, want_sum);
    rkf_error err;
    struct view xv = { in, DTYPE_F32, rows, l.in, xs }, yv = { y, DTYPE_F32, rows, width, ys };
    assert_int_equal(d->linear->apply(&x, packed, xv, &e, yv, &err), RKF_OK);
    check_rows(y, ys, want, size, rows, width, &l, &e);
    if (e.sum.p && !e.norm)
        check_rows(sum, width, want_sum, size, rows, width, &l, &e);
    assert_int_equal(x.scratch.live, 0);
    free(in), free(y), free(residual), free(sum), free(gamma), free(beta), free(want), free(size), free(want_sum);
    layer_free(&l, packed);
    exec_close(&x);
}

static void every_level_case(struct device *d)
{
    for (int i = 0; i < 150; i++)
        one_case(d, 1 + i % 3);
}

static void test_apply(void **state)
{
    (void)state;
    each_level(every_level_case);
}

/* A pair gives what two applications give, to the bit. */
static void pair_case(struct device *d)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_BF16, DTYPE_I8, DTYPE_F16 };
    for (int i = 0; i < 24; i++) {
        struct exec x;
        rkf_error err;
        exec_open(&x, d, 1 + i % 3);
        bool gated = i & 1;
        struct layer a = random_layer(gated), b = random_layer(false);
        a.type = b.type = types[i / 2 % 4];
        b.in = gated ? a.out / 2 : a.out;
        struct linear *first = layer_make(&a, &x), *second = layer_make(&b, &x);
        uint32_t rows = 1 + random_below(i % 4 ? 300 : 20);
        float *in = random_floats((size_t)rows * a.in, -2, 2), *mid = random_floats((size_t)rows * b.in, 0, 0);
        float *y = random_floats((size_t)rows * b.out, 0, 0), *z = random_floats((size_t)rows * b.out, 0, 0);
        float *res = random_floats((size_t)rows * b.out, -1, 1);
        struct norm norm = { NORM_LAYER, b.out, 1e-12f, NULL, NULL };
        struct epilogue e1 = { .act = ACT_GELU, .gated = gated },
                        e2 = { .norm = &norm, .residual = view_make(res, DTYPE_F32, rows, b.out) };
        struct view xv = view_make(in, DTYPE_F32, rows, a.in), mv = view_make(mid, DTYPE_F32, rows, b.in),
                    yv = view_make(y, DTYPE_F32, rows, b.out), zv = view_make(z, DTYPE_F32, rows, b.out);
        assert_int_equal(d->linear->apply(&x, first, xv, &e1, mv, &err), RKF_OK);
        assert_int_equal(d->linear->apply(&x, second, mv, &e2, yv, &err), RKF_OK);
        assert_int_equal(d->linear->apply_pair(&x, first, &e1, second, &e2, xv, zv, &err), RKF_OK);
        assert_memory_equal(y, z, (size_t)rows * b.out * sizeof *y);
        assert_int_equal(x.scratch.live, 0);
        free(in), free(mid), free(y), free(z), free(res);
        layer_free(&a, first);
        layer_free(&b, second);
        exec_close(&x);
    }
}

static void test_pair(void **state)
{
    (void)state;
    each_level(pair_case);
}

/* Sums of f16 in f16 would be infinite: 64 times 30000. */
static void large_weights_case(struct device *d)
{
    struct exec x;
    exec_open(&x, d, 1);
    enum { IN = 130, OUT = 40, ROWS = 70 };
    uint16_t *w = malloc((size_t)IN * OUT * sizeof *w);
    float *in = random_floats((size_t)ROWS * IN, 1, 1), *y = random_floats((size_t)ROWS * OUT, 0, 0);
    for (int i = 0; i < IN * OUT; i++)
        w[i] = f32_to_f16(30000);
    struct linear_part part = { .weight = view_make(w, DTYPE_F16, OUT, IN) };
    struct linear *packed = NULL;
    struct epilogue e = { .act = ACT_NONE };
    rkf_error err;
    assert_int_equal(d->linear->prepare(&x, &part, 1, DTYPE_F16, &packed, &err), RKF_OK);
    assert_int_equal(
        d->linear->apply(&x, packed, view_make(in, DTYPE_F32, ROWS, IN), &e, view_make(y, DTYPE_F32, ROWS, OUT), &err),
        RKF_OK);
    for (int i = 0; i < ROWS * OUT; i++)
        assert_true(fabsf(y[i] / (30000.0f * IN) - 1) < 1e-3f);
    d->linear->release(packed);
    free(w), free(in), free(y);
    exec_close(&x);
}

static void test_large_weights(void **state)
{
    (void)state;
    each_level(large_weights_case);
}

/* The steady state allocates nothing: the scratch of the first run serves the second. */
static void test_no_allocation(void **state)
{
    (void)state;
    struct device *d = NULL;
    struct exec x;
    rkf_error err;
    assert_int_equal(cpu_device_create(NULL, NULL, &d, &err), RKF_OK);
    exec_open(&x, d, 2);
    struct layer l = { 384, 1536, 1, { 1536 }, DTYPE_F32, DTYPE_BF16 };
    struct linear *packed = layer_make(&l, &x);
    float *in = random_floats(200 * 384, -1, 1), *y = random_floats(200 * 1536, 0, 0);
    struct epilogue e = { .act = ACT_GELU };
    int64_t before = 0;
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            before = mem_count();
        struct view xv = view_make(in, DTYPE_F32, 200, 384), yv = view_make(y, DTYPE_F32, 200, 1536);
        assert_int_equal(d->linear->apply(&x, packed, xv, &e, yv, &err), RKF_OK);
        arena_reset(&x.scratch);
    }
    assert_int_equal(mem_count(), before);
    free(in), free(y);
    layer_free(&l, packed);
    exec_close(&x);
    cpu_device_free(d);
}

/* Out of memory at any allocation of prepare and apply: an error, nothing lost, and the next try works. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct device *d = NULL;
    rkf_error err;
    assert_int_equal(cpu_device_create(NULL, NULL, &d, &err), RKF_OK);
    float *w = random_floats(64 * 64, -1, 1), *y = random_floats(64 * 64, 0, 0);
    struct linear_part part = { view_make(w, DTYPE_F32, 64, 64), NULL, DTYPE_F32 };
    struct view v = view_make(w, DTYPE_F32, 64, 64), yv = view_make(y, DTYPE_F32, 64, 64);
    struct epilogue e = { .act = ACT_NONE };
    int failures = 0;
    for (int n = 0; n < 80; n++) {
        struct exec x;
        struct linear *l = NULL;
        exec_open(&x, d, 2);
        x.observe = n % 2;
        mem_fail_after(n / 2);
        rkf_status rc = d->linear->prepare(&x, &part, 1, DTYPE_I8, &l, &err);
        if (!rc)
            rc = d->linear->apply_pair(&x, l, &e, l, &e, v, yv, &err);
        if (!rc && x.observe)
            rc = d->linear->settle(&x, l, &err);
        mem_fail_after(-1);
        assert_true(rc == RKF_OK || rc == RKF_NO_MEMORY);
        failures += rc != RKF_OK;
        if (l)
            l->device->linear->release(l);
        exec_close(&x);
    }
    assert_in_range(failures, 10, 79);
    free(w), free(y);
    cpu_device_free(d);
}

static void test_refused(void **state)
{
    (void)state;
    struct device *d = NULL;
    struct exec x;
    struct linear *l = NULL;
    rkf_error err;
    assert_int_equal(cpu_device_create("pentium", NULL, &d, &err), RKF_INVALID);
    assert_non_null(strstr(err.message, "portable"));
    assert_null(d);
    assert_int_equal(cpu_device_create("portable", NULL, &d, &err), RKF_OK);
    assert_string_equal(cpu_device_isa(d), "portable");
    exec_open(&x, d, 1);
    float w[4] = { 1, 2, 3, 4 };
    struct linear_part two[] = { { view_make(w, DTYPE_F32, 1, 3), NULL, DTYPE_F32 },
                                 { view_make(w, DTYPE_F32, 2, 2), NULL, DTYPE_F32 } };
    assert_int_equal(d->linear->prepare(&x, two, 2, DTYPE_F32, &l, &err), RKF_FORMAT);
    assert_int_equal(d->linear->prepare(&x, two, 1, DTYPE_I32, &l, &err), RKF_UNSUPPORTED);
    two[0].weight.type = DTYPE_I64;
    assert_int_equal(d->linear->prepare(&x, two, 1, DTYPE_F32, &l, &err), RKF_UNSUPPORTED);
    assert_null(l);
    assert_int_equal(d->linear->prepare(&x, two + 1, 1, DTYPE_F32, &l, &err), RKF_OK);
    struct epilogue e = { .gated = true };
    struct view v = view_make(w, DTYPE_F32, 1, 2);
    assert_int_equal(d->linear->apply(&x, l, v, &e, v, &err), RKF_INTERNAL);
    e.gated = false;
    assert_int_equal(d->linear->apply(&x, l, view_make(w, DTYPE_F32, 1, 3), &e, v, &err), RKF_INTERNAL);
    d->linear->release(l);
    exec_close(&x);
    cpu_device_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),         cmocka_unit_test(test_large_weights), cmocka_unit_test(test_pair),
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
