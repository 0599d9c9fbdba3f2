/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that depend on positions only. Pure; private to src/encoder. */
#ifndef RKF_ENCODER_POSITIONS_H
#define RKF_ENCODER_POSITIONS_H

#include "model/model.h"

/* cos, sin [positions, dim / 2] */
void rotary_fill(double theta, double factor, uint32_t dim, uint32_t positions, float *cos, float *sin);
/* MPNet: row of relative_attention_bias for key - query = distance. */
uint32_t relative_bucket(int32_t distance);
enum { RELATIVE_SPAN = 129 }; /* from a distance of 128 on, the bucket stays the same */
/* DeBERTa: row of the relative embeddings for query - key = distance. */
int32_t disentangled_row(const struct encoder_spec *spec, int32_t distance);

#endif
