/* SPDX-License-Identifier: Apache-2.0 */
/* A matmul context and its product; matmul.c has the calls, product.c the arithmetic. */
#ifndef RKNNSIM_MATMUL_H
#define RKNNSIM_MATMUL_H

#include "sim.h"

struct matmul_quant { /* real = (q - zp) * scale; NULL: scale 1, zp 0 */
    float *scale;     // [n] f32
    int32_t *zp;      // [n] i32
    uint32_t n;       /* 1 or columns of B */
};
struct matmul_io {
    uint64_t memory; /* id; 0: not set */
    uint8_t *copy;   /* normal layout: the matrix as it was when it was set */
    uint32_t copy_size;
};
struct matmul {
    struct sim_matmul_info info;
    const struct matmul_kind *kind;
    struct tile tile;
    struct matmul_quant quant[3];
    struct matmul_io io[3];
    int current; /* index of the shape in use; -1: not set yet */
    uint32_t n_shapes;
    struct sim_matmul_shape shapes[];
};

struct matmul_product {
    const struct matmul *m;
    uint32_t M, K, N;
    const uint8_t *a, *b; // [M, K], [K, N] in the context's layouts
    uint8_t *c;           // [M, N]
    size_t c_bytes;
    int result; /* set by the caller's callback */
};
int matmul_compute(struct matmul_product *p); /* 0 or -4 */

#endif
