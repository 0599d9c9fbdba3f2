/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matmul of the simulator against the definition, written down here on its own: tables of tiles, layouts enumerated
 * element by element in the order in which they lie in memory, sums in integers or double.
 */
#include "simlib.h"

#include <math.h>

/* ---- the definition */

struct tiles { /* what the vendor's header documents */
    const char *platform;
    int k16, n16, a16, k8, n8, a8, segment;
};
static const struct tiles tiles[] = {
    { "rk3588", 32, 16, 8, 32, 32, 16, 8192 },   { "rk3576", 32, 16, 8, 32, 32, 16, 4096 },
    { "rk3568", 16, 8, 4, 32, 16, 8, 1 << 30 },  { "rk3566", 16, 8, 4, 32, 16, 8, 1 << 30 },
    { "rk3562", 32, 8, 8, 32, 16, 16, 1 << 30 },
};

/* order[i]: which element (row-major index) lies at place i. */
static size_t *order_ac(int rows, int cols, int group)
{
    size_t *order = malloc(sizeof *order * (size_t)rows * (size_t)cols), at = 0;
    for (int g = 0; g < cols / group; g++)
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < group; j++)
                order[at++] = (size_t)r * (size_t)cols + (size_t)(g * group + j);
    return order;
}

static size_t *order_b(int K, int N, int tk, int tn, int segment)
{
    size_t *order = malloc(sizeof *order * (size_t)K * (size_t)N), at = 0;
    for (int s = 0; s < K; s += segment) {
        int end = K - s > segment ? s + segment : K;
        for (int i = 0; i < N; i += tn)
            for (int j = s; j < end; j += tk)
                for (int n = i; n < i + tn; n++)
                    for (int k = j; k < j + tk; k++)
                        order[at++] = (size_t)k * (size_t)N + (size_t)n;
    }
    return order;
}

static size_t *order_plain(int rows, int cols)
{
    size_t n = (size_t)rows * (size_t)cols, *order = malloc(sizeof *order * n);
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    return order;
}

static size_t *order_transposed(int K, int N)
{
    size_t *order = malloc(sizeof *order * (size_t)K * (size_t)N), at = 0;
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++)
            order[at++] = (size_t)k * (size_t)N + (size_t)n;
    return order;
}

/* f16 values that are exact: small integers times 2^-3. Written as bits without a general conversion. */
static uint16_t half_of_eighths(int v)
{
    uint16_t sign = v < 0 ? 0x8000 : 0;
    int m = abs(v), e = 15 + 10 - 3;
    if (m == 0)
        return sign;
    while (m < 1024) {
        m <<= 1;
        e--;
    }
    return (uint16_t)(sign | e << 10 | (m & 1023));
}

static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? ldexp(m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexp(1024 + m, e - 25);
    return h & 0x8000 ? -v : v;
}

static int value_a(int m, int k)
{
    return (m * 31 + k * 7 + k / 64) % 61 - 30;
}

static int value_b(int k, int n)
{
    return (k * 13 + n * 17 + k * n % 11) % 59 - 29;
}

/* ---- one product */

struct shape {
    int M, K, N, type, b_layout, ac_layout;
};

static int type_size(int type)
{
    return type == SIM_I8 ? 1 : type == SIM_F16 ? 2 : 4;
}

static void put(uint8_t *p, size_t at, int type, int v)
{
    uint16_t h = half_of_eighths(v);
    if (type == SIM_I8)
        p[at] = (uint8_t)(int8_t)v;
    else
        memcpy(p + 2 * at, &h, 2);
}

static double get(const uint8_t *p, size_t at, int type)
{
    union {
        float f;
        int32_t i;
        uint16_t h;
    } v;
    memcpy(&v, p + at * (size_t)type_size(type), (size_t)type_size(type));
    return type == SIM_F32 ? v.f : type == SIM_I32 ? v.i : type == SIM_I8 ? (int8_t)p[at] : half_value(v.h);
}

struct product {
    struct shape s;
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_tensor_mem *mem[3];
    size_t *order[3];
};

static struct sim_matmul_info info_of(struct shape s)
{
    return (struct sim_matmul_info){
        .M = s.M, .K = s.K, .N = s.N, .type = s.type, .B_layout = (int16_t)s.b_layout, .AC_layout = (int16_t)s.ac_layout
    };
}

static bool is_f16(int type)
{
    return type == SIM_F16_F16_F32 || type == SIM_F16_F16_F16;
}

static void product_open(struct product *p, const struct tiles *t, struct shape s)
{
    struct sim_matmul_info info = info_of(s);
    bool f16 = is_f16(s.type);
    *p = (struct product){ .s = s };
    assert_int_equal(p_rknn_matmul_create(&p->ctx, &info, &p->io), 0);
    struct sim_matmul_tensor_attr *attr[3] = { &p->io.A, &p->io.B, &p->io.C };
    for (int i = 0; i < 3; i++) {
        p->mem[i] = p_rknn_create_mem(p->ctx, attr[i]->size);
        assert_non_null(p->mem[i]);
        assert_true(p->mem[i]->size >= attr[i]->size);
    }
    p->order[0] = s.ac_layout ? order_ac(s.M, s.K, f16 ? t->a16 : t->a8) : order_plain(s.M, s.K);
    p->order[1] = s.b_layout == 1   ? order_b(s.K, s.N, f16 ? t->k16 : t->k8, f16 ? t->n16 : t->n8, t->segment)
                  : s.b_layout == 2 ? order_transposed(s.K, s.N)
                                    : order_plain(s.K, s.N);
    p->order[2] = s.ac_layout ? order_ac(s.M, s.N, 4) : order_plain(s.M, s.N);
    for (size_t i = 0; i < (size_t)s.M * (size_t)s.K; i++)
        put(p->mem[0]->virt_addr, i, p->io.A.type,
            value_a((int)(p->order[0][i] / (size_t)s.K), (int)(p->order[0][i] % (size_t)s.K)));
    for (size_t i = 0; i < (size_t)s.K * (size_t)s.N; i++)
        put(p->mem[1]->virt_addr, i, p->io.B.type,
            value_b((int)(p->order[1][i] / (size_t)s.N), (int)(p->order[1][i] % (size_t)s.N)));
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_matmul_set_io_mem(p->ctx, p->mem[i], attr[i]), 0);
}

static void product_close(struct product *p)
{
    for (int i = 0; i < 3; i++) {
        if (p->mem[i])
            assert_int_equal(p_rknn_destroy_mem(p->ctx, p->mem[i]), 0);
        free(p->order[i]);
    }
    assert_int_equal(p_rknn_matmul_destroy(p->ctx), 0);
}

/* Sum over k of (a - za)(b - zb[n]), exact. */
static double exact(const struct shape *s, int m, int n, int za, int zb)
{
    int64_t sum = 0;
    for (int k = 0; k < s->K; k++)
        sum += (int64_t)(value_a(m, k) - za) * (value_b(k, n) - zb);
    return is_f16(s->type) ? (double)sum / 64 : (double)sum;
}

static void product_check(const struct product *p)
{
    const struct shape *s = &p->s;
    size_t n = (size_t)s->M * (size_t)s->N;
    for (size_t i = 0; i < n; i++) {
        size_t e = p->order[2][i];
        double want = exact(s, (int)(e / (size_t)s->N), (int)(e % (size_t)s->N), 0, 0);
        double got = get(p->mem[2]->virt_addr, i, p->io.C.type);
        double slack = s->type == SIM_F16_F16_F16 ? fabs(want) * 0x1p-11 : fabs(want) * 0x1p-24;
        if (s->type == SIM_I8_I8_I8)
            want = want > 127 ? 127 : want < -128 ? -128 : want;
        if (!(fabs(got - want) <= slack))
            fail_msg("C[%zu] = %g, not %g", e, got, want);
    }
}

static void run_shape(const struct tiles *t, struct shape s)
{
    struct product p;
    product_open(&p, t, s);
    assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
    product_check(&p);
    product_close(&p);
}

static void test_layouts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const struct tiles *t = &tiles[i];
        sim_begin(t->platform);
        for (int ac = 0; ac < 2; ac++)
            for (int b = 0; b < 3; b++) {
                if (b == 2 && (i == 2 || i == 3)) /* no transposed B there */
                    continue;
                run_shape(t, (struct shape){ 5, 3 * t->k16, 5 * t->n16, SIM_F16_F16_F32, b, ac });
                run_shape(t, (struct shape){ 1, t->k16, t->n16, SIM_F16_F16_F32, b, ac });
                run_shape(t, (struct shape){ 4, 3 * t->k8, 3 * t->n8, SIM_I8_I8_I32, b, ac });
                if (i < 2)
                    run_shape(t, (struct shape){ 3, 64, 48, SIM_F16_F16_F16, b, ac });
                if (i == 0) {
                    run_shape(t, (struct shape){ 2, 64, 96, SIM_I8_I8_F32, b, ac });
                    run_shape(t, (struct shape){ 2, 64, 96, SIM_I8_I8_I8, b, ac });
                }
            }
        sim_end();
    }
}

static void test_segments(void **state)
{
    (void)state;
    sim_begin("rk3588");
    run_shape(&tiles[0], (struct shape){ 2, 8192 + 512, 32, SIM_F16_F16_F32, 1, 1 });
    run_shape(&tiles[0], (struct shape){ 2, 10240, 32, SIM_I8_I8_I32, 1, 0 });
    sim_begin("rk3576");
    run_shape(&tiles[1], (struct shape){ 2, 10240, 32, SIM_F16_F16_F32, 1, 0 });
    run_shape(&tiles[1], (struct shape){ 2, 4096 + 32, 32, SIM_I8_I8_I32, 1, 1 });
    sim_begin("rk3568");
    run_shape(&tiles[2], (struct shape){ 2, 10240, 8, SIM_F16_F16_F32, 1, 1 });
    sim_end();
}

static void test_reported_dims(void **state)
{
    (void)state;
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    sim_begin("rk3588");
    struct sim_matmul_info info = info_of((struct shape){ 7, 96, 48, SIM_F16_F16_F32, 1, 1 });
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    assert_string_equal(io.A.name, "A");
    assert_string_equal(io.B.name, "B");
    assert_string_equal(io.C.name, "C");
    assert_int_equal(io.A.n_dims, 3);
    assert_memory_equal(io.A.dims, ((uint32_t[]){ 12, 7, 8 }), 12);
    assert_int_equal(io.A.size, 7 * 96 * 2);
    assert_int_equal(io.A.type, SIM_F16);
    assert_int_equal(io.B.n_dims, 4);
    assert_memory_equal(io.B.dims, ((uint32_t[]){ 3, 3, 16, 32 }), 16);
    assert_int_equal(io.B.size, 96 * 48 * 2);
    assert_memory_equal(io.C.dims, ((uint32_t[]){ 12, 7, 4 }), 12);
    assert_int_equal(io.C.size, 7 * 48 * 4);
    assert_int_equal(io.C.type, SIM_F32);
    info.B_layout = 2;
    info.AC_layout = 0;
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    assert_int_equal(io.A.n_dims, 2);
    assert_memory_equal(io.A.dims, ((uint32_t[]){ 7, 96 }), 8);
    assert_memory_equal(io.B.dims, ((uint32_t[]){ 48, 96 }), 8);
    assert_memory_equal(io.C.dims, ((uint32_t[]){ 7, 48 }), 8);
    info = info_of((struct shape){ 3, 128, 64, SIM_I4_I4_I16, 1, 1 });
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    assert_memory_equal(io.A.dims, ((uint32_t[]){ 4, 3, 32 }), 12);
    assert_int_equal(io.A.size, 3 * 128 / 2);
    assert_memory_equal(io.B.dims, ((uint32_t[]){ 1, 4, 64, 32 }), 16);
    assert_memory_equal(io.C.dims, ((uint32_t[]){ 8, 3, 8 }), 12);
    assert_int_equal(io.C.type, SIM_I16);
    sim_end();
}

/* i4: products of packed nibbles, the first element of a byte in its low half. */
static void test_i4(void **state)
{
    (void)state;
    enum { M = 2, K = 64, N = 64 };
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    sim_begin("rk3588");
    struct sim_matmul_info info = info_of((struct shape){ M, K, N, SIM_I4_I4_I16, 0, 0 });
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    struct sim_tensor_mem *mem[3] = { p_rknn_create_mem(ctx, io.A.size), p_rknn_create_mem(ctx, io.B.size),
                                      p_rknn_create_mem(ctx, io.C.size) };
    uint8_t *a = mem[0]->virt_addr, *b = mem[1]->virt_addr, *native = malloc(K * N / 2);
    for (int i = 0; i < M * K; i++)
        a[i / 2] = (uint8_t)(a[i / 2] | ((value_a(i / K, i % K) % 8) & 15) << (i % 2 * 4));
    for (int i = 0; i < K * N; i++)
        b[i / 2] = (uint8_t)(b[i / 2] | ((value_b(i / N, i % N) % 8) & 15) << (i % 2 * 4));
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[0], &io.A), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[1], &io.B), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[2], &io.C), 0);
    assert_int_equal(p_rknn_matmul_run(ctx), 0);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            int sum = 0;
            for (int k = 0; k < K; k++)
                sum += value_a(m, k) % 8 * (value_b(k, n) % 8);
            assert_int_equal(((int16_t *)mem[2]->virt_addr)[m * N + n], sum);
        }
    assert_int_equal(p_rknn_B_normal_layout_to_native_layout(b, native, K, N, &info), 0);
    size_t *order = order_b(K, N, 32, 64, 8192);
    for (size_t i = 0; i < K * N; i++) {
        size_t e = order[i];
        assert_int_equal(native[i / 2] >> (i % 2 * 4) & 15, b[e / 2] >> (e % 2 * 4) & 15);
    }
    free(order);
    free(native);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_destroy_mem(ctx, mem[i]), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    sim_end();
}

static void test_conversion_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const struct tiles *t = &tiles[i];
        int K = i == 1 ? 4096 + 64 : 96, N = 64;
        uint16_t *in = malloc((size_t)K * (size_t)N * 2), *out = malloc((size_t)K * (size_t)N * 2);
        struct sim_matmul_info info = info_of((struct shape){ 1, K, N, SIM_F16_F16_F32, 1, 1 });
        sim_begin(t->platform);
        for (int e = 0; e < K * N; e++)
            in[e] = (uint16_t)(e * 40503u >> 3);
        assert_int_equal(p_rknn_B_normal_layout_to_native_layout(in, out, K, N, &info), 0);
        size_t *order = order_b(K, N, t->k16, t->n16, t->segment);
        for (size_t e = 0; e < (size_t)K * (size_t)N; e++)
            assert_int_equal(out[e], in[order[e]]);
        free(order);
        assert_int_equal(p_rknn_B_normal_layout_to_native_layout(in, out, K + 1, N, &info), -5);
        assert_int_equal(p_rknn_B_normal_layout_to_native_layout(in, out, K, N + 1, &info), -5);
        assert_int_equal(p_rknn_B_normal_layout_to_native_layout(NULL, out, K, N, &info), -5);
        free(in);
        free(out);
        sim_end();
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *platform;
        struct shape s;
        int code;
    } cases[] = {
        { "rk3588", { 1, 32, 16, SIM_F16_F16_F32, 0, 0 }, 0 },
        { "rk3588", { 1, 31, 16, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 16, 16, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 8, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 16, SIM_I8_I8_I32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, SIM_I8_I8_I32, 0, 0 }, 0 },
        { "rk3588", { 1, 32, 32, SIM_I4_I4_I16, 0, 0 }, -5 },
        { "rk3588", { 1, 10240, 16, SIM_F16_F16_F32, 0, 0 }, 0 },
        { "rk3588", { 1, 10272, 16, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, SIM_F16_I8_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, SIM_F16_I8_F16, 0, 0 }, -5 },
        { "rk3576", { 1, 32, 32, SIM_F16_I8_F32, 0, 0 }, 0 },
        { "rk3588", { 0, 32, 32, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 0, 32, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, -32, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, 0, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, 12, 0, 0 }, -5 },
        { "rk3588", { 1, 32, 32, SIM_F16_F16_F32, 3, 0 }, -5 },
        { "rk3588", { 1, 32, 32, SIM_F16_F16_F32, 0, 2 }, -5 },
        { "rk3568", { 1, 16, 8, SIM_F16_F16_F32, 0, 0 }, 0 },
        { "rk3568", { 1, 8, 8, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3566", { 1, 16, 8, SIM_I8_I8_I32, 0, 0 }, -5 },
        { "rk3566", { 1, 32, 16, SIM_I8_I8_I32, 0, 0 }, 0 },
        { "rk3566", { 1, 32, 16, SIM_F16_F16_F32, 2, 0 }, -5 },
        { "rk3562", { 1, 16, 8, SIM_F16_F16_F32, 0, 0 }, -5 },
        { "rk3562", { 1, 32, 8, SIM_F16_F16_F32, 2, 0 }, 0 },
        { "rk3562", { 1, 32, 8, SIM_I8_I8_F32, 0, 0 }, -5 },
        { "rk3562", { 1, 32, 64, SIM_I4_I4_I16, 0, 0 }, -5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rknn_context ctx = 77;
        struct sim_matmul_io_attr io;
        struct sim_matmul_info info = info_of(cases[i].s);
        sim_begin(cases[i].platform);
        int r = p_rknn_matmul_create(&ctx, &info, &io);
        if (r != cases[i].code)
            fail_msg("case %zu: %d, not %d", i, r, cases[i].code);
        if (r == 0)
            assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
        else
            assert_int_equal(ctx, 77);
        sim_end();
    }
    struct sim_matmul_io_attr io;
    assert_int_equal(p_rknn_matmul_create(NULL, NULL, &io), -5);
}

/* per layer and per channel scales; asymmetric zero points; requantised output */
static void test_quant(void **state)
{
    (void)state;
    enum { M = 3, K = 64, N = 64 };
    float sa = 0.02f, sb[N], sc = 2.5f;
    int32_t za = 3, zb[N], zc = -7;
    for (int n = 0; n < N; n++) {
        sb[n] = 0.01f + 0.001f * (float)n;
        zb[n] = n % 5 - 2;
    }
    for (int type = 0; type < 2; type++) {
        struct product p;
        struct shape s = { M, K, N, type ? SIM_I8_I8_I8 : SIM_I8_I8_F32, 1, 1 };
        struct sim_quant_params qa = { .name = "A", .scale = &sa, .scale_len = 1, .zp = &za, .zp_len = 1 };
        struct sim_quant_params qb = { .name = "B", .scale = sb, .scale_len = N, .zp = zb, .zp_len = N };
        struct sim_quant_params qc = { .name = "C", .scale = &sc, .scale_len = 1, .zp = &zc, .zp_len = 1 };
        sim_begin("rk3588");
        product_open(&p, &tiles[0], s);
        /* the context was made for per layer, symmetric */
        assert_int_equal(p_rknn_matmul_set_quant_params(p.ctx, &qa), -5);
        assert_int_equal(p_rknn_matmul_set_quant_params(p.ctx, &qb), -5);
        product_close(&p);
        struct sim_matmul_info info = info_of(s);
        info.B_quant_type = SIM_PER_CHANNEL_ASYM;
        info.AC_quant_type = SIM_PER_LAYER_ASYM;
        product_open(&p, &tiles[0], s);
        rknn_context ctx;
        assert_int_equal(p_rknn_matmul_create(&ctx, &info, &p.io), 0);
        assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qa), 0);
        assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qb), 0);
        if (type)
            assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qc), 0);
        qb.scale_len = 1;
        assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qb), -5);
        strcpy(qb.name, "X");
        assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qb), -5);
        assert_int_equal(p_rknn_matmul_set_quant_params(ctx, NULL), -5);
        assert_int_equal(p_rknn_matmul_set_io_mem(ctx, p.mem[0], &p.io.A), 0); /* memories of another context */
        assert_int_equal(p_rknn_matmul_set_io_mem(ctx, p.mem[1], &p.io.B), 0);
        assert_int_equal(p_rknn_matmul_set_io_mem(ctx, p.mem[2], &p.io.C), 0);
        assert_int_equal(p_rknn_matmul_run(ctx), 0);
        for (size_t i = 0; i < M * N; i++) {
            int m = (int)(p.order[2][i] / N), n = (int)(p.order[2][i] % N);
            double want = exact(&s, m, n, za, zb[n]) * sa * sb[n];
            double got = get(p.mem[2]->virt_addr, i, p.io.C.type);
            if (type) {
                want = want / sc + zc;
                want = want > 127 ? 127 : want < -128 ? -128 : want;
            }
            assert_true(fabs(got - want) <= (type ? 0.501 : 1e-5 * (1 + fabs(want))));
        }
        assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
        product_close(&p);
        sim_end();
    }
    struct product p;
    sim_begin("rk3588");
    product_open(&p, &tiles[0], (struct shape){ 1, 32, 16, SIM_F16_F16_F32, 0, 0 });
    struct sim_quant_params q = { .name = "B", .scale = &sa, .scale_len = 1 };
    assert_int_equal(p_rknn_matmul_set_quant_params(p.ctx, &q), -5);
    product_close(&p);
    sim_end();
}

/* RK3576: f16 activations, i8 weights with scales per column. B has the tile of f16. */
static void test_mixed(void **state)
{
    (void)state;
    enum { M = 2, K = 64, N = 48 };
    float sb[N];
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = info_of((struct shape){ M, K, N, SIM_F16_I8_F32, 1, 0 });
    info.B_quant_type = SIM_PER_CHANNEL_SYM;
    sim_begin("rk3576");
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    assert_memory_equal(io.B.dims, ((uint32_t[]){ 3, 2, 16, 32 }), 16);
    assert_int_equal(io.B.size, K * N);
    struct sim_tensor_mem *mem[3] = { p_rknn_create_mem(ctx, io.A.size), p_rknn_create_mem(ctx, io.B.size),
                                      p_rknn_create_mem(ctx, io.C.size) };
    size_t *order = order_b(K, N, 32, 16, 4096);
    for (int i = 0; i < M * K; i++)
        put(mem[0]->virt_addr, (size_t)i, SIM_F16, value_a(i / K, i % K));
    for (size_t i = 0; i < K * N; i++)
        put(mem[1]->virt_addr, i, SIM_I8, value_b((int)(order[i] / N), (int)(order[i] % N)));
    for (int n = 0; n < N; n++)
        sb[n] = 0.5f + (float)n / 64;
    struct sim_quant_params qb = { .name = "B", .scale = sb, .scale_len = N };
    assert_int_equal(p_rknn_matmul_set_quant_params(ctx, &qb), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[0], &io.A), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[1], &io.B), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, mem[2], &io.C), 0);
    assert_int_equal(p_rknn_matmul_run(ctx), 0);
    for (int i = 0; i < M * N; i++) {
        struct shape s = { M, K, N, SIM_I8_I8_I32, 0, 0 };
        double want = exact(&s, i / N, i % N, 0, 0) / 8 * sb[i % N];
        assert_true(fabs(((float *)mem[2]->virt_addr)[i] - want) <= 1e-5 * (1 + fabs(want)));
    }
    free(order);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p_rknn_destroy_mem(ctx, mem[i]), 0);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    sim_end();
}

static void test_f16_values(void **state)
{
    (void)state;
    /* 1 x 32 times 32 x 16 with one non-zero each: C = a * b rounded to f16 */
    static const struct {
        uint16_t a, b, c;
    } cases[] = {
        { 0x3c00, 0x0001, 0x0001 },                             /* smallest subnormal */
        { 0x3c00, 0x03ff, 0x03ff }, { 0x3800, 0x0001, 0x0000 }, /* 0.5 * 2^-24: tie to even */
        { 0x3800, 0x0003, 0x0002 }, { 0x7bff, 0x4000, 0x7c00 }, /* overflow */
        { 0xbc00, 0x7bff, 0xfbff }, { 0x3c01, 0x3c01, 0x3c02 }, { 0x7c00, 0xbc00, 0xfc00 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct product p;
        sim_begin("rk3588");
        product_open(&p, &tiles[0], (struct shape){ 1, 32, 16, SIM_F16_F16_F16, 0, 0 });
        memset(p.mem[0]->virt_addr, 0, p.io.A.size);
        memset(p.mem[1]->virt_addr, 0, p.io.B.size);
        memcpy(p.mem[0]->virt_addr, &cases[i].a, 2);
        memcpy(p.mem[1]->virt_addr, &cases[i].b, 2);
        assert_int_equal(p_rknn_matmul_set_io_mem(p.ctx, p.mem[0], &p.io.A), 0);
        assert_int_equal(p_rknn_matmul_set_io_mem(p.ctx, p.mem[1], &p.io.B), 0);
        assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
        assert_int_equal(*(uint16_t *)p.mem[2]->virt_addr, cases[i].c);
        product_close(&p);
        sim_end();
    }
}

/* Matrices in normal layout are taken when they are set, native ones when the job runs. */
static void test_when_data_is_read(void **state)
{
    (void)state;
    for (int native = 0; native < 2; native++) {
        struct product p;
        sim_begin("rk3588");
        product_open(&p, &tiles[0], (struct shape){ 2, 64, 32, SIM_F16_F16_F32, native, native });
        memset(p.mem[0]->virt_addr, 0, p.io.A.size);
        assert_int_equal(p_rknn_matmul_run(p.ctx), 0);
        if (native) {
            for (int i = 0; i < 2 * 32; i++)
                assert_true(((float *)p.mem[2]->virt_addr)[i] == 0);
        } else {
            product_check(&p);
        }
        product_close(&p);
        sim_end();
    }
}

static void test_dynamic(void **state)
{
    (void)state;
    enum { K = 64, N = 32 };
    rknn_context ctx;
    struct sim_matmul_shape shapes[] = { { 1, K, N }, { 4, K, N }, { 16, K, N } };
    struct sim_matmul_io_attr io[3];
    struct sim_matmul_info info = info_of((struct shape){ 0, 0, 0, SIM_I8_I8_I32, 0, 0 });
    sim_begin("rk3588");
    assert_int_equal(p_rknn_matmul_create_dynamic_shape(&ctx, &info, 3, shapes, io), 0);
    assert_int_equal(io[1].A.dims[0], 4);
    assert_int_equal(io[2].C.size, 16 * N * 4);
    struct sim_tensor_mem *a = p_rknn_create_mem(ctx, io[2].A.size), *b = p_rknn_create_mem(ctx, io[2].B.size),
                          *c = p_rknn_create_mem(ctx, io[2].C.size);
    assert_int_equal(p_rknn_matmul_set_dynamic_shape(ctx, &(struct sim_matmul_shape){ 2, K, N }), -5);
    for (int i = 0; i < K * N; i++)
        ((int8_t *)b->virt_addr)[i] = (int8_t)value_b(i / N, i % N);
    for (int i = 0; i < 16 * K; i++)
        ((int8_t *)a->virt_addr)[i] = (int8_t)value_a(i / K, i % K);
    for (int i = 2; i >= 0; i--) {
        struct shape s = { shapes[i].M, K, N, SIM_I8_I8_I32, 0, 0 };
        assert_int_equal(p_rknn_matmul_set_dynamic_shape(ctx, &shapes[i]), 0);
        assert_int_equal(p_rknn_matmul_set_io_mem(ctx, a, &io[i].A), 0);
        if (i == 2)
            assert_int_equal(p_rknn_matmul_set_io_mem(ctx, b, &io[i].B), 0);
        assert_int_equal(p_rknn_matmul_set_io_mem(ctx, c, &io[i].C), 0);
        assert_int_equal(p_rknn_matmul_run(ctx), 0);
        for (int e = 0; e < s.M * N; e++)
            assert_true(((int32_t *)c->virt_addr)[e] == exact(&s, e / N, e % N, 0, 0)); /* not as unsigned */
    }
    assert_int_equal(sim_counters().misuse, 0);
    assert_int_equal(p_rknn_matmul_set_dynamic_shape(ctx, &shapes[1]), 0);
    assert_int_equal(p_rknn_matmul_run(ctx), -1); /* A and C not set for this shape */
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, a, &io[2].A), -5);
    p_rknn_destroy_mem(ctx, a);
    p_rknn_destroy_mem(ctx, b);
    p_rknn_destroy_mem(ctx, c);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    sim_end_after_misuse();
}

static void test_core_masks(void **state)
{
    (void)state;
    static const struct {
        const char *platform;
        int mask, set, run;
    } cases[] = {
        { "rk3588", 0, 0, 0 },  { "rk3588", 1, 0, 0 },  { "rk3588", 2, 0, 0 },  { "rk3588", 4, 0, 0 },
        { "rk3588", 3, -1, 0 }, { "rk3588", 5, -1, 0 }, { "rk3588", 6, -1, 0 }, { "rk3588", 7, -1, 0 },
        { "rk3576", 2, 0, 0 },  { "rk3576", 4, 0, -1 }, { "rk3576", 3, -1, 0 }, { "rk3568", 1, -1, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct product p;
        sim_begin(cases[i].platform);
        const struct tiles *t = tiles;
        while (strcmp(t->platform, cases[i].platform))
            t++;
        product_open(&p, t, (struct shape){ 2, 64, 32, SIM_F16_F16_F32, 1, 1 });
        assert_int_equal(p_rknn_matmul_set_core_mask(p.ctx, cases[i].mask), cases[i].set);
        assert_int_equal(p_rknn_matmul_run(p.ctx), cases[i].run);
        struct rknnsim_counters c = sim_counters();
        for (int core = 0; core < 3; core++) {
            bool used = cases[i].set || cases[i].mask == 0 ? core == 0 : cases[i].mask >> core & 1;
            assert_int_equal(c.jobs[core], used && cases[i].run == 0);
        }
        if (cases[i].run == 0)
            product_check(&p);
        product_close(&p);
        sim_end_after_misuse();
        /* only the platforms without core masks count the call as forbidden */
        assert_int_equal(sim_counters().misuse, strcmp(cases[i].platform, "rk3568") == 0);
    }
}

static void test_handles(void **state)
{
    (void)state;
    struct product p;
    struct sim_tensor_mem fake = { 0 };
    sim_begin("rk3588");
    product_open(&p, &tiles[0], (struct shape){ 1, 32, 16, SIM_F16_F16_F32, 0, 0 });
    assert_int_equal(p_rknn_matmul_run(0), -7);
    assert_int_equal(p_rknn_matmul_run(p.ctx + 1), -7);
    assert_int_equal(p_rknn_matmul_destroy(12345), -7);
    assert_int_equal(p_rknn_destroy(p.ctx), -7); /* the other kind */
    assert_int_equal(p_rknn_run(p.ctx, NULL), -7);
    assert_int_equal(p_rknn_set_core_mask(p.ctx, 1), -7);
    assert_int_equal(p_rknn_matmul_set_core_mask(999, 1), -7);
    assert_int_equal(p_rknn_matmul_set_io_mem(p.ctx, &fake, &p.io.A), -5);
    assert_int_equal(p_rknn_matmul_set_io_mem(999, p.mem[0], &p.io.A), -7);
    assert_int_equal(p_rknn_matmul_set_quant_params(999, NULL), -7);
    assert_int_equal(p_rknn_matmul_set_dynamic_shape(999, NULL), -7);
    assert_int_equal(p_rknn_destroy_mem(p.ctx, &fake), -5);
    assert_int_equal(p_rknn_destroy_mem(999, p.mem[0]), -7);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], 1), 0);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], 3), 0);
    assert_int_equal(sim_counters().misuse, 0);
    assert_int_equal(sim_counters().bad_handles, 13);
    assert_int_equal(p_rknn_mem_sync(p.ctx, p.mem[0], 4), -5);
    assert_null(p_rknn_create_mem(999, 64));
    assert_null(p_rknn_create_mem(p.ctx, 0));
    assert_int_equal(p_rknn_matmul_set_io_mem(p.ctx, p.mem[2], &p.io.B), -5); /* too small */
    /* a memory that went away is noticed by the run; a context that goes first leaks */
    assert_int_equal(p_rknn_destroy_mem(p.ctx, p.mem[0]), 0);
    assert_int_equal(p_rknn_destroy_mem(p.ctx, p.mem[0]), -5);
    p.mem[0] = NULL;
    assert_int_equal(p_rknn_matmul_run(p.ctx), -1);
    product_close(&p);
    sim_end_after_misuse();
}

/* Where the address sanitizer watches, it would end the test instead. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifndef WATCHED
#define WATCHED 0
#endif

static void test_memory_mistakes_are_counted(void **state)
{
    (void)state;
    struct product p, q;
    sim_begin("rk3588");
    struct shape s = { 1, 32, 16, SIM_F16_F16_F32, 0, 0 };
    product_open(&p, &tiles[0], s);
    product_open(&q, &tiles[0], s);
    if (!WATCHED)
        ((uint8_t *)p.mem[2]->virt_addr)[p.mem[2]->size] = 0; /* one byte past the end */
    p_rknn_destroy_mem(p.ctx, p.mem[2]);
    assert_int_equal(sim_counters().mem_overruns, !WATCHED);
    assert_int_equal(p_rknn_destroy_mem(p.ctx, q.mem[1]), -5); /* not its context */
    p.mem[2] = NULL;
    product_close(&p);
    product_close(&q);
    sim_end_after_misuse();
    assert_int_equal(sim_counters().mem_leaked, 0);
}

/* B shared between contexts, as a part of one block, by its fd. */
static void test_shared_memory(void **state)
{
    (void)state;
    enum { M = 2, K = 64, N = 32 };
    struct product whole;
    sim_begin("rk3588");
    product_open(&whole, &tiles[0], (struct shape){ M, K, N, SIM_F16_F16_F32, 1, 0 });
    /* columns 16 .. 32 are the second half of native B */
    rknn_context ctx;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = info_of((struct shape){ M, K, 16, SIM_F16_F16_F32, 1, 0 });
    assert_int_equal(p_rknn_matmul_create(&ctx, &info, &io), 0);
    uint64_t bytes = sim_counters().memory_bytes;
    struct sim_tensor_mem *b = whole.mem[1];
    struct sim_tensor_mem *half = p_rknn_create_mem_from_fd(ctx, b->fd, b->virt_addr, io.B.size, (int32_t)io.B.size);
    assert_non_null(half);
    assert_int_equal(sim_counters().memory_bytes, bytes);
    struct sim_tensor_mem *c = p_rknn_create_mem(ctx, io.C.size);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, whole.mem[0], &io.A), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, half, &io.B), 0);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, c, &io.C), 0);
    /* the bytes live as long as somebody uses them */
    assert_int_equal(p_rknn_destroy_mem(whole.ctx, b), 0);
    whole.mem[1] = NULL;
    assert_int_equal(p_rknn_matmul_run(ctx), 0);
    for (int m = 0; m < M; m++)
        for (int n = 0; n < 16; n++)
            assert_true(((float *)c->virt_addr)[m * 16 + n] == exact(&whole.s, m, 16 + n, 0, 0));
    sim_config("share=no");
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, whole.mem[0], &io.A), -5);
    assert_int_equal(p_rknn_matmul_set_io_mem(ctx, half, &io.B), 0); /* imported: its own */
    assert_int_equal(sim_counters().misuse, 0);
    assert_null(p_rknn_create_mem_from_fd(ctx, 1 << 30, c->virt_addr, 16, 0));
    assert_null(p_rknn_create_mem_from_fd(ctx, c->fd, c->virt_addr, c->size, 1));
    p_rknn_destroy_mem(ctx, half);
    p_rknn_destroy_mem(ctx, c);
    assert_int_equal(p_rknn_matmul_destroy(ctx), 0);
    product_close(&whole);
    sim_end_after_misuse();
}

static void test_memory_limit(void **state)
{
    (void)state;
    rknn_context a, b;
    struct sim_matmul_io_attr io;
    struct sim_matmul_info info = info_of((struct shape){ 1, 32, 16, SIM_F16_F16_F32, 0, 0 });
    sim_begin("rk3588");
    sim_config("memory=1M");
    assert_int_equal(p_rknn_matmul_create(&a, &info, &io), 0);
    info.iommu_domain_id = 1;
    assert_int_equal(p_rknn_matmul_create(&b, &info, &io), 0);
    struct sim_tensor_mem *m = p_rknn_create_mem(a, 900 << 10);
    assert_non_null(m);
    assert_null(p_rknn_create_mem(a, 200 << 10));
    struct sim_tensor_mem *other = p_rknn_create_mem(b, 200 << 10); /* another domain */
    assert_non_null(other);
    p_rknn_destroy_mem(a, m);
    p_rknn_destroy_mem(b, other);
    m = p_rknn_create_mem2(a, 200 << 10, 0);
    assert_non_null(m);
    p_rknn_destroy_mem(a, m);
    p_rknn_matmul_destroy(a);
    p_rknn_matmul_destroy(b);
    sim_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),         cmocka_unit_test(test_segments),
        cmocka_unit_test(test_reported_dims),   cmocka_unit_test(test_i4),
        cmocka_unit_test(test_conversion_call), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_quant),           cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_f16_values),      cmocka_unit_test(test_when_data_is_read),
        cmocka_unit_test(test_dynamic),         cmocka_unit_test(test_core_masks),
        cmocka_unit_test(test_handles),         cmocka_unit_test(test_memory_mistakes_are_counted),
        cmocka_unit_test(test_shared_memory),   cmocka_unit_test(test_memory_limit),
    };
    sim_load(), sim_config("coherent=yes"); /* caches: test_order */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
