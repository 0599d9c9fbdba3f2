/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers in int8 that were shown rows with outliers: with every instruction set, exactly what kernels.h and outliers.h
 * say of the quantised numbers, and so much closer to the true ones than without.
 */
#include "cpu_test_util.h"

enum { IN = 70, OUT = 45, FIRST_OUT = 20, ROWS = 37, FAR = 3 };
static const uint32_t far_channels[FAR] = { 5, 6, 69 };

static bool is_far(uint32_t i)
{
    return i == far_channels[0] || i == far_channels[1] || i == far_channels[2];
}

/* x with channels some 20 times as large as the others, of both signs; one row of zeros, one without outliers, and one
 * whose outliers are beyond what was shown. */
static float *make_rows(void)
{
    float *x = random_floats(ROWS * IN, -1, 1);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t i = 0; i < IN; i++)
            x[r * IN + i] *= r == 3 ? 0 : !is_far(i) || r == 4 ? 1 : r == 5 ? 400 : 20;
    return x;
}

/* Columns whose weights of outliers are far larger than all others; they decide the steps of their panel's columns. */
static bool is_steep(uint32_t n)
{
    return n % 16 == 9;
}

/* Steep columns have their panel packed again, without outliers. */
static bool is_packed_again(const struct gemm *g, uint32_t n)
{
    uint32_t first = n < FIRST_OUT ? 0 : FIRST_OUT, end = n < FIRST_OUT ? FIRST_OUT : OUT;
    bool any = false;
    first += (n - first) / g->nr * g->nr;
    for (uint32_t i = first; i < end && i < first + g->nr; i++)
        any |= is_steep(i);
    return any;
}

/* The weights of column n as they are quantised, times their scale; those of outliers as they are. */
static void column(const struct gemm *g, const float *w, uint32_t n, double *q)
{
    float rest[IN], most = 0;
    for (uint32_t i = 0; i < IN; i++) {
        rest[i] = is_far(i) && is_packed_again(g, n) ? 0 : w[n * IN + i];
        most = fmaxf(most, fabsf(rest[i]));
    }
    if (g->quads)
        most = quad_range(rest, IN);
    for (uint32_t i = 0; i < IN; i++)
        q[i] = is_far(i) ? (double)w[n * IN + i] : (double)nearbyintf(rest[i] * (127 / most)) * (most / 127);
}

/* A row of x likewise. */
static void row(const float *x, double *q)
{
    float low = 0, high = 0;
    for (uint32_t i = 0; i < IN; i++) {
        low = fminf(low, is_far(i) ? 0 : x[i]);
        high = fmaxf(high, is_far(i) ? 0 : x[i]);
    }
    float range = high - low, inverse = range > 0 ? 255 / range : 0, scale = range / 255;
    float zero = nearbyintf(-low * inverse);
    for (uint32_t i = 0; i < IN; i++)
        q[i] = is_far(i) ? (double)x[i]
                         : ((double)fminf(fmaxf(nearbyintf(x[i] * inverse) + zero, 0), 255) - zero) * scale;
}

static double dot(const double *a, const double *b, double *size)
{
    double sum = 0;
    *size = 0;
    for (uint32_t i = 0; i < IN; i++) {
        sum += a[i] * b[i];
        *size += fabs(a[i] * b[i]);
    }
    return sum;
}

static void apply(struct exec *x, const struct linear *l, float *in, float *y, uint32_t rows)
{
    struct epilogue e = { .act = ACT_NONE };
    rkf_error err;
    assert_int_equal(x->device->linear->apply(x, l, view_make(in, DTYPE_F32, rows, IN), &e,
                                              view_make(y, DTYPE_F32, rows, OUT), &err),
                     RKF_OK);
}

static struct linear *prepare(struct exec *x, float *w, bool observe)
{
    struct linear_part parts[] = { { view_make(w, DTYPE_F32, FIRST_OUT, IN), NULL, DTYPE_F32 },
                                   { view_make(w + FIRST_OUT * IN, DTYPE_F32, OUT - FIRST_OUT, IN), NULL, DTYPE_F32 } };
    struct linear *l = NULL;
    rkf_error err;
    x->observe = observe;
    assert_int_equal(x->device->linear->prepare(x, parts, 2, DTYPE_I8, &l, &err), RKF_OK);
    return l;
}

static void settle(struct exec *x, struct linear *l)
{
    rkf_error err;
    assert_int_equal(x->device->linear->settle(x, l, &err), RKF_OK);
}

/* The largest error of rows that have outliers by quantising x, which has the weights' own beside it. */
static double worst_error(const struct gemm *g, const float *in, const float *w, const float *y)
{
    double worst = 0, qw[IN];
    for (uint32_t n = 0; n < OUT; n++) {
        column(g, w, n, qw);
        for (uint32_t r = 6; r < ROWS; r++) {
            double sum = 0;
            for (uint32_t i = 0; i < IN; i++)
                sum += in[r * IN + i] * qw[i];
            worst = fmax(worst, fabs(sum - y[r * OUT + n]));
        }
    }
    return worst;
}

static void check(struct device *d)
{
    const struct gemm *g = &((const struct kernels *)d->priv)->gemm[GEMM_I8];
    float *in = make_rows(), *w = random_floats(OUT * IN, -1, 1), *y = random_floats(ROWS * OUT, 0, 0),
          *plain = random_floats(ROWS * OUT, 0, 0), alone[OUT];
    for (uint32_t n = 0; n < OUT; n++) /* what the outliers meet is small, as it is in models, but for some */
        for (uint32_t i = 0; i < FAR; i++)
            w[n * IN + far_channels[i]] = is_steep(n) ? 30 : 0.05f * w[n * IN + far_channels[i]];
    struct exec x;
    exec_open(&x, d, 2);
    struct linear *l = prepare(&x, w, true), *without = prepare(&x, w, false);
    x.observe = true;
    apply(&x, l, in + 6 * IN, y, ROWS - 6);
    x.observe = false;
    settle(&x, l);
    settle(&x, without);
    settle(&x, NULL);
    apply(&x, l, in, y, ROWS);
    apply(&x, without, in, plain, ROWS);
    for (uint32_t n = 0; n < OUT; n++) {
        double qw[IN], qx[IN], size;
        column(g, w, n, qw);
        for (uint32_t r = 0; r < ROWS; r++) {
            row(in + r * IN, qx);
            double want = dot(qx, qw, &size);
            if (!(fabs(want - y[r * OUT + n]) <= 4e-7 * (size + fabs(want))))
                fail_msg("row %u column %u: %.9g, not %.9g", r, n, (double)y[r * OUT + n], want);
        }
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        apply(&x, l, in + r * IN, alone, 1);
        assert_memory_equal(alone, y + r * OUT, sizeof alone);
    }
    print_message("worst error %.3f, without %.3f\n", worst_error(g, in, w, y), worst_error(g, in, w, plain));
    assert_true(worst_error(g, in, w, y) < 0.7 * worst_error(g, in, w, plain));
    d->linear->release(l), d->linear->release(without);
    exec_close(&x);
    free(in), free(w), free(y), free(plain);
}

static void test_outliers(void **state)
{
    (void)state;
    each_level(check);
}

/* Rows in which nothing stands out change nothing, and the second of a pair is shown its rows, too. */
static void check_pair(struct device *d)
{
    float *in = random_floats(ROWS * IN, -1, 1), *w = random_floats(IN * IN, -1, 1),
          *y = random_floats(ROWS * IN, 0, 0), *again = random_floats(ROWS * IN, 0, 0);
    struct linear_part part = { view_make(w, DTYPE_F32, IN, IN), NULL, DTYPE_F32 };
    struct view xv = view_make(in, DTYPE_F32, ROWS, IN), yv = view_make(y, DTYPE_F32, ROWS, IN), av = yv;
    struct epilogue e = { .act = ACT_NONE };
    struct linear *first = NULL, *second = NULL;
    struct exec x;
    rkf_error err;
    exec_open(&x, d, 1);
    x.observe = true;
    assert_int_equal(d->linear->prepare(&x, &part, 1, DTYPE_I8, &first, &err), RKF_OK);
    for (uint32_t i = 0; i < IN; i++)
        w[7 * IN + i] *= 50; /* its column 7, which is the second's channel 7 */
    assert_int_equal(d->linear->prepare(&x, &part, 1, DTYPE_I8, &second, &err), RKF_OK);
    assert_int_equal(d->linear->apply_pair(&x, second, &e, first, &e, xv, yv, &err), RKF_OK);
    x.observe = false;
    av.p = again;
    assert_int_equal(d->linear->apply_pair(&x, second, &e, first, &e, xv, av, &err), RKF_OK);
    assert_memory_equal(y, again, ROWS * IN * sizeof *y);
    settle(&x, second);
    assert_int_equal(d->linear->apply_pair(&x, second, &e, first, &e, xv, av, &err), RKF_OK);
    assert_memory_equal(y, again, ROWS * IN * sizeof *y); /* nothing stood out */
    settle(&x, first);
    assert_int_equal(d->linear->apply_pair(&x, second, &e, first, &e, xv, av, &err), RKF_OK);
    assert_true(memcmp(y, again, ROWS * IN * sizeof *y) != 0);
    d->linear->release(first), d->linear->release(second);
    exec_close(&x);
    free(in), free(w), free(y), free(again);
}

static void test_pair(void **state)
{
    (void)state;
    each_level(check_pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_outliers), cmocka_unit_test(test_pair) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
