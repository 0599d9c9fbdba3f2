/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel of every instruction set that this machine has against the portable one, over random sizes with tails;
 * `--bench` times them too: nanoseconds per call, the best of many short runs, and how much faster than portable.
 *
 * A case fills its inputs from one random state for both tables, runs one kernel, and says what it wrote; the
 * differences may be `tolerance` times the size of what was summed. 0: equal to the bit.
 */
#include "cpu_test_util.h"

#include "base/thread.h"

enum { MAX = 1 << 16, OUT_GUARD = 64 };

/* What one run of a kernel reads and writes. */
struct sample {
    float *a, *b, *c; // [MAX] inputs, c scratch
    float *out;       // [MAX] output
    uint32_t n;       /* of out that count */
    double size;      /* of the sums behind out */
    uint32_t rows, cols, k;
    size_t stride;
    bool packed; /* bench: what run packs has been packed by a call before */
};

struct kernel_case {
    const char *name;
    double tolerance;
    /* sizes: random for checks; fixed, from real layers, for the bench */
    void (*sizes)(struct sample *s, bool bench);
    void (*run)(const struct kernels *k, struct sample *s);
    double half; /* tolerance of tables that multiply in f16, times the root of what was summed; 0: the same */
};

static void sizes_row(struct sample *s, bool bench)
{
    s->n = s->cols = bench ? 384 : 1 + random_below(random_below(2) ? 70 : 900);
    s->size = 1;
}

/* Two blocks of a softmax: the weights, as they come out after the second. */
static void soften(const struct kernels *k, struct sample *s, float scale, bool biased)
{
    float max = -INFINITY, sum = 0, keep[2] = { 1, 1 };
    uint32_t half = (s->cols + 1) / 2;
    for (uint32_t i = 0; i < s->cols; i++)
        s->out[i] = s->a[i] * 20;
    for (uint32_t i = 0; i < 2 && i < s->cols; i++)
        k->soften(&(struct soften){ .s = s->out + (i ? half : 0),
                                    .lds = 1,
                                    .rows = 1,
                                    .n = i ? s->cols - half : half,
                                    .scale = scale,
                                    .bias = biased ? s->b : NULL,
                                    .max = &max,
                                    .sum = &sum,
                                    .keep = &keep[i] });
    for (uint32_t i = 0; i < s->cols; i++)
        s->out[i] *= (i < half ? keep[1] : 1) / sum;
}

static void run_soften(const struct kernels *k, struct sample *s)
{
    soften(k, s, s->cols % 2 ? 0.37f : -0.37f, false);
}

static void run_soften_biased(const struct kernels *k, struct sample *s)
{
    soften(k, s, 0.37f, true);
}

static void run_scale(const struct kernels *k, struct sample *s)
{
    memcpy(s->out, s->a, s->cols * sizeof *s->a);
    k->scale(s->out, 0.37f, s->cols);
}

static void run_softmax(const struct kernels *k, struct sample *s)
{
    memcpy(s->out, s->a, s->cols * sizeof *s->a);
    k->softmax(s->out, s->cols);
}

static void run_dot(const struct kernels *k, struct sample *s)
{
    s->out[0] = k->dot(s->a, s->b, s->cols);
    s->n = 1;
    s->size = s->cols;
}

static void run_add(const struct kernels *k, struct sample *s)
{
    memcpy(s->out, s->a, s->cols * sizeof *s->a);
    k->add(s->out, s->b, -1.7f, s->cols);
}

#define ACTIVATE_CASE(NAME, ACT)                                                                                       \
    static void run_activate_##NAME(const struct kernels *k, struct sample *s)                                         \
    {                                                                                                                  \
        for (uint32_t i = 0; i < s->cols; i++)                                                                         \
            s->c[i] = s->a[i] * 8;                                                                                     \
        k->activate(ACT, s->c, s->out, s->cols);                                                                       \
    }
ACTIVATE_CASE(gelu, ACT_GELU)
ACTIVATE_CASE(gelu_tanh, ACT_GELU_TANH)
ACTIVATE_CASE(silu, ACT_SILU)
ACTIVATE_CASE(tanh, ACT_TANH)
ACTIVATE_CASE(mish, ACT_MISH)

static void run_norm_layer(const struct kernels *k, struct sample *s)
{
    struct norm n = { NORM_LAYER, s->cols, 1e-5f, s->b, s->b + 1 };
    k->norm(&n, s->a, s->out);
    s->size = 4;
}

static void run_norm_rms(const struct kernels *k, struct sample *s)
{
    struct norm n = { NORM_RMS, s->cols, 1e-5f, s->b, NULL };
    k->norm(&n, s->a, s->out);
    s->size = 4;
}

static void run_gather(const struct kernels *k, struct sample *s)
{
    uint16_t half[1024];
    for (uint32_t i = 0; i < s->cols; i++)
        half[i] = f32_to_f16(s->a[i]);
    k->gather(s->out, half, DTYPE_F16, 1, s->cols, true);
    for (uint32_t i = 0; i < s->cols; i++)
        half[i] = f32_to_bf16(s->a[i]);
    k->gather(s->out, half, DTYPE_BF16, 1, s->cols, false);
    k->gather(s->out, s->b, DTYPE_F32, 3, s->cols, false);
}

static void sizes_rotate(struct sample *s, bool bench)
{
    s->n = s->cols = bench ? 64 : 2 + 2 * random_below(70);
    s->size = 1;
}

static void run_rotate(const struct kernels *k, struct sample *s)
{
    memcpy(s->out, s->a, s->cols * sizeof *s->a);
    k->rotate(s->out, s->b, s->b + s->cols, s->cols, s->cols % 3 == 0);
}

static void sizes_matrix(struct sample *s, bool bench)
{
    s->rows = bench ? 64 : 1 + random_below(30);
    s->cols = bench ? 64 : 1 + random_below(80);
    s->k = bench ? 64 : 1 + random_below(70);
    s->stride = s->cols + random_below(3);
    s->n = s->rows * (uint32_t)s->stride;
    s->size = s->k;
}

static void run_matmul(const struct kernels *k, struct sample *s)
{
    struct matmul m = { .a = s->a,
                        .b = s->b,
                        .c = s->out,
                        .lda = s->k + 1,
                        .ldb = s->cols + 2,
                        .ldc = s->stride,
                        .rows = s->rows,
                        .cols = s->cols,
                        .k = s->k };
    k->matmul(&m);
    m.keep = s->b + 40000;
    m.scale = s->b + 50000;
    k->matmul(&m);
}

/* Rows of dst are padded with zeros up to a multiple of the lanes; what lies between them and the stride is let be. */
static void run_transpose(const struct kernels *k, struct sample *s)
{
    size_t ldd = (s->rows + KERNEL_MAX_LANES - 1) / KERNEL_MAX_LANES * KERNEL_MAX_LANES + 1;
    s->n = (uint32_t)(s->cols * ldd);
    assert_true(s->n <= MAX);
    k->transpose(s->a, s->cols + 3, s->rows, s->cols, s->out, ldd);
    for (uint32_t c = 0; c < s->cols; c++)
        for (uint32_t r = s->rows; r < (s->rows + k->lanes - 1) / k->lanes * k->lanes; r++) {
            assert_true(s->out[c * ldd + r] == 0);
            s->out[c * ldd + r] = 1;
        }
    for (uint32_t c = 0; c < s->cols; c++)
        for (uint32_t r = s->rows; r < ldd; r++)
            s->out[c * ldd + r] = 1;
}

static void sizes_finish(struct sample *s, bool bench)
{
    s->rows = bench ? 12 : 1 + random_below(14);
    s->cols = bench ? 32 : random_below(2) ? 16 + 8 * random_below(3) : 1 + random_below(KERNEL_MAX_NR);
    s->stride = s->cols + random_below(3);
    s->n = s->rows * (uint32_t)s->stride;
    s->size = 4;
}

static void finish(const struct kernels *k, struct sample *s, enum activation act, bool up, bool residual)
{
    struct finish f = { .c = s->a,
                        .up = up ? s->b : NULL,
                        .bias = s->b + 5000,
                        .bias_up = s->b + 6000,
                        .ldc = KERNEL_MAX_NR,
                        .rows = s->rows,
                        .cols = s->cols,
                        .act = act,
                        .residual = residual ? s->out : NULL,
                        .residual_stride = s->stride,
                        .y = s->out,
                        .stride = s->stride };
    k->finish(&f);
}

static void run_finish_plain(const struct kernels *k, struct sample *s)
{
    finish(k, s, ACT_NONE, false, false);
}

static void run_finish_residual(const struct kernels *k, struct sample *s)
{
    finish(k, s, ACT_NONE, false, true);
}

static void run_finish_gelu(const struct kernels *k, struct sample *s)
{
    finish(k, s, ACT_GELU, false, false);
}

static void run_finish_gated(const struct kernels *k, struct sample *s)
{
    finish(k, s, ACT_SILU, true, s->rows & 1);
}

static void sizes_channels(struct sample *s, bool bench)
{
    s->rows = bench ? 12 : 1 + random_below(KERNEL_MAX_MR);
    s->k = 1 + random_below(4);
    s->n = s->rows * KERNEL_MAX_NR;
    s->size = 2 * s->k;
}

/* Panels of any width that a table may have. */
static void run_add_channels(const struct kernels *k, struct sample *s)
{
    uint32_t nr = s->k % 2 ? 24 : 16 << s->rows % 3;
    struct channels p = { .x = s->a, .stride = 5, .w = s->b, .c = s->out, .n = s->k, .rows = s->rows, .nr = nr };
    k->add_channels(&p);
}

/* ---- tiles: packed and multiplied by each table's own layout; nr and mr differ, so that out is [rows][cols] */

static void sizes_tile(struct sample *s, bool bench)
{
    s->rows = bench ? 12 : 1 + random_below(KERNEL_MAX_MR);
    s->cols = bench ? 32 : 1 + random_below(KERNEL_MAX_NR);
    s->k = bench ? 384 : 1 + random_below(random_below(2) ? 20 : 300);
    s->n = s->rows * s->cols;
    s->size = s->k;
}

static void run_tile(const struct kernels *k, struct sample *s, enum gemm_type type)
{
    const struct gemm *g = &k->gemm[type];
    static _Alignas(64) uint8_t b[MAX * 4], a[MAX * 4];
    static _Alignas(64) float c[KERNEL_MAX_MR * KERNEL_MAX_NR], scale[KERNEL_MAX_NR];
    static int32_t wsum[KERNEL_MAX_NR];
    static struct row_quant rq[KERNEL_MAX_MR];
    uint32_t padded = gemm_depth(g, s->k);
    size_t bytes = (size_t)padded * g->nr * (type == GEMM_F32 ? 4 : type == GEMM_I8 ? 1 : 2);
    for (uint32_t n = 0; n < s->cols; n += g->nr) {
        uint32_t cols = s->cols - n < g->nr ? s->cols - n : g->nr;
        if (!s->packed)
            gemm_pack_b(g, s->b + (size_t)n * s->k, s->k, cols, s->k, b, bytes, scale, wsum);
        for (uint32_t r = 0; r < s->rows; r += g->mr) {
            uint32_t rows = s->rows - r < g->mr ? s->rows - r : g->mr;
            const float *x = s->a + (size_t)r * (s->k + 1);
            bool lone = (s->rows + s->cols) % 2; /* it must not matter */
            struct tile t = { .a = x, .lda = s->k + 1, .b = b, .k = s->k, .rows = rows, .c = c, .lone = lone };
            if (g->pack_a) {
                if (!s->packed)
                    gemm_pack_a(g, x, s->k + 1, rows, s->k, a, rq);
                t.a = a;
                t.lda = t.k = padded;
            }
            t.rq = rq;
            t.scale = scale;
            t.wsum = wsum;
            bool entered = gemm_enter(g, rows);
            gemm_tile(g, &t);
            if (entered)
                g->leave();
            for (uint32_t i = 0; i < rows; i++)
                memcpy(s->out + (size_t)(r + i) * s->cols + n, c + (size_t)i * g->nr, cols * sizeof *c);
        }
    }
}

static void run_tile_f32(const struct kernels *k, struct sample *s)
{
    run_tile(k, s, GEMM_F32);
}

static void run_tile_f16(const struct kernels *k, struct sample *s)
{
    run_tile(k, s, GEMM_F16);
}

/* Every other row far beyond f16's range, or far below. */
static void run_tile_f16_outliers(const struct kernels *k, struct sample *s)
{
    for (uint32_t r = 0; !s->packed && r < s->rows; r++)
        for (uint32_t i = 0; i < s->k; i++)
            s->a[r * (s->k + 1) + i] *= r % 2 ? 0x1p40f : 0x1p-40f;
    run_tile(k, s, GEMM_F16);
    for (uint32_t i = 0; i < s->rows * s->cols; i++)
        s->out[i] *= i / s->cols % 2 ? 0x1p-40f : 0x1p40f;
}

/* Where only the weights are bf16, x is made so first: then both tables multiply the same numbers. */
static void run_tile_bf16(const struct kernels *k, struct sample *s)
{
    for (uint32_t i = 0; !s->packed && i < s->rows * (s->k + 1); i++)
        s->a[i] = bf16_to_f32(f32_to_bf16(s->a[i]));
    run_tile(k, s, GEMM_BF16);
}

static void run_tile_i8(const struct kernels *k, struct sample *s)
{
    run_tile(k, s, GEMM_I8);
}

/* Every other row and column so small that 255 over its range would be infinite. */
static void run_tile_i8_tiny(const struct kernels *k, struct sample *s)
{
    for (uint32_t i = 0; !s->packed && i < s->rows * (s->k + 1); i++)
        s->a[i] *= i / (s->k + 1) % 2 ? 1e-38f : 1;
    for (uint32_t i = 0; !s->packed && i < s->cols * s->k; i++)
        s->b[i] *= i / s->k % 2 ? 1e-39f : 1;
    run_tile(k, s, GEMM_I8);
}

/* Whole columns of weights that are the largest there are, and of one sign; rows of x likewise: no sum may saturate. */
static void run_tile_i8_largest(const struct kernels *k, struct sample *s)
{
    for (uint32_t i = 0; !s->packed && i < s->rows * (s->k + 1); i++)
        s->a[i] = i / (s->k + 1) % 3 == 0 ? 1 : i / (s->k + 1) % 3 == 1 ? -1 : i % 5 < 2 ? 1 : s->a[i];
    for (uint32_t i = 0; !s->packed && i < s->cols * s->k; i++)
        s->b[i] = i / s->k % 3 == 0 ? 1 : i / s->k % 3 == 1 ? -1 : i % 7 < 3 ? -1 : s->b[i];
    run_tile(k, s, GEMM_I8);
}

/* Packing alone, of what the portable layout shares with all: the quantised row and its scale. */
static void run_pack_a_i8(const struct kernels *k, struct sample *s)
{
    const struct gemm *g = &k->gemm[GEMM_I8];
    static _Alignas(64) uint8_t a[MAX];
    struct row_quant rq;
    g->pack_a(s->a, s->cols, 1, s->cols, a, (s->cols + 3u) / 4 * 4, &rq);
    s->n = 1;
    s->out[0] = rq.scale;
}

static const struct kernel_case cases[] = {
    { "tile f32", 4e-7, sizes_tile, run_tile_f32 },
    /* 64 sums one after the other in f16, imitated number by number: up to 2.0e-3 off in 240,000 outputs */
    { "tile f16", 4e-7, sizes_tile, run_tile_f16, 3e-3 },
    { "tile f16 outliers", 4e-7, sizes_tile, run_tile_f16_outliers, 3e-3 },
    { "tile bf16", 4e-7, sizes_tile, run_tile_bf16 },
    { "tile int8", 0, sizes_tile, run_tile_i8 },
    { "tile int8 tiny", 0, sizes_tile, run_tile_i8_tiny },
    { "tile int8 largest", 0, sizes_tile, run_tile_i8_largest },
    { "pack x int8", 0, sizes_row, run_pack_a_i8 },
    { "finish plain", 1e-7, sizes_finish, run_finish_plain },
    { "finish residual", 1e-7, sizes_finish, run_finish_residual },
    { "finish gelu", 2e-7, sizes_finish, run_finish_gelu },
    { "finish silu gated", 2e-7, sizes_finish, run_finish_gated },
    { "add channels", 2e-7, sizes_channels, run_add_channels },
    { "matmul", 4e-7, sizes_matrix, run_matmul },
    { "transpose", 0, sizes_matrix, run_transpose },
    { "soften", 4e-7, sizes_row, run_soften },
    { "soften biased", 4e-7, sizes_row, run_soften_biased },
    { "scale", 0, sizes_row, run_scale },
    { "softmax", 2e-7, sizes_row, run_softmax },
    { "dot", 2e-7, sizes_row, run_dot },
    { "add", 2e-7, sizes_row, run_add },
    { "activate gelu", 1e-6, sizes_row, run_activate_gelu },
    { "activate gelu_tanh", 1e-6, sizes_row, run_activate_gelu_tanh },
    { "activate silu", 1e-6, sizes_row, run_activate_silu },
    { "activate tanh", 4e-7, sizes_row, run_activate_tanh },
    { "activate mish", 1e-6, sizes_row, run_activate_mish },
    { "norm layer", 4e-7, sizes_row, run_norm_layer },
    { "norm rms", 4e-7, sizes_row, run_norm_rms },
    { "gather", 4e-7, sizes_row, run_gather },
    { "rotate", 2e-7, sizes_rotate, run_rotate },
};
enum { N_CASES = sizeof cases / sizeof *cases };

static struct sample sample_new(void)
{
    struct sample s = { 0 };
    s.a = random_floats(MAX, 0, 0);
    s.b = random_floats(MAX, 0, 0);
    s.c = random_floats(MAX, 0, 0);
    s.out = random_floats(MAX + OUT_GUARD, 0, 0);
    return s;
}

static void sample_fill(struct sample *s)
{
    for (uint32_t i = 0; i < MAX; i++) {
        s->a[i] = random_float(-1, 1);
        s->b[i] = random_float(-1, 1);
        s->out[i] = random_float(-1, 1);
    }
}

static void sample_free(struct sample *s)
{
    free(s->a), free(s->b), free(s->c), free(s->out);
}

/* The portable table as k's weights are quantised. */
static struct kernels truth_for(const struct kernels *k)
{
    struct kernels truth;
    kernels_init_portable(&truth);
    if (k->gemm[GEMM_I8].quads)
        truth.gemm[GEMM_I8] = truth.gemm_quads_i8;
    return truth;
}

static void check_case(const struct kernel_case *c, const struct kernels *truth, const struct kernels *k,
                       struct sample *want, struct sample *got)
{
    c->sizes(want, false);
    float *a = got->a, *b = got->b, *scratch = got->c, *out = got->out;
    sample_fill(want);
    *got = *want;
    got->a = a, got->b = b, got->c = scratch, got->out = out;
    memcpy(a, want->a, MAX * sizeof *a);
    memcpy(b, want->b, MAX * sizeof *b);
    memcpy(out, want->out, MAX * sizeof *out);
    c->run(truth, want);
    c->run(k, got);
    assert_int_equal(want->n, got->n);
    bool half = c->half > 0 && k->gemm[GEMM_F16].pack_a;
    double tolerance = half ? c->half : c->tolerance, size = half ? sqrt(want->size) : want->size;
    for (uint32_t i = 0; i < MAX; i++) { /* beyond n: nothing may be written */
        double allowed = i < want->n ? tolerance * (size + fabsf(want->out[i])) : 0;
        if (!(fabs((double)got->out[i] - want->out[i]) <= allowed))
            fail_msg("%s of %s, rows %u cols %u k %u: [%u] is %.9g, not %.9g", c->name, k->isa, want->rows, want->cols,
                     want->k, i, (double)got->out[i], (double)want->out[i]);
    }
}

static void test_equal(void **state)
{
    (void)state;
    struct sample want = sample_new(), got = sample_new();
    for (int level = 0; level < cpu_n_levels; level++) {
        uint32_t flags;
        if (!level_here(&cpu_levels[level], &flags)) {
            print_message("%s: not on this machine\n", cpu_levels[level].name);
            continue;
        }
        struct kernels k;
        kernels_init_portable(&k);
        kernels_init_family(&k, flags);
        struct kernels truth = truth_for(&k);
        for (int c = 0; c < N_CASES; c++)
            for (int i = 0; i < 40; i++)
                check_case(&cases[c], &truth, &k, &want, &got);
        print_message("%s: %d kernels\n", cpu_levels[level].name, N_CASES);
    }
    sample_free(&want);
    sample_free(&got);
}

/* ---- bench */

static double best_ns(const struct kernel_case *c, const struct kernels *k, struct sample *s)
{
    double best = 1e30;
    s->packed = false;
    c->run(k, s);
    s->packed = true;
    uint64_t spent = 0;
    while (spent < 30 * 1000 * 1000) {
        enum { CALLS = 20 };
        int64_t start = time_now_ns();
        for (int i = 0; i < CALLS; i++) {
            uint32_t n = s->n;
            c->run(k, s);
            s->n = n;
        }
        int64_t ns = time_now_ns() - start;
        spent += (uint64_t)ns;
        best = (double)ns / CALLS < best ? (double)ns / CALLS : best;
    }
    return best;
}

static void bench(void)
{
    struct sample s = sample_new();
    sample_fill(&s);
    printf("%-20s", "ns per call");
    for (int level = 0; level < cpu_n_levels; level++)
        printf("%20s", cpu_levels[level].name);
    printf("\n");
    for (int c = 0; c < N_CASES; c++) {
        double portable = 0;
        printf("%-20s", cases[c].name);
        for (int level = 0; level < cpu_n_levels; level++) {
            struct kernels k;
            kernels_init_portable(&k);
            if (cpu_levels[level].needs & ~cpu_flags_detected())
                continue;
            kernels_init_family(&k, cpu_levels[level].allowed);
            cases[c].sizes(&s, true);
            double ns = best_ns(&cases[c], &k, &s);
            portable = level ? portable : ns;
            printf("%12.0f (%4.1fx)", ns, portable / ns);
        }
        printf("\n");
    }
    sample_free(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_equal) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!failed && argc > 1 && !strcmp(argv[1], "--bench"))
        bench();
    return failed;
}
