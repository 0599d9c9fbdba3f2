/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers on the simulated NPU: every platform, type, lane and epilogue against exact arithmetic; the cores and
 * masks that were used; weights held once; nothing left behind. */
#include "rknn_test_util.h"

/* f16 products are exact in f32 and summed in f32 or better; int8 is exact up to the final scaling. */
static const double tolerance = 2e-5;

static void run_layer(struct bed *b, struct exec *x, struct layer *l, uint64_t *seed)
{
    uint32_t width = layer_width(l);
    double *want_sum, *want;
    struct linear *h = NULL;
    rkf_error err = { 0 };
    layer_make(l, seed);
    layer_reference(l, &want_sum, &want);
    float *y = malloc((size_t)l->rows * width * sizeof *y + 4),
          *sum = malloc((size_t)l->rows * width * sizeof *sum + 4);
    if (layer_prepare(x, l, &h, &err))
        fail_msg("%s", err.message);
    x->cores_used = 0;
    if (layer_apply(x, l, h, y, l->use_sum ? sum : NULL, &err))
        fail_msg("%s", err.message);
    double worst = worst_difference(y, want, (size_t)l->rows * width);
    if (l->use_sum)
        worst = fmax(worst, worst_difference(sum, want_sum, (size_t)l->rows * width));
    if (worst > (l->use_norm ? 10 : 1) * tolerance)
        fail_msg("%u x %u x %u, type %s, lane %s: off by %g", l->rows, l->in, l->out, dtype_name(l->type),
                 core_set_name(x->cores), worst);
    assert_int_equal(x->cores_failed, 0);
    assert_true(x->cores_used != 0 && !(x->cores_used & ~x->cores));
    b->npu->linear->release(h);
    free(y);
    free(sum);
    free(want);
    free(want_sum);
    layer_free(l);
}

static void every_platform_type_and_lane(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = { { 1, 32, 16 },  { 1, 1, 1 },     { 5, 37, 19 },   { 9, 64, 192 },
                                          { 33, 100, 7 }, { 260, 96, 50 }, { 520, 48, 130 } };
    uint64_t seed = 1;
    for (int p = 0; p < N_PLATFORMS; p++) {
        struct bed b;
        bed_open(&b, all_platforms[p]);
        uint32_t cores = platform_by_name(all_platforms[p], 6)->cores;
        for (int type = 0; type < 2; type++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                for (uint8_t lane = 1; lane < 1 << cores; lane++) {
                    struct exec x;
                    struct layer l = { .rows = shapes[s][0],
                                       .in = shapes[s][1],
                                       .out = shapes[s][2],
                                       .type = type ? DTYPE_I8 : DTYPE_F16 };
                    lane_open(&x, &b, lane, 1 + lane % 2);
                    run_layer(&b, &x, &l, &seed);
                    lane_close(&x);
                }
        bed_end(&b);
    }
}

static void every_epilogue(void **state)
{
    (void)state;
    uint64_t seed = 2;
    struct bed b;
    struct exec x;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 7, 2);
    for (uint32_t bits = 0; bits < 128; bits++) {
        struct layer l = { .rows = 300, .in = 40, .out = 70, .type = bits & 1 ? DTYPE_I8 : DTYPE_F16 };
        l.gated = bits & 2;
        l.use_residual = bits & 4;
        l.use_norm = bits & 8;
        l.use_sum = bits & 16;
        l.residual_is_y = l.use_residual && (bits & 32);
        l.act = bits & 64 ? ACT_GELU : ACT_NONE;
        l.rms = (bits & 12) == 12;
        run_layer(&b, &x, &l, &seed);
    }
    lane_close(&x);
    bed_end(&b);
}

static void wide_and_deep_layers_are_cut(void **state)
{
    (void)state;
    static const uint32_t shapes[][3] = { { 3, 4096, 40 },  { 3, 4100, 40 },   { 2, 8200, 24 },
                                          { 2, 11000, 24 }, { 260, 4200, 20 }, { 2, 24, 8200 } };
    static const char *const platforms[] = { "rk3588", "rk3576", "rk3566" };
    uint64_t seed = 3;
    for (int p = 0; p < 3; p++) {
        struct bed b;
        bed_open(&b, platforms[p]);
        uint8_t all = (uint8_t)((1u << platform_by_name(platforms[p], 6)->cores) - 1);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            struct exec x;
            struct layer l = { .rows = shapes[s][0],
                               .in = shapes[s][1],
                               .out = shapes[s][2],
                               .type = (s + (size_t)p) % 2 ? DTYPE_I8 : DTYPE_F16,
                               .use_residual = s % 2,
                               .act = ACT_RELU };
            lane_open(&x, &b, s % 3 ? all : 1, 2);
            run_layer(&b, &x, &l, &seed);
            lane_close(&x);
        }
        bed_end(&b);
    }
    struct bed b;
    struct exec x;
    struct layer l = { .rows = 2, .in = 4200, .out = 8300, .type = DTYPE_F16 }; /* both ways */
    bed_open(&b, "rk3576");
    lane_open(&x, &b, 3, 2);
    run_layer(&b, &x, &l, &seed);
    lane_close(&x);
    bed_end(&b);
}

static void unshared_memory_is_imported(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct bed b;
    bed_open_with(&b, "rk3588", "share=no", 0);
    for (uint8_t lane = 1; lane < 8; lane++) {
        struct exec x;
        struct layer l = { .rows = 20, .in = 64, .out = 96, .type = lane & 1 ? DTYPE_F16 : DTYPE_I8 };
        lane_open(&x, &b, lane, 1);
        run_layer(&b, &x, &l, &seed);
        lane_close(&x);
    }
    bed_end(&b);
}

static void weights_of_all_float_types(void **state)
{
    (void)state;
    struct bed b;
    struct exec x;
    uint64_t seed = 5;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 2, 1);
    enum { ROWS = 4, IN = 40, OUT = 24 };
    for (int k = 0; k < 2; k++) {
        uint16_t w[OUT * IN], bias[OUT];
        struct layer l = { .rows = ROWS, .in = IN, .out = OUT, .type = DTYPE_F16 };
        double *sum, *want;
        float y[ROWS * OUT];
        struct linear *h = NULL;
        struct epilogue none = { 0 };
        layer_make(&l, &seed);
        for (int i = 0; i < OUT * IN; i++) {
            w[i] = k ? f32_to_bf16(l.w[i]) : f32_to_f16(l.w[i]);
            l.w[i] = k ? bf16_to_f32(w[i]) : f16_to_f32(w[i]);
        }
        for (int i = 0; i < OUT; i++) {
            bias[i] = k ? f32_to_bf16(l.bias[i]) : f32_to_f16(l.bias[i]);
            l.bias[i] = k ? bf16_to_f32(bias[i]) : f16_to_f32(bias[i]);
        }
        enum dtype type = k ? DTYPE_BF16 : DTYPE_F16;
        struct linear_part part = { view_make(w, type, OUT, IN), bias, type };
        layer_reference(&l, &sum, &want);
        assert_int_equal(b.npu->linear->prepare(&x, &part, 1, DTYPE_F16, &h, &b.err), RKF_OK);
        assert_int_equal(b.npu->linear->apply(&x, h, view_make(l.x, DTYPE_F32, ROWS, IN), &none,
                                              view_make(y, DTYPE_F32, ROWS, OUT), &b.err),
                         RKF_OK);
        assert_true(worst_difference(y, want, ROWS * OUT) < tolerance);
        b.npu->linear->release(h);
        free(sum);
        free(want);
        layer_free(&l);
    }
    lane_close(&x);
    bed_end(&b);
}

/* f16 ends at 65504; activations and weights beyond are scaled, not lost. */
static void large_values_do_not_overflow(void **state)
{
    (void)state;
    struct bed b;
    struct exec x;
    uint64_t seed = 6;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 1, 1);
    struct layer l = { .rows = 3, .in = 33, .out = 20, .type = DTYPE_F16 };
    layer_make(&l, &seed);
    for (uint32_t i = 0; i < l.in; i++) {
        l.x[i] *= 1e6f;
        l.w[l.in + i] *= 1e7f;
    }
    double want[60];
    float y[60];
    for (uint32_t r = 0; r < l.rows; r++)
        for (uint32_t c = 0; c < l.out; c++) {
            want[r * l.out + c] = l.bias[c];
            for (uint32_t i = 0; i < l.in; i++)
                want[r * l.out + c] += (double)l.x[r * l.in + i] * l.w[c * l.in + i];
        }
    struct linear *h = NULL;
    assert_int_equal(layer_prepare(&x, &l, &h, &b.err), RKF_OK);
    assert_int_equal(layer_apply(&x, &l, h, y, NULL, &b.err), RKF_OK);
    for (uint32_t r = 0; r < l.rows; r++)
        for (uint32_t c = 0; c < l.out; c++) {
            double scale = fabs(want[r * l.out + c]) + (r ? 1 : 1e6) * (c == 1 ? 1e7 : 1);
            assert_true(fabs(y[r * l.out + c] - want[r * l.out + c]) < 2e-3 * scale);
        }
    b.npu->linear->release(h);
    layer_free(&l);
    lane_close(&x);
    bed_end(&b);
}

static void jobs_carry_the_masks_of_their_lane(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int p = 0; p < N_PLATFORMS; p++) {
        uint32_t cores = platform_by_name(all_platforms[p], 6)->cores;
        for (uint8_t lane = 1; lane < 1 << cores; lane++) {
            struct bed b;
            struct exec x;
            struct layer l = { .rows = 40, .in = 64, .out = 192, .type = DTYPE_F16 };
            bed_open(&b, all_platforms[p]);
            lane_open(&x, &b, lane, 1);
            run_layer(&b, &x, &l, &seed);
            assert_int_equal(x.cores_used, lane);
            struct rknnsim_counters c = sim_counters();
            for (uint32_t mask = 0; mask < 8; mask++) {
                bool single = mask == 1 || mask == 2 || mask == 4;
                if (single && (mask & lane))
                    assert_true(c.jobs_by_mask[mask] > 0);
                else
                    assert_int_equal(c.jobs_by_mask[mask], 0);
            }
            lane_close(&x);
            bed_end(&b);
        }
    }
}

/* Lanes 0, 1, 2, 0_1 and all use one copy of the weights. */
static void lanes_share_the_weights(void **state)
{
    (void)state;
    static const uint8_t lanes[] = { 1, 2, 4, 3, 7 };
    for (int share = 0; share < 2; share++) {
        struct bed b;
        struct exec x;
        uint64_t seed = 8;
        struct layer l = { .rows = 4, .in = 1024, .out = 1536, .type = DTYPE_F16 };
        double *sum, *want;
        float *y = malloc(sizeof *y * l.rows * l.out);
        struct linear *h = NULL;
        bed_open_with(&b, "rk3588", share ? "share=yes" : "share=no", 0);
        layer_make(&l, &seed);
        layer_reference(&l, &sum, &want);
        lane_open(&x, &b, 1, 1);
        assert_int_equal(layer_prepare(&x, &l, &h, &b.err), RKF_OK);
        size_t weights = (size_t)l.in * l.out * 2;
        assert_true(b.npu->linear->bytes(h) < weights * 1.02 + 1e5);
        for (size_t i = 0; i < sizeof lanes; i++) {
            x.cores = lanes[i];
            assert_int_equal(layer_apply(&x, &l, h, y, NULL, &b.err), RKF_OK);
            assert_true(worst_difference(y, want, (size_t)l.rows * l.out) < tolerance);
        }
        assert_true(sim_counters().memory_bytes < weights * 1.2); /* A and C of nine contexts beside */
        b.npu->linear->release(h);
        lane_close(&x);
        layer_free(&l);
        free(y);
        free(sum);
        free(want);
        bed_end(&b);
    }
}

static void contexts_are_kept_and_bounded(void **state)
{
    (void)state;
    struct bed b;
    struct exec x;
    uint64_t seed = 9;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 1, 1);
    struct layer l = { .rows = 30, .in = 64, .out = 64, .type = DTYPE_F16 };
    struct linear *h = NULL;
    float y[30 * 64];
    layer_make(&l, &seed);
    assert_int_equal(layer_prepare(&x, &l, &h, &b.err), RKF_OK);
    assert_int_equal(layer_apply(&x, &l, h, y, NULL, &b.err), RKF_OK);
    uint64_t made = sim_counters().contexts_created;
    for (int i = 0; i < 5; i++)
        assert_int_equal(layer_apply(&x, &l, h, y, NULL, &b.err), RKF_OK);
    assert_int_equal(sim_counters().contexts_created, made); /* kept */
    b.npu->linear->release(h);
    layer_free(&l);
    for (uint32_t i = 0; i < 150; i++) { /* 150 shapes */
        l = (struct layer){ .rows = 1, .in = 32, .out = 16 + 16 * i, .type = DTYPE_F16 };
        run_layer(&b, &x, &l, &seed);
    }
    assert_true(sim_counters().matmul_contexts <= 110);
    lane_close(&x);
    bed_end(&b);
}

struct client {
    struct bed *b;
    const struct layer *l;
    const struct linear *h;
    const double *want;
    uint8_t cores;
    int runs;
    double worst;
    rkf_status rc;
};

static void *client_main(void *arg)
{
    struct client *c = arg;
    struct exec x;
    rkf_error err;
    float *y = malloc(sizeof *y * c->l->rows * c->l->out);
    lane_open(&x, c->b, c->cores, 1);
    for (int i = 0; i < c->runs && !c->rc; i++) {
        memset(y, 0xff, sizeof *y * c->l->rows * c->l->out);
        c->rc = layer_apply(&x, c->l, c->h, y, NULL, &err);
        c->worst = fmax(c->worst, worst_difference(y, c->want, (size_t)c->l->rows * c->l->out));
    }
    lane_close(&x);
    free(y);
    return NULL;
}

/* Two execs on every lane at once, overlapping lanes too, on different layers: each gets its own result. */
static void execs_run_side_by_side(void **state)
{
    (void)state;
    enum { CLIENTS = 8, LAYERS = 3 };
    static const uint8_t lanes[CLIENTS] = { 1, 1, 2, 2, 4, 4, 3, 7 };
    struct bed b;
    struct exec x;
    uint64_t seed = 10;
    struct layer l[LAYERS];
    struct linear *h[LAYERS];
    double *sum[LAYERS], *want[LAYERS];
    struct client c[CLIENTS];
    pthread_t t[CLIENTS];
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 1, 1);
    for (int i = 0; i < LAYERS; i++) {
        l[i] = (struct layer){
            .rows = 20 + 90 * (uint32_t)i, .in = 64, .out = 96, .type = i == 2 ? DTYPE_I8 : DTYPE_F16
        };
        layer_make(&l[i], &seed);
        layer_reference(&l[i], &sum[i], &want[i]);
        assert_int_equal(layer_prepare(&x, &l[i], &h[i], &b.err), RKF_OK);
    }
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){ &b, &l[i % LAYERS], h[i % LAYERS], want[i % LAYERS], lanes[i], 12, 0, RKF_OK };
        assert_int_equal(pthread_create(&t[i], NULL, client_main, &c[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(c[i].rc, RKF_OK);
        assert_true(c[i].worst < tolerance);
    }
    assert_int_equal(sim_counters().concurrent_calls, 0);
    for (int i = 0; i < LAYERS; i++) {
        b.npu->linear->release(h[i]);
        layer_free(&l[i]);
        free(sum[i]);
        free(want[i]);
    }
    lane_close(&x);
    bed_end(&b);
}

static void wrong_use_is_refused(void **state)
{
    (void)state;
    struct bed b;
    struct exec x;
    float w[64] = { 0 };
    struct linear *h = NULL;
    bed_open(&b, "rk3588");
    lane_open(&x, &b, 1, 1);
    struct linear_part part = { view_make(w, DTYPE_F32, 8, 8), NULL, DTYPE_F32 };
    assert_int_equal(b.npu->linear->prepare(&x, &part, 1, DTYPE_F32, &h, &b.err), RKF_UNSUPPORTED);
    assert_non_null(strstr(b.err.message, "use f16 or int8"));
    assert_int_equal(b.npu->linear->prepare(&x, &part, 1, DTYPE_F16, &h, &b.err), RKF_OK);
    struct epilogue none = { 0 }, gated = { .gated = true };
    struct view in = view_make(w, DTYPE_F32, 2, 8), y = view_make(w + 32, DTYPE_F32, 2, 8);
    struct view narrow = view_make(w, DTYPE_F32, 2, 7);
    assert_int_equal(b.npu->linear->apply(&x, h, narrow, &none, y, &b.err), RKF_INTERNAL);
    assert_int_equal(b.npu->linear->apply(&x, h, in, &gated, y, &b.err), RKF_INTERNAL);
    in.rows = 0;
    assert_int_equal(b.npu->linear->apply(&x, h, in, &none, y, &b.err), RKF_OK);
    b.npu->linear->release(h);
    b.npu->linear->release(NULL);
    lane_close(&x);
    bed_end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_platform_type_and_lane),
        cmocka_unit_test(every_epilogue),
        cmocka_unit_test(wide_and_deep_layers_are_cut),
        cmocka_unit_test(unshared_memory_is_imported),
        cmocka_unit_test(weights_of_all_float_types),
        cmocka_unit_test(large_values_do_not_overflow),
        cmocka_unit_test(jobs_carry_the_masks_of_their_lane),
        cmocka_unit_test(lanes_share_the_weights),
        cmocka_unit_test(contexts_are_kept_and_bounded),
        cmocka_unit_test(execs_run_side_by_side),
        cmocka_unit_test(wrong_use_is_refused),
    };
    sim_load();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
