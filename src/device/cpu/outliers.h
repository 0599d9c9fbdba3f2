/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels of x that are far larger than all others. Trained encoders have a few, always the same ones: quantised with
 * the rest of a row they would take most of its 255 steps. A layer in int8 that has been shown some rows gives each of
 * up to OUTLIERS such channels four depths more, of weights w, w, -w, -w: what is beyond 0 .. 255 of the channel's
 * steps goes there, up to 127 to each, and the others' steps are half as large or less.
 *
 *     x   | q q q q ... | p p n n | p p n n | ...      panel   | w w w w ... | w w -w -w | ...
 *           in depths     channel 0's depths, ...
 *
 * Which channels they are decides nothing but accuracy. The sums stay exact, and a row's result is its own.
 */
#ifndef RKF_DEVICE_CPU_OUTLIERS_H
#define RKF_DEVICE_CPU_OUTLIERS_H

#include "device/cpu/kernels.h"

enum { OUTLIERS = 4, OUTLIER_DEPTHS = 4 * OUTLIERS };

struct outliers {
    uint32_t n; /* 0: none */
    uint32_t channel[OUTLIERS];
    uint32_t first; /* of their depths: the layer's own, padded to a multiple of kr */
    float *seen;    // [in] the largest of each channel, while the layer is shown rows; else NULL
};

void outliers_see(const struct outliers *o, const float *x, size_t stride, uint32_t rows, uint32_t in);
/* Decides by what was seen, and forgets it. */
void outliers_choose(struct outliers *o, uint32_t in);
/* The added depths of a packed panel, which has room for them. */
void outliers_fill(const struct outliers *o, const struct gemm *g, int8_t *panel);
/* As gemm_pack_a, of a layer with outliers; lda: all depths, theirs included; row [in] is scratch. */
void outliers_pack_a(const struct outliers *o, const struct gemm *g, const float *x, size_t stride, uint32_t rows,
                     uint32_t in, void *a, size_t lda, struct row_quant *rq, float *row);

#endif
