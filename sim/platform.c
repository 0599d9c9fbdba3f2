/* SPDX-License-Identifier: Apache-2.0 */
/* The platforms: cores, what their matmul computes, native tiles, relative speed. */
#include "sim.h"

#include <string.h>
#include <strings.h>

#define TYPE(t)  (1u << SIM_##t)
#define T_RK356X (TYPE(F16_F16_F32) | TYPE(I8_I8_I32))
#define T_RK3576                                                                                                       \
    (T_RK356X | TYPE(F16_F16_F16) | TYPE(F16_I8_F32) | TYPE(F16_I4_F16) | TYPE(F16_I4_F32) | TYPE(I8_I4_I32))
#define T_RK3588 (T_RK356X | TYPE(F16_F16_F16) | TYPE(I8_I8_F32) | TYPE(I8_I8_I8) | TYPE(I4_I4_I16))

/* Tiles and alignment: the tables of the matmul header. Types: the table of supported combinations in the vendor's user
 * guide. Speed: int8 TOPS per core against RK3588's two. */
static const struct platform platforms[] = {
    { "rk3588", "RK3588", 3, true, true, T_RK3588, 8192, 32, 16, 8, 32, 32, 16, 32, 64, 32, 1.0 },
    { "rk3576", "RK3576", 2, true, true, T_RK3576, 4096, 32, 16, 8, 32, 32, 16, 32, 64, 32, 1.5 },
    { "rk3568", "RK3568", 1, false, false, T_RK356X, 0, 16, 8, 4, 32, 16, 8, 0, 0, 0, 0.5 },
    { "rk3566", "RK3566", 1, false, false, T_RK356X, 0, 16, 8, 4, 32, 16, 8, 0, 0, 0, 0.5 },
    { "rk3562", "RK3562", 1, false, true, T_RK356X, 0, 32, 8, 8, 32, 16, 16, 0, 0, 0, 0.5 },
};

const struct platform *platform_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof platforms / sizeof *platforms; i++)
        if (strlen(platforms[i].name) == len && strncasecmp(platforms[i].name, name, len) == 0)
            return &platforms[i];
    return NULL;
}

static const struct matmul_kind kinds[] = {
    [SIM_F16_F16_F32] = { SIM_F16, SIM_F16, SIM_F32 }, [SIM_I8_I8_I32] = { SIM_I8, SIM_I8, SIM_I32 },
    [SIM_I8_I8_I8] = { SIM_I8, SIM_I8, SIM_I8 },       [SIM_F16_F16_F16] = { SIM_F16, SIM_F16, SIM_F16 },
    [SIM_F16_I8_F32] = { SIM_F16, SIM_I8, SIM_F32 },   [SIM_F16_I8_F16] = { SIM_F16, SIM_I8, SIM_F16 },
    [SIM_F16_I4_F32] = { SIM_F16, SIM_I4, SIM_F32 },   [SIM_F16_I4_F16] = { SIM_F16, SIM_I4, SIM_F16 },
    [SIM_I8_I8_F32] = { SIM_I8, SIM_I8, SIM_F32 },     [SIM_I4_I4_I16] = { SIM_I4, SIM_I4, SIM_I16 },
    [SIM_I8_I4_I32] = { SIM_I8, SIM_I4, SIM_I32 },
};

const struct matmul_kind *matmul_kind(int type)
{
    return type >= SIM_F16_F16_F32 && type <= SIM_I8_I4_I32 ? &kinds[type] : NULL;
}

/* With different types of A and B, B has the tile of A's type. */
struct tile platform_tile(const struct platform *p, int type)
{
    switch (kinds[type].a) {
    case SIM_F16:
        return (struct tile){ p->f16_k, p->f16_n, p->k_segment, p->f16_ac, 4 };
    case SIM_I8:
        return (struct tile){ p->i8_k, p->i8_n, p->k_segment, p->i8_ac, 4 };
    default:
        return (struct tile){ p->i4_k, p->i4_n, p->k_segment, p->i4_ac, 8 };
    }
}

/* Segments along K one after the other, each (N/n, K/k, n, k). */
size_t native_b(const struct tile *t, uint32_t K, uint32_t N, uint32_t k, uint32_t n)
{
    uint32_t first = t->segment ? k / t->segment * t->segment : 0; /* where k's segment begins */
    uint32_t rows = t->segment && K - first > t->segment ? t->segment : K - first;
    uint32_t ks = k - first;
    size_t tile = (size_t)(n / t->n) * (rows / t->k) + ks / t->k;
    return (size_t)first * N + (tile * t->n + n % t->n) * t->k + ks % t->k;
}

size_t type_bits(int type)
{
    static const uint8_t bits[SIM_TYPE_COUNT] = { 32, 16, 8, 8, 16, 16, 32, 32, 64, 8, 4, 16 };
    return type >= 0 && type < SIM_TYPE_COUNT ? bits[type] : 0;
}
