/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels of x that are far larger than all others. Trained encoders have a few, always the same ones: quantised with
 * the rest of a row they would take most of its 255 steps, and the weights that they meet would need more than 127. A
 * layer in int8 that has been shown some rows multiplies up to OUTLIERS such channels in f32, beside the int8 product
 * (kernels.h, struct channels): there x is quantised as if they were 0, and has zeros for weights.
 *
 * Which channels they are decides nothing but accuracy, and a row's result is its own.
 */
#ifndef RKF_DEVICE_CPU_OUTLIERS_H
#define RKF_DEVICE_CPU_OUTLIERS_H

#include "device/cpu/kernels.h"

enum { OUTLIERS = 4 };

struct outliers {
    uint32_t n; /* 0: none */
    uint32_t channel[OUTLIERS];
    float *weights; // [n_panels][OUTLIERS][nr], of which the first n are filled
    float *seen;    // [in] the largest of each channel, while the layer is shown rows; else NULL
};

void outliers_see(const struct outliers *o, const float *x, size_t stride, uint32_t rows, uint32_t in);
/* Decides by what was seen, and forgets it. */
void outliers_choose(struct outliers *o, uint32_t in);
/* Takes the channels out of a packed panel of g, of k depths. True: the steps of a column were made for them, and
 * packed without them would be much finer. */
bool outliers_clear(const struct outliers *o, const struct gemm *g, uint32_t k, int8_t *panel, int32_t *wsum);
/* As gemm_pack_a, of a layer with outliers, whose x go to far [rows][OUTLIERS]; row [in] is scratch. */
void outliers_pack_a(const struct outliers *o, const struct gemm *g, const float *x, size_t stride, uint32_t rows,
                     uint32_t in, void *a, struct row_quant *rq, float *far, float *row);

#endif
