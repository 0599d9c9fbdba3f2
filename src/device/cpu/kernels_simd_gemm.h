/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products and packing over the vector words; the end of kernels_simd.h.
 *
 * A tile keeps R x TILE_VECS vectors of sums in registers. At each depth it reads TILE_VECS vectors of b and one number
 * of each of its R rows of a.
 */
#ifndef RKF_DEVICE_CPU_KERNELS_SIMD_GEMM_H
#define RKF_DEVICE_CPU_KERNELS_SIMD_GEMM_H

/* One case per number of rows, so that each tile keeps its sums in registers. */
#define EACH_ROWS(rows, DO)                                                                                            \
    switch (rows) {                                                                                                    \
    case 1:                                                                                                            \
        DO(1);                                                                                                         \
        break;                                                                                                         \
    case 2:                                                                                                            \
        DO(2);                                                                                                         \
        break;                                                                                                         \
    case 3:                                                                                                            \
        DO(3);                                                                                                         \
        break;                                                                                                         \
    case 4:                                                                                                            \
        DO(4);                                                                                                         \
        break;                                                                                                         \
    case 5:                                                                                                            \
        DO(5);                                                                                                         \
        break;                                                                                                         \
    case 6:                                                                                                            \
        DO(6);                                                                                                         \
        break;                                                                                                         \
    case 7:                                                                                                            \
        DO(7);                                                                                                         \
        break;                                                                                                         \
    case 8:                                                                                                            \
        DO(8);                                                                                                         \
        break;                                                                                                         \
    case 9:                                                                                                            \
        DO(9);                                                                                                         \
        break;                                                                                                         \
    case 10:                                                                                                           \
        DO(10);                                                                                                        \
        break;                                                                                                         \
    case 11:                                                                                                           \
        DO(11);                                                                                                        \
        break;                                                                                                         \
    case 12:                                                                                                           \
        DO(12);                                                                                                        \
        break;                                                                                                         \
    case 13:                                                                                                           \
        DO(13);                                                                                                        \
        break;                                                                                                         \
    case 14:                                                                                                           \
        DO(14);                                                                                                        \
        break;                                                                                                         \
    default:                                                                                                           \
        break;                                                                                                         \
    }

/* ---- products of f32 in any layout: attention */

/* A tile of m from row r and column n on: R rows and V vectors; masked: V is 1 and only left < LANES columns. R, V,
 * masked are constants. */
ALWAYS_INLINE void mm_tile(const int R, const int V, const bool masked, const struct matmul *m, uint32_t row,
                           uint32_t col)
{
    const float *a = m->a + row * m->lda, *b = m->b + col;
    uint32_t left = m->cols - col;
    vf sum[16][4], bv[4];
    if (R > MM_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] = vf_set(0);
    for (uint32_t i = 0; i < m->k; i++, b += m->ldb) {
        UNROLL for (int v = 0; v < V; v++) bv[v] = masked ? vf_load_n(b, left) : vf_load(b + v * LANES);
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)
            sum[r][v] = vf_fma_n(a[(size_t)r * m->lda + i], bv[v], sum[r][v]);
    }
    if (!masked && !m->keep && !m->scale) { /* attention's scores */
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < V; v++)
            vf_store(m->c + (row + (uint32_t)r) * m->ldc + col + v * LANES, sum[r][v]);
        return;
    }
    UNROLL for (int r = 0; r < R; r++)
    {
        float *c = m->c + (row + (uint32_t)r) * m->ldc + col;
        vf scale = vf_set(m->scale ? m->scale[row + (uint32_t)r] : 1);
        vf keep = vf_set(m->keep ? m->keep[row + (uint32_t)r] : 0);
        UNROLL for (int v = 0; v < V; v++)
        {
            vf t = sum[r][v];
            if (m->keep)
                t = vf_fma(masked ? vf_load_n(c, left) : vf_load(c + v * LANES), keep, t);
            t = vf_mul(t, scale);
            if (masked)
                vf_store_n(c, t, left);
            else
                vf_store(c + v * LANES, t);
        }
    }
}

static inline void mm_wide(uint32_t rows, const struct matmul *m, uint32_t row, uint32_t col)
{
#define DO(R) mm_tile(R, MM_VECS, false, m, row, col)
    EACH_ROWS(rows, DO)
#undef DO
}

static inline void mm_one(uint32_t rows, const struct matmul *m, uint32_t row, uint32_t col)
{
#define DO(R) mm_tile(R, 1, false, m, row, col)
    EACH_ROWS(rows, DO)
#undef DO
}

static inline void mm_part(uint32_t rows, const struct matmul *m, uint32_t row, uint32_t col)
{
#define DO(R) mm_tile(R, 1, true, m, row, col)
    EACH_ROWS(rows, DO)
#undef DO
}

static inline void simd_matmul(const struct matmul *m)
{
    enum { MM_NR = MM_VECS * LANES };
    uint32_t tiles = (m->rows + MM_ROWS - 1) / MM_ROWS, each = tiles ? (m->rows + tiles - 1) / tiles : 0;
    for (uint32_t n = 0; n < m->cols;) {
        uint32_t left = m->cols - n, step = left >= MM_NR ? MM_NR : left >= LANES ? LANES : left;
        for (uint32_t r = 0; r < m->rows; r += each) {
            uint32_t rows = m->rows - r < each ? m->rows - r : each;
            if (step == MM_NR)
                mm_wide(rows, m, r, n);
            else if (step == LANES)
                mm_one(rows, m, r, n);
            else
                mm_part(rows, m, r, n);
        }
        n += step;
    }
}

/* ---- tiles of linear layers: x in f32, weights in f32, bf16 or f16 */

ALWAYS_INLINE void tile_store(const int R, const struct tile *t, vf sum[16][TILE_VECS])
{
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
        vf_store(t->c + r * NR + v * LANES, sum[r][v]);
}

ALWAYS_INLINE void mm_tile_f32(const int R, const struct tile *t)
{
    vf sum[16][TILE_VECS], bv[TILE_VECS];
    const float *a = t->a, *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = vf_set(0);
    for (uint32_t i = 0; i < t->k; i++, b += NR) {
        UNROLL for (int v = 0; v < TILE_VECS; v++) bv[v] = vf_load(b + v * LANES);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
            sum[r][v] = vf_fma_n(a[(size_t)r * t->lda + i], bv[v], sum[r][v]);
    }
    tile_store(R, t, sum);
}

static inline void simd_tile_f32(const struct tile *t)
{
#define DO(R) mm_tile_f32(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

enum { TILE_ROWS_16 = TILE_ROWS > 12 ? 12 : TILE_ROWS }; /* 16-bit weights need registers to widen in */

/* Weights in bf16 by pairs of depths, [k / 2][NR][2]: for processors that do not multiply bf16, or slowly. */
ALWAYS_INLINE void mm_tile_bf16(const int R, const struct tile *t)
{
    vf sum[16][TILE_VECS], bv[TILE_VECS];
    const float *a = t->a;
    const uint16_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_16)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = vf_set(0);
    for (uint32_t i = 0; i < t->k; i += 2, b += 2 * NR) {
        UNROLL for (int v = 0; v < TILE_VECS; v++) bv[v] = vf_even_bf16(b + v * 2 * LANES);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
            sum[r][v] = vf_fma_n(a[(size_t)r * t->lda + i], bv[v], sum[r][v]);
        if (i + 1 == t->k) /* x has no padding */
            break;
        UNROLL for (int v = 0; v < TILE_VECS; v++) bv[v] = vf_odd_bf16(b + v * 2 * LANES);
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
            sum[r][v] = vf_fma_n(a[(size_t)r * t->lda + i + 1], bv[v], sum[r][v]);
    }
    tile_store(R, t, sum);
}

static inline void simd_tile_bf16(const struct tile *t){
#define DO(R) mm_tile_bf16(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/* Weights in f16, [k][NR], widened as they are read. */
ALWAYS_INLINE void mm_tile_f16(const int R, const struct tile *t)
{
    vf sum[16][TILE_VECS], bv[TILE_VECS];
    const float *a = t->a;
    const uint16_t *b = t->b;
    uintptr_t ahead = t->ahead;
    if (R > TILE_ROWS_16)
        return;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = vf_set(0);
    for (uint32_t i = 0; i < t->k; i++, b += NR) {
        UNROLL for (int v = 0; v < TILE_VECS; v++) bv[v] = vf_load_f16(b + v * LANES);
        __builtin_prefetch((const void *)ahead, 0, 2);
        ahead += t->ahead_step;
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_VECS; v++)
            sum[r][v] = vf_fma_n(a[(size_t)r * t->lda + i], bv[v], sum[r][v]);
    }
    tile_store(R, t, sum);
}

static inline void simd_tile_f16(const struct tile *t)
{
#define DO(R) mm_tile_f16(R, t)
    EACH_ROWS(t->rows, DO)
#undef DO
}

/* ---- panels in 16 bits as panels in f32 */

static inline void simd_widen_f16(const void *b, uint32_t k, float *out)
{
    const uint16_t *p = b;
    for (size_t i = 0; i < (size_t)k * NR; i += LANES)
        vf_store(out + i, vf_load_f16(p + i));
}

static inline void simd_widen_bf16(const void *b, uint32_t k, float *out)
{
    const uint16_t *p = b;
    for (uint32_t i = 0; i < k; i += 2, p += 2 * NR)
        for (uint32_t n = 0; n < NR; n += LANES) {
            vf_store(out + (size_t)i * NR + n, vf_even_bf16(p + 2 * n));
            if (i + 1 < k)
                vf_store(out + ((size_t)i + 1) * NR + n, vf_odd_bf16(p + 2 * n));
        }
}

/* ---- packing */

/* LANES rows, of which only the first `rows` are there; cols is a multiple of 4. */
ALWAYS_INLINE void transpose_rows(const float *src, size_t lds, uint32_t rows, uint32_t cols, float *dst, size_t ldd)
{
    static const float zeros[4];
    const float *row[LANES];
    for (uint32_t c = 0; c < cols; c += 4) {
        UNROLL for (uint32_t i = 0; i < LANES; i++) row[i] = i < rows ? src + i * lds + c : zeros;
        transpose4(row, dst + c * ldd, ldd);
    }
}

static inline void simd_transpose(const float *src, size_t lds, uint32_t rows, uint32_t cols, float *dst, size_t ldd)
{
    uint32_t c4 = cols & ~3u;
    for (uint32_t r = 0; r < rows; r += LANES) {
        if (rows - r >= LANES)
            transpose_rows(src + r * lds, lds, LANES, c4, dst + r, ldd);
        else
            transpose_rows(src + r * lds, lds, rows - r, c4, dst + r, ldd);
        for (uint32_t c = c4; c < cols; c++)
            for (uint32_t i = r; i < r + LANES; i++)
                if (i < rows)
                    memcpy(dst + c * ldd + i, src + i * lds + c, sizeof *dst); /* words, not always numbers */
                else
                    dst[c * ldd + i] = 0;
    }
}

static inline void simd_pack_b_f32(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                                   int32_t *wsum)
{
    (void)scale, (void)wsum;
    if (cols < NR)
        memset(panel, 0, (size_t)k * NR * sizeof(float));
    simd_transpose(w, stride, cols, k, panel, NR);
}

/* f16, nr columns by single depths: [k][nr] */
ALWAYS_INLINE void pack_b_f16_nr(const uint32_t nr, const float *w, size_t stride, uint32_t cols, uint32_t k,
                                 uint16_t *b)
{
    enum { STEP = 16 };
    float block[STEP * KERNEL_MAX_NR] = { 0 };
    for (uint32_t i = 0; i < k; i += STEP) {
        uint32_t n = k - i < STEP ? k - i : STEP;
        simd_transpose(w + i, stride, cols, n, block, nr);
        for (uint32_t j = 0; j < n * nr; j += LANES)
            vf_store_f16(b + j, vf_load(block + j));
        b += n * nr;
    }
}

static inline void simd_pack_b_f16(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                                   int32_t *wsum)
{
    (void)scale, (void)wsum;
    pack_b_f16_nr(NR, w, stride, cols, k, panel);
}

enum { PACK_STEP = 64 }; /* depths that are converted at once; 64 bytes, or 32 pairs */

/* words [NR][count] -> b [count / each][NR][each]: groups of `each` words (1, 2 or 4) of a column stay together */
ALWAYS_INLINE void pack_words(const uint32_t each, const float *words, size_t stride, uint32_t count, float *b)
{
    if (each == 1)
        simd_transpose(words, stride, NR, count, b, NR);
    for (uint32_t i = 0; each > 1 && i < count; i += each)
        for (uint32_t c = 0; c < NR; c++, b += each)
            memcpy(b, words + c * stride + i, each * sizeof *b);
}

/* bf16 or f16, kr depths of a column together (2 or 4) */
ALWAYS_INLINE void pack_b_16_kr(const uint32_t kr, const bool f16, const float *w, size_t stride, uint32_t cols,
                                uint32_t k, float *b)
{
    _Alignas(64) float words[NR][PACK_STEP / 2]; /* a word holds a pair of one column */
    memset(words, 0, sizeof words);
    for (uint32_t i = 0; i < k; i += PACK_STEP) {
        uint32_t n = k - i < PACK_STEP ? k - i : PACK_STEP, count = (n + kr - 1) / kr * (kr / 2);
        for (uint32_t c = 0; n < PACK_STEP && c < cols; c++)
            memset(words[c], 0, sizeof words[c]);
        for (uint32_t c = 0; c < cols; c++)
            for (uint32_t j = 0; j < n; j += LANES) {
                uint16_t *to = (uint16_t *)(void *)words[c] + j;
                vf v = load_upto(w + c * stride + i + j, n - j);
                if (f16)
                    vf_store_f16(to, v);
                else
                    vf_store_bf16(to, v);
            }
        pack_words(kr / 2, words[0], PACK_STEP / 2, count, b + (size_t)i / 2 * NR);
    }
}

static inline void simd_pack_b_bf16(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                                    int32_t *wsum)
{
    (void)scale, (void)wsum;
    pack_b_16_kr(2, false, w, stride, cols, k, panel);
}

/* What becomes 127 steps of a column's weights. */
ALWAYS_INLINE float range_of_column(const float *w, uint32_t k)
{
    vf most = vf_set(0);
    for (uint32_t i = 0; i < k; i += LANES)
        most = vf_max(most, vf_abs(load_upto(w + i, k - i)));
    return vf_hmax(most);
}

/* int8, `each` depths of a column together (4, 8 or 16), k padded to a multiple of kr */
ALWAYS_INLINE void pack_b_i8_kr(const uint32_t each, const uint32_t kr,
                                float (*const range)(const float *w, uint32_t k), const float *w, size_t stride,
                                uint32_t cols, uint32_t k, float *b, float *scale, int32_t *wsum)
{
    _Alignas(64) float words[NR][PACK_STEP / 4]; /* a word holds four depths of one column */
    float inverse[NR];
    memset(words, 0, sizeof words);
    for (uint32_t c = 0; c < NR; c++) {
        float max = c < cols ? range(w + c * stride, k) : 0;
        scale[c] = max / 127;
        inverse[c] = quant_usable(max) ? 127 / max : 0;
        wsum[c] = 0;
    }
    for (uint32_t i = 0; i < k; i += PACK_STEP) {
        uint32_t n = k - i < PACK_STEP ? k - i : PACK_STEP, count = (n + kr - 1) / kr * (kr / 4);
        for (uint32_t c = 0; c < cols; c++) {
            int8_t *q = (int8_t *)(void *)words[c];
            if (n < PACK_STEP)
                memset(q, 0, PACK_STEP);
            for (uint32_t j = 0; j < n; j += LANES)
                vf_store_i8(q + j, vf_mul(load_upto(w + c * stride + i + j, n - j), vf_set(inverse[c])));
            for (uint32_t j = 0; j < n; j++)
                wsum[c] += q[j];
        }
        pack_words(each / 4, words[0], PACK_STEP / 4, count, b + (size_t)i / 4 * NR);
    }
}

static inline void simd_pack_b_i8(const float *w, size_t stride, uint32_t cols, uint32_t k, void *panel, float *scale,
                                  int32_t *wsum)
{
    pack_b_i8_kr(4, 4, range_of_column, w, stride, cols, k, panel, scale, wsum);
}

/* One row of x as bytes, padded to a multiple of kr; q - offset is stored, and subtracted from the zero. */
ALWAYS_INLINE void quantize_row(const uint32_t kr, const int offset, const float *row, uint32_t k, uint8_t *out,
                                struct row_quant *rq)
{
    vf low = vf_set(0), high = vf_set(0);
    uint8_t tail[LANES + 16];
    uint32_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        low = vf_min(low, vf_load(row + i));
        high = vf_max(high, vf_load(row + i));
    }
    if (i < k) {
        low = vf_min(low, vf_load_n(row + i, k - i));
        high = vf_max(high, vf_load_n(row + i, k - i));
    }
    float lo = -vf_hmax(vf_sub(vf_set(0), low)), range = vf_hmax(high) - lo;
    float inverse = quant_usable(range) ? 255 / range : 0;
    float zero = inverse > 0 ? nearbyintf(-lo * inverse) : 0;
    vf vi = vf_set(inverse), from = vf_set(-zero), to = vf_set(255 - zero), vz = vf_set(zero - (float)offset);
    *rq = (struct row_quant){ range / 255, (int32_t)zero - offset };
    for (i = 0; i + LANES <= k; i += LANES) {
        vf q = vf_add(vf_round(vf_min(vf_max(vf_mul(vf_load(row + i), vi), from), to)), vz);
        if (offset)
            vf_store_i8((int8_t *)out + i, q);
        else
            vf_store_u8(out + i, q);
    }
    if (i < k || k % kr) {
        vf q = vf_add(vf_round(vf_min(vf_max(vf_mul(vf_load_n(row + i, k - i), vi), from), to)), vz);
        memset(tail, (int)zero - offset, sizeof tail);
        if (offset)
            vf_store_i8((int8_t *)tail, q);
        else
            vf_store_u8(tail, q);
        memcpy(out + i, tail, (k + kr - 1) / kr * kr - i);
    }
}

static inline void simd_pack_a_i8(const float *x, size_t stride, uint32_t rows, uint32_t k, void *a, size_t lda,
                                  struct row_quant *rq)
{
    for (uint32_t r = 0; r < rows; r++)
        quantize_row(4, 0, x + r * stride, k, (uint8_t *)a + r * lda, rq + r);
}

#endif
