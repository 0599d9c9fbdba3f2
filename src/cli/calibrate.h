/* SPDX-License-Identifier: Apache-2.0 */
/*
 * int8 and uint8 embeddings of a whole run: their ranges are the lowest and highest value per dimension over all texts,
 * so the floats wait in a temporary file until the last one is in. The arithmetic is sentence-transformers'
 * quantize_embeddings.
 */
#ifndef RKF_CLI_CALIBRATE_H
#define RKF_CLI_CALIBRATE_H

#include "cli/output.h"

#include <stdio.h>

struct calibration {
    FILE *spool; /* records of truncated (int64) and row ([dim] f32); NULL: not calibrating */
    rkf_precision precision;
    uint64_t rows;
    size_t dim;
    float *range; /* [2, dim] lowest, highest */
};
typedef rkf_status calibration_put(void *cookie, uint64_t index, const rkf_tensor *row, int64_t truncated,
                                   struct output *to, rkf_error *err);

/* Takes over int8 and uint8: the model is then asked for *precision = float32. Other precisions pass. */
rkf_status calibration_open(struct calibration *c, rkf_precision *precision, rkf_error *err) MUST_CHECK;
rkf_status calibration_add(struct calibration *c, const rkf_tensor *row, int64_t truncated, rkf_error *err) MUST_CHECK;
/* Gives every row, quantised, to put. Few texts make poor ranges: calibration_poor tells. */
rkf_status calibration_write(struct calibration *c, calibration_put *put, void *cookie, struct output *to,
                             rkf_error *err) MUST_CHECK;
bool calibration_poor(const struct calibration *c);
void calibration_close(struct calibration *c);

#endif
