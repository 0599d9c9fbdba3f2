/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel table: every inner loop of the CPU device, one function pointer each.
 *
 * kernels_portable.c fills the whole table in plain C, and is the truth that all others are tested against. Each other
 * kernels_*.c is compiled for one instruction set and replaces the entries it does better:
 * `if (!(flags & CPU_X)) return;` then assignments. flags = what the processor has & what was asked for.
 *
 * Packed weights. A linear's columns are cut into panels of `nr`; a panel holds, for every group of `kr` depths, `nr`
 * columns of `kr` values each: [depth / kr][nr][kr]. Missing columns and depths are zeros. A tile is at most `mr` rows
 * of x times one panel.
 *
 *         x [rows, k]              panel p [k / kr][nr][kr]
 *     mr  +----------+   times    +--nr--+      = tile [mr][nr] f32 -> finish -> y
 *         +----------+           k|      |
 *                                 +------+
 *
 * Int8. Weights are symmetric per column: w = scale[n] * q, q in -127 .. 127. Rows of x are quantised when they are
 * used, x = rq.scale * (q - rq.zero) with q in 0 .. 255. The sum over k is exact in int32:
 * tile = rq.scale * scale[n] * (sum q_x q_w - rq.zero * wsum[n]) where wsum[n] is the sum of column n.
 * Kernels that add four products in 16 bits have weights with `quads`: of one sign, those of depths 8 i + 0, 1, 4, 5
 * and of 8 i + 2, 3, 6, 7 add up to 128 at most, as 255 * 128 still fits.
 */
#ifndef RKF_DEVICE_CPU_KERNELS_H
#define RKF_DEVICE_CPU_KERNELS_H

#include "device/device.h"

#include <float.h>
#include <string.h>

/* What a processor has, beyond the baseline of its family. */
enum cpu_flag {
    CPU_AVX2 = 1 << 0, /* with FMA and F16C */
    CPU_AVXVNNI = 1 << 1,
    CPU_AVX512 = 1 << 2, /* F, BW, VL, DQ */
    CPU_AVX512VNNI = 1 << 3,
    CPU_AVX512BF16 = 1 << 4,
    CPU_AVX512FP16 = 1 << 5,
    CPU_AMX_BF16 = 1 << 6, /* tiles, and their products of bf16 */
    CPU_AMX_INT8 = 1 << 7,
    CPU_NEON = 1 << 8,
    CPU_DOTPROD = 1 << 9,
    CPU_FP16 = 1 << 10, /* arithmetic */
    CPU_BF16 = 1 << 11,
    CPU_I8MM = 1 << 12,
};

enum {
    KERNEL_MAX_MR = 32,
    KERNEL_MAX_NR = 64,
    KERNEL_MAX_LANES = 16
}; /* bounds of any table, for tiles on the stack */

struct row_quant { /* of one row of x; f16 uses the scale only */
    float scale;
    int32_t zero;
};
/* What the largest sum of a quad is multiplied with to be 127 steps: it has 126, and what rounding adds are 2 more. */
#define QUAD_RANGE (127.0f / 126)

/* A range that int8 can be spread over. The others count as 0: 255 over a smaller one is infinite. */
static inline bool quant_usable(float range)
{
    return range >= 1e-30f && range <= FLT_MAX;
}

struct tile {
    const void *a;    // [rows][lda] f32, bf16 or u8, as pack_a makes it
    size_t lda;       /* elements */
    const void *b;    /* one panel */
    uint32_t k, rows; /* k: padded to a multiple of kr if there is a pack_a; rows <= mr */
    float *c;         // [rows][nr]
    /* What will be needed next is asked for on the way: ahead, and ahead_step bytes further with every group of kr
     * depths. Any address may stand here. */
    uintptr_t ahead;
    uint32_t ahead_step;
    /* int8 only */
    const struct row_quant *rq; // [rows]
    const float *scale;         // [nr]
    const int32_t *wsum;        // [nr]
    bool lone;                  /* its panel's only one: the panel is read once, in this call */
};

struct gemm {
    uint16_t mr, nr, kr;
    uint16_t a_size; /* bytes of an element of a */
    void (*tile)(const struct tile *t);
    /* Rows of x as tile wants them, k padded with zeros to a multiple of kr; NULL: x itself (f32), in place. rq: int8
     * only. */
    void (*pack_a)(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda, struct row_quant *rq);
    /* w [cols][k] f32 -> one panel. scale, wsum [nr]: int8 only. cols <= nr. */
    void (*pack_b)(const float *w, size_t stride, uint32_t cols, uint32_t k, void *b, float *scale, int32_t *wsum);
    /* A panel as GEMM_F32 has it, [k][nr] f32 and of the same nr: with many rows it is widened once and multiplied in
     * f32. NULL: tile is as fast. */
    void (*widen)(const void *b, uint32_t k, float *out);
    float most; /* the largest weight that it takes; 0: any */
    /* int8 only: the weights' steps are as large as their quads need; x is stored as q - offset; so many depths of a
     * column lie together: [depth / group][nr][group] */
    bool quads;
    uint8_t offset, group;
    uint16_t depth_step; /* k is padded to a multiple of it, itself one of kr; 0: of kr */
    /* Of kernels that work on whole blocks (AMX); all 0 where there is none of it. */
    uint16_t
        row_step; /* rows of a are read, and of c written, up to a multiple of it: those beyond count for nothing */
    uint16_t few; /* up to so many rows are tile_few's, of the same panels and with the same result */
    void (*tile_few)(const struct tile *t);
    void (*enter)(void), (*leave)(void); /* around any number of tiles in one thread, which does not wait inside */
};

/* How a table's functions are called, whatever of the above it has. */
static inline uint32_t gemm_depth(const struct gemm *g, uint32_t k) /* of packed rows and panels */
{
    uint32_t step = g->depth_step ? g->depth_step : g->kr;
    return (k + step - 1) / step * step;
}

static inline uint32_t gemm_rows(const struct gemm *g, uint32_t rows) /* that a must have room for */
{
    uint32_t step = g->row_step ? g->row_step : 1;
    return (rows + step - 1) / step * step;
}

static inline void gemm_pack_a(const struct gemm *g, const float *x, size_t stride, uint32_t rows, uint32_t k, void *a,
                               struct row_quant *rq) /* lda: gemm_depth(g, k) */
{
    uint32_t lda = gemm_depth(g, k), packed = (k + g->kr - 1) / g->kr * g->kr;
    g->pack_a(x, stride, rows, k, a, lda, rq);
    for (uint32_t r = 0; packed < lda && r < rows; r++)
        memset((char *)a + ((size_t)r * lda + packed) * g->a_size, 0, (size_t)(lda - packed) * g->a_size);
}

static inline void gemm_pack_b(const struct gemm *g, const float *w, size_t stride, uint32_t cols, uint32_t k, void *b,
                               size_t bytes, float *scale, int32_t *wsum) /* bytes: of the whole panel */
{
    size_t packed = bytes / gemm_depth(g, k) * ((k + g->kr - 1) / g->kr * g->kr);
    g->pack_b(w, stride, cols, k, b, scale, wsum);
    memset((char *)b + packed, 0, bytes - packed);
}

static inline bool gemm_enter(const struct gemm *g, uint32_t rows)
{
    bool blocks = g->enter && rows > g->few;
    if (blocks)
        g->enter();
    return blocks;
}

static inline void gemm_tile(const struct gemm *g, const struct tile *t)
{
    if (t->rows <= g->few)
        g->tile_few(t);
    else
        g->tile(t);
}

/* y = act(c + bias) [* (up + bias_up)] [+ residual] */
struct finish {
    const float *c, *up;         // [rows][ldc]; up NULL: not gated
    const float *bias, *bias_up; // [cols]
    size_t ldc;
    uint32_t rows, cols;
    enum activation act;
    const float *residual; // [rows][residual_stride]; NULL: none
    size_t residual_stride;
    float *y; // [rows][stride]; may be the residual
    size_t stride;
};

/* c[r] += x[r][0] * w[0] + x[r][1] * w[1] ...: channels that an int8 product leaves to f32 */
struct channels {
    const float *x; // [rows][stride]
    size_t stride;
    const float *w;       // [n][nr]
    float *c;             // [rows][nr]
    uint32_t n, rows, nr; /* nr: a gemm's of this table */
};

/* c = (c * keep[row] + a b) * scale[row], all f32, any sizes; keep NULL: c = a b * scale[row]; scale NULL: 1 */
struct matmul {
    const float *a, *b; // [rows][lda], [k][ldb]
    float *c;           // [rows][ldc]
    size_t lda, ldb, ldc;
    uint32_t rows, cols, k;
    const float *keep, *scale; // [rows]
};

/* Scores become the weights of a softmax that goes on over several blocks of keys, in powers of two: with
 * t = (s * scale + bias) / ln 2 and m = the larger of max and the largest t rounded up to a whole number (so that it
 * has no rounding error of its own), s = 2^(t - m), keep = 2^(max - m), sum = sum * keep + all s, max = m. Before the
 * first block max is -INFINITY and sum 0. */
struct soften {
    float *s; // [rows][lds]
    size_t lds;
    uint32_t rows, n; /* at least 1 */
    float scale;
    const float *bias;       // [n], for every row; NULL: none
    float *max, *sum, *keep; // [rows]
};

enum gemm_type { GEMM_F32, GEMM_BF16, GEMM_F16, GEMM_I8, GEMM_COUNT };

struct kernels {
    const char *isa;              /* of the best that was filled in */
    struct gemm gemm[GEMM_COUNT]; /* by the type of the weights */
    struct gemm gemm_wide_f16;    /* sums in f32: for weights beyond gemm[GEMM_F16].most, where it has a limit */
    struct gemm gemm_quads_i8;    /* portable only: the truth for those with `quads` */
    const char *gemm_isa[GEMM_COUNT];
    void (*finish)(const struct finish *f);
    void (*add_channels)(const struct channels *p);

    uint32_t lanes; /* of a vector: what transpose pads to; at most KERNEL_MAX_LANES */
    void (*matmul)(const struct matmul *m);
    uint32_t matmul_rows; /* best by so many rows */
    /* dst [cols][rows] = src [rows][cols] transposed; zeros follow in each row of dst up to a multiple of `lanes` */
    void (*transpose)(const float *src, size_t lds, uint32_t rows, uint32_t cols, float *dst, size_t ldd);
    void (*soften)(const struct soften *s);
    void (*scale)(float *y, float f, uint32_t n);
    void (*softmax)(float *p, uint32_t n); /* in place */
    float (*dot)(const float *a, const float *b, uint32_t n);
    void (*add)(float *y, const float *a, float scale, uint32_t n); /* y += scale * a */
    void (*activate)(enum activation act, const float *x, float *y, uint32_t n);
    /* one row: y = norm(x); y may be x */
    void (*norm)(const struct norm *n, const float *x, float *y);
    /* y = (set ? 0 : y) + scale * a, a of type F32, F16, BF16 */
    void (*gather)(float *y, const void *a, enum dtype type, float scale, uint32_t n, bool set);
    /* one head in place; cos, sin [dim / 2] */
    void (*rotate)(float *x, const float *cos, const float *sin, uint32_t dim, bool interleaved);
};

void kernels_init_portable(struct kernels *k);
/* Of this processor family: cpu_x86.c, cpu_arm.c or cpu_other.c, chosen by the build. */
uint32_t cpu_flags_detected(void);
uint32_t cpu_flags_preferred(void); /* without what it has but does slowly: used when nothing is asked for by name */
void kernels_init_family(struct kernels *k, uint32_t flags);
/* flags without those that may not be used here: the operating system has to be asked for AMX. why: what is missing,
 * RKF_OK if nothing is. */
uint32_t cpu_flags_granted(uint32_t flags, rkf_error *why);
struct cpu_level { /* an instruction set by the name users know, best last */
    const char *name;
    uint32_t needs;   /* flags it stands for */
    uint32_t allowed; /* flags that may be used when it is asked for */
};
extern const struct cpu_level cpu_levels[];
extern const int cpu_n_levels;

void kernels_init_avx2(struct kernels *k, uint32_t flags);
void kernels_init_avxvnni(struct kernels *k, uint32_t flags);
void kernels_init_avx512(struct kernels *k, uint32_t flags);
void kernels_init_avx512bf16(struct kernels *k, uint32_t flags);
void kernels_init_avx512fp16(struct kernels *k, uint32_t flags);
void kernels_init_avx512vnni(struct kernels *k, uint32_t flags);
void kernels_init_amx(struct kernels *k, uint32_t flags);
/* The parts of cpu_flags_granted: the process's permission, and small products compared with the portable ones. */
rkf_status amx_permission(rkf_error *why);
rkf_status amx_check(const struct kernels *k, rkf_error *why);
void kernels_init_neon(struct kernels *k, uint32_t flags);
void kernels_init_neon_dotprod(struct kernels *k, uint32_t flags);
void kernels_init_neon_fp16(struct kernels *k, uint32_t flags);
void kernels_init_neon_bf16(struct kernels *k, uint32_t flags);
void kernels_init_neon_i8mm(struct kernels *k, uint32_t flags);

static inline enum gemm_type gemm_type_of(enum dtype type) /* GEMM_COUNT: none */
{
    switch (type) {
    case DTYPE_F32:
        return GEMM_F32;
    case DTYPE_BF16:
        return GEMM_BF16;
    case DTYPE_F16:
        return GEMM_F16;
    case DTYPE_I8:
        return GEMM_I8;
    default:
        return GEMM_COUNT;
    }
}

#endif
