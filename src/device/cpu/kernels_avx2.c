/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 with FMA and F16C: 8 floats at a time. */
#include "device/cpu/kernels_simd_avx2.h"

#include "device/cpu/kernels_simd.h"

/*
 * Tiles here are of up to MANY_ROWS rows, multiplied a block after the other: what a call costs beside its products is
 * shared by more of them. Their loops have little beside the products, too, and few loads: a core that is shared with
 * another thread issues no more.
 */
enum { MANY_ROWS = 24 };

/* Each block asks for its part of what is to come. */
static size_t ahead_of_block(const struct tile *t, uint32_t blocks, uint32_t groups)
{
    return (size_t)t->ahead_step * groups / blocks + 1;
}

ALWAYS_INLINE void add_depth(const int R, vf sum[16][TILE_VECS], const float *const a[TILE_ROWS], uint32_t depth,
                             const float *b)
{
    vf b0 = vf_load(b), b1 = vf_load(b + LANES), b2 = vf_load(b + 2 * LANES), x;
    UNROLL for (int r = 0; r < R; r++) /* as text: gcc 12 moves sums about and keeps some in memory */
        __asm__("vbroadcastss %4, %3\n\tvfmadd231ps %5, %3, %0\n\tvfmadd231ps %6, %3, %1\n\tvfmadd231ps %7, %3, %2" :
                "+x"(sum[r][0]), "+x"(sum[r][1]), "+x"(sum[r][2]), "=&x"(x) : "m"(a[r][depth]), "x"(b0), "x"(b1),
                "x"(b2));
}

enum {
    DEPTHS = 4,       /* of a step, in which each line of b that it reads can be asked for */
    PART_DEPTHS = 128 /* 12 KB of b stay in the first cache for all rows */
};

struct part_f32 {
    uint32_t row, depth, depths; /* of the tile: its first ones and how many */
    uintptr_t ahead;
    size_t step; /* bytes of what is ahead, for each step of depths */
};

/* R rows of a tile. lone: sums go on from the last depths, and all lines of what is ahead are asked for. */
ALWAYS_INLINE void tile_rows_f32(const int R, const bool lone, const struct tile *t, struct part_f32 p)
{
    vf sum[16][TILE_VECS];
    const float *a[TILE_ROWS], *b = (const float *)t->b + (size_t)p.depth * NR;
    const float *steps = b + (size_t)(p.depths / DEPTHS * DEPTHS) * NR, *end = b + (size_t)p.depths * NR;
    float *c = t->c + (size_t)p.row * NR;
    if (R > TILE_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) a[r] = (const float *)t->a + (p.row + (uint32_t)r) * t->lda + p.depth;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        sum[r][v] = lone && p.depth ? vf_load(c + r * NR + v * LANES) : vf_set(0);
    for (; b < steps; b += DEPTHS * NR) {
        __builtin_prefetch((const void *)p.ahead, 0, 2);
        for (size_t line = 64; lone && line < p.step; line += 64)
            __builtin_prefetch((const void *)(p.ahead + line), 0, 2);
        p.ahead += p.step;
        UNROLL for (uint32_t d = 0; d < DEPTHS; d++) add_depth(R, sum, a, d, b + d * NR);
        UNROLL for (int r = 0; r < R; r++) a[r] += DEPTHS;
    }
    for (uint32_t d = 0; b < end; d++, b += NR)
        add_depth(R, sum, a, d, b);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        vf_store(c + r * NR + v * LANES, sum[r][v]);
}

/* All rows of a tile, `each` at once, for some depths; returns what is ahead after them. */
ALWAYS_INLINE uintptr_t tile_depths_f32(const bool lone, const struct tile *t, uint32_t each, struct part_f32 p)
{
    for (; p.row < t->rows; p.row += each, p.ahead += p.step * (p.depths / DEPTHS)) {
        uint32_t rows = t->rows - p.row < each ? t->rows - p.row : each;
#define DO(R) tile_rows_f32(R, lone, t, p)
        EACH_ROWS(rows, DO)
#undef DO
    }
    return p.ahead;
}

/*
 * A panel that is read once, for a few rows, comes from memory. Multiplied by all of its depths, a block of rows after
 * the other, the first would wait for memory and memory for the others. So it is multiplied in parts, and all blocks
 * together ask for the next part.
 */
static void tile_f32(const struct tile *t)
{
    uint32_t blocks = (t->rows + TILE_ROWS - 1) / TILE_ROWS, each = (t->rows + blocks - 1) / blocks; /* even */
    struct part_f32 p = { 0, 0, t->k, t->ahead, ahead_of_block(t, blocks, DEPTHS) };
    if (!t->lone || blocks == 1) {
        tile_depths_f32(false, t, each, p);
        return;
    }
    p.ahead = (uintptr_t)t->b + PART_DEPTHS * NR * sizeof(float);
    p.step = (DEPTHS * NR * sizeof(float) + blocks - 1) / blocks;
    for (; p.depth < t->k; p.depth += PART_DEPTHS) {
        p.depths = t->k - p.depth < PART_DEPTHS ? t->k - p.depth : PART_DEPTHS;
        p.ahead = tile_depths_f32(true, t, each, p);
    }
}

/*
 * Int8 without dot products: VPMADDUBSW multiplies bytes and adds the products of two depths in 16 bits, where two of
 * these sums are added. Weights are quantised in steps that keep all that from running over (struct gemm, quads), so
 * that it is exact.
 */

enum { BLOCK_ROWS_I8 = 3 }; /* 3 x 3 sums, ones, 2 of a, 2 for products; b is read from memory */

struct bytes4 {
    uint8_t q[4];
};
struct bytes32 {
    int8_t q[32];
};

/* Eight depths of a row; b [2][3 vectors]. As text: gcc 12 keeps most sums in memory around the intrinsics. */
ALWAYS_INLINE void add_eight(__m256i sum[3], const uint8_t *a, const int8_t *b, __m256i ones)
{
    const struct bytes4 *x = (const void *)a;
    const struct bytes32 *w = (const void *)b;
    __m256i x0, x1, t0, t1;
    __asm__("vpbroadcastd %7, %3\n\tvpbroadcastd %8, %4\n\t"
            "vpmaddubsw %9, %3, %5\n\tvpmaddubsw %12, %4, %6\n\tvpaddw %6, %5, %5\n\t"
            "vpmaddwd %15, %5, %5\n\tvpaddd %5, %0, %0\n\t"
            "vpmaddubsw %10, %3, %5\n\tvpmaddubsw %13, %4, %6\n\tvpaddw %6, %5, %5\n\t"
            "vpmaddwd %15, %5, %5\n\tvpaddd %5, %1, %1\n\t"
            "vpmaddubsw %11, %3, %3\n\tvpmaddubsw %14, %4, %4\n\tvpaddw %4, %3, %3\n\t"
            "vpmaddwd %15, %3, %3\n\tvpaddd %3, %2, %2"
            : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "=&x"(x0), "=&x"(x1), "=&x"(t0), "=&x"(t1)
            : "m"(x[0]), "m"(x[1]), "m"(w[0]), "m"(w[1]), "m"(w[2]), "m"(w[3]), "m"(w[4]), "m"(w[5]), "x"(ones));
}

ALWAYS_INLINE void tile_rows_i8(const int R, const struct tile *t, uint32_t row, uintptr_t ahead, size_t step)
{
    __m256i sum[16][TILE_VECS], ones = _mm256_set1_epi16(1);
    const uint8_t *a = (const uint8_t *)t->a + row * t->lda;
    const int8_t *b = t->b;
    if (R > BLOCK_ROWS_I8)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < t->k; i += 8, a += 8, b += 8 * NR, ahead += step) {
        __builtin_prefetch((const void *)ahead, 0, 2);
        UNROLL for (int r = 0; r < R; r++) add_eight(sum[r], a + (size_t)r * t->lda, b, ones);
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
    {
        const struct row_quant *rq = &t->rq[row + (uint32_t)r];
        __m256i wsum = _mm256_loadu_si256((const __m256i *)(const void *)(t->wsum + v * LANES));
        __m256i zero = _mm256_mullo_epi32(_mm256_set1_epi32(rq->zero), wsum);
        vf scale = _mm256_mul_ps(_mm256_set1_ps(rq->scale), _mm256_loadu_ps(t->scale + v * LANES));
        vf y = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(sum[r][v], zero)));
        _mm256_storeu_ps(t->c + ((size_t)row + (uint32_t)r) * NR + v * LANES, y);
    }
}

static void tile_i8(const struct tile *t)
{
    size_t step = ahead_of_block(t, (t->rows + BLOCK_ROWS_I8 - 1) / BLOCK_ROWS_I8, 2);
    uintptr_t ahead = t->ahead;
    for (uint32_t r = 0; r < t->rows; r += BLOCK_ROWS_I8, ahead += step * (t->k / 8)) {
        uint32_t rows = t->rows - r < BLOCK_ROWS_I8 ? t->rows - r : BLOCK_ROWS_I8;
#define DO(R) tile_rows_i8(R, t, r, ahead, step)
        EACH_ROWS(rows, DO)
#undef DO
    }
}

/* The largest sum of four weights of one sign whose products are added in 16 bits: 126 steps of them, rounded to 128
 * at most. */
ALWAYS_INLINE float range_of_quads(const float *w, uint32_t k)
{
    vf zero = vf_set(0);
    __m128 most = _mm_setzero_ps();
    for (uint32_t i = 0; i < k; i += LANES) {
        vf v = load_upto(w + i, k - i);
        vf pairs = _mm256_hadd_ps(vf_max(v, zero), vf_max(vf_sub(zero, v), zero));
        most = _mm_max_ps(most, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
    }
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return fmaxf(_mm_cvtss_f32(most), _mm_cvtss_f32(_mm_movehdup_ps(most))) * QUAD_RANGE;
}

static void pack_b_i8_quads(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                            int32_t *wsum)
{
    pack_b_i8_kr(4, 4, range_of_quads, w, stride, cols, k, panel, scale, wsum);
}

void kernels_init_avx2(struct kernels *k, uint32_t flags)
{
    if (!(flags & CPU_AVX2))
        return;
    k->isa = "avx2";
    simd_fill(k);
    k->gemm[GEMM_F32] = (struct gemm){ MANY_ROWS, NR, 1, 4, tile_f32, NULL, simd_pack_b_f32, NULL };
    k->gemm[GEMM_BF16] = (struct gemm){
        3, NR, 2, 4, simd_tile_bf16, NULL, simd_pack_b_bf16, simd_widen_bf16 /* the fourth row would be spilled */
    };
    k->gemm[GEMM_F16] = (struct gemm){ TILE_ROWS_16, NR, 1, 4, simd_tile_f16, NULL, simd_pack_b_f16, simd_widen_f16 };
    k->gemm[GEMM_I8] = (struct gemm){
        MANY_ROWS, NR, 4, 1, tile_i8, simd_pack_a_i8, pack_b_i8_quads, .quads = true, .group = 4, .depth_step = 8
    };
    k->gemm_isa[GEMM_I8] = k->gemm_isa[GEMM_F32] = k->gemm_isa[GEMM_BF16] = k->gemm_isa[GEMM_F16] = k->isa;
}
