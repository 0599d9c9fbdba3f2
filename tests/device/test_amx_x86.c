/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulator of AMX by itself, as assembled instructions and the manual have it; what comes before AMX is used
 * (permission, the small product); and that no thread keeps tiles. The kernels themselves are tested over it like all
 * others, by test_cpu_kernels and test_cpu_linear, and with a whole model by encoder/test_golden_amx_x86.
 */
#include "cpu_test_util.h"

#include <sys/wait.h>

static uint64_t regs[16] = { 0x100000, 0x200000, 0x300000, 0x400000, 0x500000, 0x600000, 0x700000, 0x800000,
                             0x900000, 0xa00000, 0xb00000, 0xc00000, 0xd00000, 0xe00000, 0xf00000, 0x10 };
enum { RAX, RSP = 4, RBP, RSI, RDI, R8, R9, R12 = 12, R13, R14 };

/* As GNU as writes them */
static void test_decode(void **state)
{
    (void)state;
    const uint64_t rip = 0x40000000;
    const struct {
        uint8_t length, code[12];
        enum amx_op op;
        uint8_t reg, rm, third;
        uint64_t address;
        uint64_t stride;
    } cases[] = {
        /* ldtilecfg (%rax), 0x1234(%rip), -8(%r13,%r12,4), 0x10000; sttilecfg (%r12) */
        { 5, { 0xc4, 0xe2, 0x78, 0x49, 0x00 }, AMX_LOAD_CONFIG, 0, 0, 0, regs[RAX], 0 },
        { 9, { 0xc4, 0xe2, 0x78, 0x49, 0x05, 0x34, 0x12, 0, 0 }, AMX_LOAD_CONFIG, 0, 5, 0, rip + 9 + 0x1234, 0 },
        { 7, { 0xc4, 0x82, 0x78, 0x49, 0x44, 0xa5, 0xf8 }, AMX_LOAD_CONFIG, 0, 4, 0, regs[R13] - 8, 4 * regs[R12] },
        { 10, { 0xc4, 0xe2, 0x78, 0x49, 0x04, 0x25, 0, 0, 1, 0 }, AMX_LOAD_CONFIG, 0, 4, 0, 0x10000, 0 },
        { 6, { 0xc4, 0xc2, 0x79, 0x49, 0x04, 0x24 }, AMX_STORE_CONFIG, 0, 4, 0, regs[R12], 0 },
        { 5, { 0xc4, 0xe2, 0x78, 0x49, 0xc0 }, AMX_RELEASE, 0, 0, 0, 0, 0 },
        { 5, { 0xc4, 0xe2, 0x7b, 0x49, 0xf8 }, AMX_ZERO, 7, 0, 0, 0, 0 },
        /* tileloadd (%rdi,%rsi,1), %tmm0; -0x40(%r13,%r14,8), %tmm5; (%rsp), %tmm2 */
        { 6, { 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x37 }, AMX_LOAD, 0, 4, 0, regs[RDI], regs[RSI] },
        { 7, { 0xc4, 0x82, 0x7b, 0x4b, 0x6c, 0xf5, 0xc0 }, AMX_LOAD, 5, 4, 0, regs[R13] - 0x40, 8 * regs[R14] },
        { 6, { 0xc4, 0xe2, 0x7b, 0x4b, 0x14, 0x24 }, AMX_LOAD, 2, 4, 0, regs[RSP], 0 },
        /* tileloaddt1 0x1000(%r8,%rax,2), %tmm3; tilestored %tmm6, 0x7f(%rbp,%r9,1) */
        { 10,
          { 0xc4, 0xc2, 0x79, 0x4b, 0x9c, 0x40, 0, 0x10, 0, 0 },
          AMX_LOAD,
          3,
          4,
          0,
          regs[R8] + 0x1000,
          2 * regs[RAX] },
        { 7, { 0xc4, 0xa2, 0x7a, 0x4b, 0x74, 0x0d, 0x7f }, AMX_STORE, 6, 4, 0, regs[RBP] + 0x7f, regs[R9] },
        /* in the order of Intel: d, a, b */
        { 5, { 0xc4, 0xe2, 0x62, 0x5c, 0xca }, AMX_BF16, 1, 2, 3, 0, 0 },
        { 5, { 0xc4, 0xe2, 0x43, 0x5e, 0xee }, AMX_SS, 5, 6, 7, 0, 0 },
        { 5, { 0xc4, 0xe2, 0x7a, 0x5e, 0xd1 }, AMX_SU, 2, 1, 0, 0, 0 },
        { 5, { 0xc4, 0xe2, 0x59, 0x5e, 0xc5 }, AMX_US, 0, 5, 4, 0, 0 },
        { 5, { 0xc4, 0xe2, 0x68, 0x5e, 0xf8 }, AMX_UU, 7, 0, 2, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t code[AMX_CODE] = { 0 };
        struct amx_code c;
        memcpy(code, cases[i].code, cases[i].length);
        assert_int_equal(amx_decode(code, regs, rip, &c), AMX_DONE);
        assert_int_equal(c.op, cases[i].op);
        assert_int_equal(c.length, cases[i].length);
        assert_int_equal(c.reg, cases[i].reg);
        assert_int_equal(c.rm, cases[i].rm);
        assert_int_equal(c.third, cases[i].third);
        assert_int_equal(c.address, cases[i].address);
        assert_int_equal(c.stride, cases[i].stride);
    }
}

static void test_decode_refuses(void **state)
{
    (void)state;
    const struct {
        uint8_t code[6];
        enum amx_fault fault;
    } cases[] = {
        { { 0x0f, 0x0b }, AMX_UNKNOWN },                         /* ud2 */
        { { 0xc4, 0xe2, 0x6b, 0x5c, 0xf8 }, AMX_UNKNOWN },       /* tdpfp16ps, another extension's */
        { { 0x65, 0xc4, 0xe2, 0x78, 0x49, 0x00 }, AMX_UNKNOWN }, /* a segment */
        { { 0xc4, 0xe2, 0xe2, 0x5c, 0xca }, AMX_UD },            /* W */
        { { 0xc4, 0xe2, 0x66, 0x5c, 0xca }, AMX_UD },            /* 256 bits */
        { { 0xc4, 0x62, 0x62, 0x5c, 0xca }, AMX_UD },            /* tmm9 */
        { { 0xc4, 0xe2, 0x22, 0x5c, 0xca }, AMX_UD },            /* tmm11 */
        { { 0xc4, 0xe2, 0x7b, 0x4b, 0x07 }, AMX_UD },            /* tileloadd without SIB */
        { { 0xc4, 0xe2, 0x73, 0x4b, 0x04, 0x37 }, AMX_UD },      /* vvvv of two operands */
        { { 0xc4, 0xe2, 0x78, 0x49, 0xc1 }, AMX_UD },            /* tilerelease of something */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t code[AMX_CODE] = { 0 };
        struct amx_code c;
        memcpy(code, cases[i].code, sizeof cases[i].code);
        assert_int_equal(amx_decode(code, regs, 0, &c), cases[i].fault);
    }
}

/* A configuration with tiles 0 (d), 1 (a) and 2 (b) for [m, k] x [k, n], k in bytes. */
static void configure(uint8_t *config, int m, int n, int k)
{
    memset(config, 0, 64);
    config[0] = 1;
    config[16] = (uint8_t)(4 * n), config[48] = (uint8_t)m;
    config[18] = (uint8_t)k, config[49] = (uint8_t)m;
    config[20] = (uint8_t)(4 * n), config[50] = (uint8_t)(k / 4);
}

static enum amx_fault execute(enum amx_op op, int tile, void *memory, int64_t stride)
{
    struct amx_code c = {
        .op = op, .reg = (uint8_t)tile, .rm = 1, .third = 2, .address = (uintptr_t)memory, .stride = stride
    };
    return amx_execute(&c);
}

static void test_config(void **state)
{
    (void)state;
    uint8_t config[64], back[64];
    configure(config, 5, 7, 12);
    assert_int_equal(execute(AMX_LOAD_CONFIG, 0, config, 0), AMX_DONE);
    assert_int_equal(execute(AMX_STORE_CONFIG, 0, back, 0), AMX_DONE);
    assert_memory_equal(config, back, 64);
    const struct {
        int at, value;
    } wrong[] = { { 0, 2 },  { 2, 1 },  { 15, 1 }, { 16, 65 }, { 17, 1 }, { 32, 1 }, { 48, 17 },
                  { 48, 0 }, { 16, 0 }, { 51, 1 }, { 22, 4 },  { 56, 1 }, { 63, 1 } };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t bad[64];
        memcpy(bad, config, 64);
        bad[wrong[i].at] = (uint8_t)wrong[i].value;
        assert_int_equal(execute(AMX_LOAD_CONFIG, 0, bad, 0), AMX_GP);
        assert_int_equal(execute(AMX_STORE_CONFIG, 0, back, 0), AMX_DONE);
        assert_memory_equal(config, back, 64);
    }
    assert_int_equal(execute(AMX_BF16, 0, NULL, 0), AMX_DONE);
    assert_int_equal(execute(AMX_BF16, 1, NULL, 0), AMX_UD); /* d is a */
    assert_int_equal(execute(AMX_ZERO, 3, NULL, 0), AMX_UD); /* not configured */
    const int other[][2] = { { 48, 6 }, { 16, 24 }, { 50, 2 }, { 18, 13 }, { 16, 30 } };
    for (int i = 0; i < 5; i++) { /* shapes that do not fit */
        uint8_t bad[64];
        memcpy(bad, config, 64);
        bad[other[i][0]] = (uint8_t)other[i][1];
        assert_int_equal(execute(AMX_LOAD_CONFIG, 0, bad, 0), AMX_DONE);
        assert_int_equal(execute(AMX_US, 0, NULL, 0), AMX_UD);
    }
    assert_int_equal(execute(AMX_RELEASE, 0, NULL, 0), AMX_DONE);
    assert_int_equal(execute(AMX_ZERO, 0, NULL, 0), AMX_UD);
    memset(config, 0, 64);
    assert_int_equal(execute(AMX_STORE_CONFIG, 0, back, 0), AMX_DONE);
    assert_memory_equal(config, back, 64);
}

/* Loads, one product and a store of random shapes against plain sums; what is around the tiles stays. */
static void test_products(void **state)
{
    (void)state;
    enum { STRIDE = 80 };
    static uint8_t a[16 * STRIDE], b[16 * STRIDE], c[17 * STRIDE], d[17 * STRIDE];
    for (int round = 0; round < 300; round++) {
        int m = 1 + (int)random_below(16), n = 1 + (int)random_below(16), k = 4 + 4 * (int)random_below(16);
        enum amx_op op = AMX_BF16 + random_below(5);
        uint8_t config[64];
        for (int i = 0; i < 16 * STRIDE; i++) {
            a[i] = (uint8_t)random_u32();
            b[i] = (uint8_t)random_u32();
        }
        for (int i = 0; op == AMX_BF16 && i < 16 * STRIDE; i += 2) { /* numbers of moderate size; some are denormal */
            uint16_t x = random_below(9) ? f32_to_bf16(random_float(-2, 2)) : (uint16_t)random_below(128);
            uint16_t y = random_below(9) ? f32_to_bf16(random_float(-2, 2)) : (uint16_t)random_below(128);
            memcpy(a + i, &x, 2);
            memcpy(b + i, &y, 2);
        }
        for (int i = 0; i < 17 * STRIDE; i += 4) {
            float f = random_float(-4, 4);
            memcpy(c + i, &f, 4);
        }
        memcpy(d, c, sizeof d);
        configure(config, m, n, k);
        assert_int_equal(execute(AMX_LOAD_CONFIG, 0, config, 0), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 0, d, STRIDE), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 1, a, STRIDE), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 2, b, STRIDE), AMX_DONE);
        assert_int_equal(execute(op, 0, NULL, 0), AMX_DONE);
        assert_int_equal(execute(AMX_STORE, 0, d, STRIDE), AMX_DONE);
        for (int r = 0; r < 17; r++)
            for (int i = 0; i < STRIDE / 4; i++) {
                int32_t before, after;
                memcpy(&before, c + r * STRIDE + 4 * i, 4);
                memcpy(&after, d + r * STRIDE + 4 * i, 4);
                if (r >= m || i >= n) {
                    assert_int_equal(before, after);
                    continue;
                }
                double sum = 0, size = 0;
                int64_t whole = before;
                for (int j = 0; j < k; j++) {
                    uint8_t x = a[r * STRIDE + j], y = b[j / 4 * STRIDE + 4 * i + j % 4];
                    whole += (op == AMX_SS || op == AMX_SU ? (int8_t)x : x) *
                             (op == AMX_SS || op == AMX_US ? (int8_t)y : y);
                }
                for (int j = 0; op == AMX_BF16 && j < k / 2; j++) {
                    uint16_t x, y;
                    memcpy(&x, a + r * STRIDE + 2 * j, 2);
                    memcpy(&y, b + j / 2 * STRIDE + 4 * i + 2 * (j % 2), 2);
                    double p = (x & 0x7f80) && (y & 0x7f80) ? (double)bf16_to_f32(x) * bf16_to_f32(y) : 0;
                    sum += p;
                    size += fabs(p);
                }
                float was, got;
                memcpy(&was, &before, 4);
                memcpy(&got, &after, 4);
                if (op == AMX_BF16)
                    assert_true(fabs(got - (was + sum)) <= 3e-7 * (size + fabsf(was)));
                else
                    assert_int_equal((uint32_t)after, (uint32_t)whole);
            }
    }
    execute(AMX_RELEASE, 0, NULL, 0);
}

/* One by one: denormal numbers are zeros, even and odd depths are summed apart, halves round to even. */
static void test_bf16_rules(void **state)
{
    (void)state;
    const struct {
        float a[4], b[4], c, want; /* depths */
    } cases[] = {
        { { 0x1p-130f, 1 }, { 0x1p100f, 1 }, 0, 1 },
        { { 0x1p-80f }, { 0x1p-60f }, 0, 0 },
        { { 1 }, { 0x1p-100f }, 0x1p-130f, 0x1p-100f },
        { { 0x1p24f, 1, 1, -0x1p24f }, { 1, 1, 1, 1 }, 0, 1 }, /* one after the other: 0 */
        { { 0x1p24f, 1, -0x1p24f, 1 }, { 1, 1, 1, 1 }, 0, 2 }, /* 1 */
        { { 1 }, { 1 }, 0x1p24f, 0x1p24f },
        { { 3 }, { 1 }, 0x1p24f, 0x1p24f + 4 },
        { { INFINITY }, { 1 }, 0, INFINITY },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t config[64];
        uint16_t a[4], b[2][2];
        float c = cases[i].c;
        for (int j = 0; j < 4; j++) {
            a[j] = f32_to_bf16(cases[i].a[j]);
            b[j / 2][j % 2] = f32_to_bf16(cases[i].b[j]);
        }
        configure(config, 1, 1, 8);
        assert_int_equal(execute(AMX_LOAD_CONFIG, 0, config, 0), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 0, &c, 0), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 1, a, 0), AMX_DONE);
        assert_int_equal(execute(AMX_LOAD, 2, b, 4), AMX_DONE);
        assert_int_equal(execute(AMX_BF16, 0, NULL, 0), AMX_DONE);
        assert_int_equal(execute(AMX_STORE, 0, &c, 0), AMX_DONE);
        if (memcmp(&c, &cases[i].want, 4) != 0)
            fail_msg("case %zu: %a, not %a", i, (double)c, (double)cases[i].want);
    }
    execute(AMX_RELEASE, 0, NULL, 0);
}

/* ---- with the handler installed */

static void skip_without_emulator(void)
{
    if (!emulated_flags()) {
        print_message(
            "no emulation: this processor has AMX, or no AVX-512 beside which it is used, or the compiler no AMX\n");
        skip();
    }
}

/* AMX in one way or the other. */
static void skip_without_tiles(void)
{
    rkf_error why;
    struct kernels k = { 0 };
    if (cpu_flags_granted(cpu_flags_detected(), &why) & CPU_AMX_BF16)
        kernels_init_amx(&k, CPU_AMX_BF16);
    if (!k.isa)
        skip_without_emulator();
}

#define RUN(NAME, OP)                                                                                                  \
    static void run_##NAME(const uint8_t *config, const void *a, const void *b, void *d, int64_t stride)               \
    {                                                                                                                  \
        __asm__ volatile("ldtilecfg (%0)\n tileloadd (%3,%4,1), %%tmm0\n tileloadd (%1,%4,1), %%tmm1\n"                \
                         "tileloadd (%2,%4,1), %%tmm2\n" OP " %%tmm2, %%tmm1, %%tmm0\n"                                \
                         "tilestored %%tmm0, (%3,%4,1)\n tilerelease\n"                                                \
                         :                                                                                             \
                         : "r"(config), "r"(a), "r"(b), "r"(d), "r"(stride)                                            \
                         : "memory");                                                                                  \
    }
RUN(bf16, "tdpbf16ps")
RUN(ss, "tdpbssd")
RUN(su, "tdpbsud")
RUN(us, "tdpbusd")
RUN(uu, "tdpbuud")

/* The instructions as they are executed here against the emulator called directly: where the processor has AMX, this is
 * what tells whether the emulator is right. */
static void test_processor(void **state)
{
    (void)state;
    skip_without_tiles();
    static void (*const run[])(const uint8_t *, const void *, const void *, void *,
                               int64_t) = { run_bf16, run_ss, run_su, run_us, run_uu };
    enum { K = 24, N = 11, M = 9, STRIDE = 64 };
    static _Alignas(64) uint8_t a[16 * STRIDE], b[16 * STRIDE], c[16 * STRIDE], d[16 * STRIDE];
    int unlike = 0;
    for (int round = 0; round < 200; round++)
        for (int op = 0; op < 5; op++) {
            uint8_t config[64];
            for (int i = 0; i < 16 * STRIDE; i++) {
                a[i] = (uint8_t)random_u32();
                b[i] = (uint8_t)random_u32();
                c[i] = 0;
            }
            for (int i = 0; op == 0 && i < 16 * STRIDE; i += 2) {
                uint16_t x = f32_to_bf16(random_float(-2, 2)), y = f32_to_bf16(random_float(-2, 2));
                memcpy(a + i, &x, 2);
                memcpy(b + i, &y, 2);
            }
            memcpy(d, c, sizeof d);
            configure(config, M, N, K);
            run[op](config, a, b, c, STRIDE);
            assert_int_equal(execute(AMX_LOAD_CONFIG, 0, config, 0), AMX_DONE);
            assert_int_equal(execute(AMX_LOAD, 0, d, STRIDE), AMX_DONE);
            assert_int_equal(execute(AMX_LOAD, 1, a, STRIDE), AMX_DONE);
            assert_int_equal(execute(AMX_LOAD, 2, b, STRIDE), AMX_DONE);
            assert_int_equal(execute(AMX_BF16 + (enum amx_op)op, 0, NULL, 0), AMX_DONE);
            assert_int_equal(execute(AMX_STORE, 0, d, STRIDE), AMX_DONE);
            assert_int_equal(execute(AMX_RELEASE, 0, NULL, 0), AMX_DONE);
            if (op) {
                assert_memory_equal(c, d, sizeof c);
                continue;
            }
            for (int i = 0; i < 16 * STRIDE; i += 4) {
                float got, want;
                memcpy(&got, c + i, 4);
                memcpy(&want, d + i, 4);
                unlike += got != want;
                assert_true(fabsf(got - want) <= 3e-7f * 4 * K / 2);
            }
        }
    print_message("%d of %d sums of bf16 are not equal to the bit\n", unlike, 200 * M * N);
}

/* What is not AMX, and what the processor would refuse, ends the program by SIGILL. */
static void test_faults_end_it(void **state)
{
    (void)state;
    skip_without_emulator();
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        int status = 0;
        assert_true(child >= 0);
        if (!child) {
            close(STDERR_FILENO);
            if (i)
                __asm__ volatile("ud2");
            else
                __asm__ volatile(".byte 0xc4, 0xe2, 0x7b, 0x49, 0xf8"); /* tilezero of what is not configured */
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0); /* sanitizers end it their way */
    }
}

static void emulated_kernels(struct kernels *k)
{
    kernels_init_portable(k);
    kernels_init_family(k, cpu_flags_detected() | CPU_AMX_BF16 | CPU_AMX_INT8);
    assert_string_equal(k->isa, "amx");
    assert_string_equal(k->gemm_isa[GEMM_I8], "amx");
    assert_string_equal(k->gemm_isa[GEMM_BF16], "amx");
}

/* The small product finds a processor that multiplies wrong, by one bit in one of its numbers. */
static void test_check(void **state)
{
    (void)state;
    skip_without_tiles();
    struct kernels k;
    rkf_error why = { .message = "" };
    emulated_kernels(&k);
    long before = amx_executed();
    assert_int_equal(amx_check(&k, &why), RKF_OK);
    if (!emulated_flags())
        return;
    assert_true(amx_executed() > before + 20);
    atomic_store(&amx_spoil, true);
    assert_int_equal(amx_check(&k, &why), RKF_UNAVAILABLE);
    assert_non_null(strstr(why.message, "bf16"));
    k.gemm[GEMM_BF16].enter = NULL; /* as if it were not there */
    assert_int_equal(amx_check(&k, &why), RKF_UNAVAILABLE);
    assert_non_null(strstr(why.message, "int8"));
    atomic_store(&amx_spoil, false);
}

/* Within what gemm_rows and gemm_depth say, and c: the address sanitizer knows the ends. */
static void test_within(void **state)
{
    (void)state;
    skip_without_tiles();
    enum { DEPTH = 70, ROWS = 23 };
    static const enum gemm_type types[] = { GEMM_BF16, GEMM_I8 };
    struct kernels k;
    emulated_kernels(&k);
    for (uint32_t rows = 1; rows <= ROWS; rows += 11)
        for (int i = 0; i < 2; i++) {
            const struct gemm *g = &k.gemm[types[i]];
            uint32_t depth = gemm_depth(g, DEPTH), high = gemm_rows(g, rows);
            assert_int_equal(high, (rows + 15) / 16 * 16);
            float *x = random_floats(rows * DEPTH, -1, 1), *w = random_floats(g->nr * (size_t)DEPTH, -1, 1);
            float *c = malloc(high * g->nr * sizeof *c), scale[KERNEL_MAX_NR];
            size_t bytes = (size_t)depth * g->nr * g->a_size;
            void *a = malloc((size_t)high * depth * g->a_size), *b = malloc(bytes);
            struct row_quant rq[ROWS];
            int32_t wsum[KERNEL_MAX_NR];
            gemm_pack_a(g, x, DEPTH, rows, DEPTH, a, rq);
            gemm_pack_b(g, w, DEPTH, g->nr, DEPTH, b, bytes, scale, wsum);
            struct tile t = { .a = a, .lda = depth, .b = b, .k = depth, .rows = rows, .c = c };
            t.rq = rq, t.scale = scale, t.wsum = wsum;
            bool entered = gemm_enter(g, rows);
            assert_true(entered == (types[i] == GEMM_BF16 || rows > 8));
            gemm_tile(g, &t);
            if (entered)
                g->leave();
            free(x), free(w), free(c), free(a), free(b);
        }
}

/* Without the kernel's permission, or on a processor without tiles, the flags go and the reason is told. */
static void test_permission(void **state)
{
    (void)state;
    const uint32_t tiles = CPU_AMX_BF16 | CPU_AMX_INT8, others = CPU_AVX2 | CPU_AVX512;
    rkf_error why = { .message = "" };
    assert_int_equal(cpu_flags_granted(others, &why), others);
    assert_int_equal(why.status, RKF_OK);
    if (amx_permission(&why)) {
        assert_int_equal(why.status, RKF_UNAVAILABLE);
        assert_non_null(strstr(why.message, "permit"));
        assert_int_equal(cpu_flags_granted(others | tiles, &why), others);
        assert_int_equal(why.status, RKF_UNAVAILABLE);
        assert_non_null(strstr(why.message, "AMX is not used: "));
    } else {
        assert_int_equal(cpu_flags_granted(others | tiles, &why), others | tiles);
    }
}

/* Every thread that took tiles gave them back, and few rows of int8 take none. */
static void test_given_back(void **state)
{
    (void)state;
    skip_without_emulator();
    static const enum dtype types[] = { DTYPE_BF16, DTYPE_I8 };
    struct device *d = NULL;
    struct exec x;
    rkf_error err;
    assert_int_equal(cpu_device_create(NULL, NULL, &d, &err), RKF_OK);
    use_flags(d, cpu_flags_detected() | CPU_AMX_BF16 | CPU_AMX_INT8);
    exec_open(&x, d, 3);
    float *w = random_floats(96 * 200, -1, 1), *y = random_floats(300 * 96, 0, 0),
          *in = random_floats(300 * 200, -1, 1);
    struct linear_part part = { view_make(w, DTYPE_F32, 96, 200), NULL, DTYPE_F32 };
    struct epilogue e = { .act = ACT_GELU };
    for (int i = 0; i < 2; i++) {
        struct linear *l = NULL;
        assert_int_equal(d->linear->prepare(&x, &part, 1, types[i], &l, &err), RKF_OK);
        for (uint32_t rows = 8; rows <= 300; rows += 73) {
            long taken = atomic_load(&amx_count[AMX_LOAD_CONFIG]), given = atomic_load(&amx_count[AMX_RELEASE]);
            struct view xv = view_make(in, DTYPE_F32, rows, 200), yv = view_make(y, DTYPE_F32, rows, 96);
            assert_int_equal(d->linear->apply(&x, l, xv, &e, yv, &err), RKF_OK);
            taken = atomic_load(&amx_count[AMX_LOAD_CONFIG]) - taken;
            given = atomic_load(&amx_count[AMX_RELEASE]) - given;
            assert_int_equal(taken, given);
            assert_false(amx.configured);
            if (rows == 8 && types[i] == DTYPE_I8)
                assert_int_equal(taken, 0);
            else
                assert_true(taken > 0);
        }
        d->linear->release(l);
    }
    free(w), free(y), free(in);
    exec_close(&x);
    cpu_device_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),     cmocka_unit_test(test_decode_refuses), cmocka_unit_test(test_config),
        cmocka_unit_test(test_products),   cmocka_unit_test(test_bf16_rules),     cmocka_unit_test(test_faults_end_it),
        cmocka_unit_test(test_processor),  cmocka_unit_test(test_check),          cmocka_unit_test(test_within),
        cmocka_unit_test(test_permission), cmocka_unit_test(test_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
