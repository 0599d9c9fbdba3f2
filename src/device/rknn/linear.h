/* SPDX-License-Identifier: Apache-2.0 */
/* A linear layer in the NPU's memory: shared by linear.c, which makes it, and apply.c, which runs it. */
#ifndef RKF_DEVICE_RKNN_LINEAR_H
#define RKF_DEVICE_RKNN_LINEAR_H

#include "device/rknn/rknn_private.h"

struct rknn_linear {
    struct linear base;
    struct call life; /* counts: the owner, and every run in flight */
    struct rknn_device *d;
    const struct home *home;
    uint32_t n_parts, part_out; /* part_out: columns of each part if all are the same, else 0 */
    /* The matrix in blocks: k_cuts of k_step rows by n_cuts of n_step columns, the last ones smaller. */
    uint32_t k_cuts, k_step, k_align, n_cuts, n_step, n_align;
    struct block *blocks; // [n_cuts][k_cuts]
    float *bias;          // [out]
    float *scale;         // [out]: weights were divided by it
    bool scaled;          /* some scale is not 1 */
    size_t bytes;
};
uint32_t linear_k(const struct rknn_linear *l, uint32_t i); /* rows of cut i, without padding */
uint32_t linear_n(const struct rknn_linear *l, uint32_t j); /* columns of cut j, without padding */
rkf_status rknn_apply(struct exec *x, const struct linear *base, struct view in, const struct epilogue *epi,
                      struct view y, rkf_error *err);

#endif
