/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMX: products of tiles, 16 rows of 64 bytes each, bf16 with f32 sums and int8 exact in int32.
 *
 * The panels are those of the AVX-512 kernels, [k / 2][32][2] bf16 and [k / 4][32][4] int8: each group of depths is 128
 * bytes, so that 16 groups are two tiles side by side. A block of sums is 32 x 32:
 *
 *                      panel  tmm6   tmm7
 *     rows 0 .. 15 of x  tmm4   tmm0   tmm1
 *     rows 16 .. 31      tmm5   tmm2   tmm3
 *
 * One shape of tiles for all: rows beyond the last are multiplied, too, and their sums never looked at; depths beyond
 * the last are zeros. So the tiles are configured once for many panels (enter), and given back before the thread may
 * wait (leave), since the kernel saves 8 KB for every thread that is switched while it has tiles.
 *
 * bf16 takes no kernel for few rows: a text gets the same numbers in whatever batch. int8 is exact, and has
 * AVX-512's: there reading the weights is the cost, and a tile would be more than half empty.
 *
 * Never run on a processor that has AMX by those who wrote it: tests/device/amx_emulator.h executes the instructions.
 */
#include "device/cpu/kernels_simd_avx512.h"

#include "device/cpu/kernels_simd.h"

enum {
    SIDE = 16, /* rows of a tile */
    LINE = 64, /* bytes of a row of a tile */
    PANEL_LINE = 2 * LINE /* bytes of a group of depths in a panel */,
    FEW_ROWS = 8,
};
_Static_assert(PANEL_LINE == 4 * NR, "a panel is two tiles wide");

static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t line[16];
    uint8_t rows[16];
} config = { 1, 0, { 0 }, { LINE, LINE, LINE, LINE, LINE, LINE, LINE, LINE }, { 16, 16, 16, 16, 16, 16, 16, 16 } };

static void enter(void)
{
    _tile_loadconfig(&config);
}

static void leave(void)
{
    _tile_release();
}

/* Sums of t into its c, as f32 or int32. tall: more than SIDE rows. i8 and tall are constants. */
ALWAYS_INLINE void multiply(const bool i8, const bool tall, const struct tile *t)
{
    const uint32_t depths = LINE / (i8 ? 1 : 2);
    const size_t stride = t->lda * (i8 ? 1 : 2);
    const char *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    __asm__ volatile("" ::: "memory"); /* gcc 12 does not say that a tile's load reads memory */
    _tile_zero(0);
    _tile_zero(1);
    if (tall) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (uint32_t i = 0; i < t->k; i += depths, a += LINE, b += SIDE * PANEL_LINE) {
        UNROLL for (int group = 0; group < SIDE; group++, ahead += t->ahead_step)
            __builtin_prefetch((const void *)ahead, 0, 2);
        _tile_loadd(6, b, PANEL_LINE);
        _tile_loadd(4, a, stride);
        _tile_loadd(7, b + LINE, PANEL_LINE);
        if (tall)
            _tile_loadd(5, a + SIDE * stride, stride);
        if (i8) {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall && i8) {
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        } else if (tall) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, t->c, NR * sizeof(float));
    _tile_stored(1, t->c + SIDE, NR * sizeof(float));
    if (tall) {
        _tile_stored(2, t->c + SIDE * NR, NR * sizeof(float));
        _tile_stored(3, t->c + SIDE * NR + SIDE, NR * sizeof(float));
    }
}

static void tile_bf16(const struct tile *t)
{
    if (t->rows > SIDE)
        multiply(false, true, t);
    else
        multiply(false, false, t);
}

static void tile_i8(const struct tile *t)
{
    if (t->rows > SIDE)
        multiply(true, true, t);
    else
        multiply(true, false, t);
    for (uint32_t v = 0; v < NR; v += LANES) {
        vf scale = vf_load(t->scale + v);
        __m512i wsum = _mm512_loadu_si512(t->wsum + v);
        for (uint32_t r = 0; r < t->rows; r++) {
            float *c = t->c + r * NR + v;
            __m512i zero = _mm512_mullo_epi32(_mm512_set1_epi32(t->rq[r].zero), wsum);
            vf sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(c), zero));
            vf_store(c, vf_mul(vf_mul(vf_set(t->rq[r].scale), scale), sum));
        }
    }
}

static void use_tiles(struct kernels *k, enum gemm_type type, void (*tile)(const struct tile *t), uint16_t few)
{
    struct gemm *g = &k->gemm[type];
    g->mr = 2 * SIDE;
    g->row_step = SIDE;
    g->depth_step = LINE / g->a_size;
    g->few = few;
    g->tile_few = g->tile;
    g->tile = tile;
    g->enter = enter;
    g->leave = leave;
    k->isa = k->gemm_isa[type] = "amx";
}

/* Packs as AVX-512 BF16 and VNNI do, which every processor with AMX has. */
void kernels_init_amx(struct kernels *k, uint32_t flags)
{
    if (flags & CPU_AMX_BF16) {
        kernels_init_avx512bf16(k, CPU_AVX512BF16);
        use_tiles(k, GEMM_BF16, tile_bf16, 0);
    }
    if (flags & CPU_AMX_INT8)
        use_tiles(k, GEMM_I8, tile_i8, FEW_ROWS);
}
