/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/calibrate.h"
#include "base/mem.h"
#include "cli/record.h"

#include <math.h>

enum { ENOUGH = 100 }; /* texts for good ranges, as sentence-transformers warns */

rkf_status calibration_open(struct calibration *c, rkf_precision *precision, rkf_error *err)
{
    if (*precision != RKF_INT8 && *precision != RKF_UINT8)
        return RKF_OK;
    FILE *spool = tmpfile();
    if (!spool)
        return rkf_fail_errno(err, RKF_IO, "cannot make a temporary file for --precision");
    *c = (struct calibration){ .spool = spool, .precision = *precision };
    *precision = RKF_FLOAT32;
    return RKF_OK;
}

static rkf_status first_row(struct calibration *c, size_t dim, rkf_error *err)
{
    if (!(c->range = mem_array(2 * dim, sizeof *c->range)))
        return rkf_fail_memory(err, 2 * dim * sizeof *c->range, "ranges");
    for (size_t i = 0; i < dim; i++) {
        c->range[i] = INFINITY;
        c->range[dim + i] = -INFINITY;
    }
    c->dim = dim;
    return RKF_OK;
}

rkf_status calibration_add(struct calibration *c, const rkf_tensor *row, int64_t truncated, rkf_error *err)
{
    const float *v = row->data;
    size_t dim = record_tensor_size(row);
    rkf_status rc = c->range ? RKF_OK : first_row(c, dim, err);
    if (rc)
        return rc;
    if (row->type != RKF_F32 || dim != c->dim)
        return rkf_fail(err, RKF_INTERNAL, "embeddings of %zu and %zu numbers in one run", c->dim, dim);
    for (size_t i = 0; i < dim; i++) {
        c->range[i] = fminf(c->range[i], v[i]);
        c->range[dim + i] = fmaxf(c->range[dim + i], v[i]);
    }
    c->rows++;
    if (fwrite(&truncated, sizeof truncated, 1, c->spool) != 1 || fwrite(v, sizeof *v, dim, c->spool) != dim)
        return rkf_fail_errno(err, RKF_IO, "cannot write to a temporary file");
    return RKF_OK;
}

/* 255 steps from the lowest to the highest; a dimension that never varies stays at the lowest. */
static void quantise(const struct calibration *c, const float *row, void *out)
{
    for (size_t i = 0; i < c->dim; i++) {
        float step = (c->range[c->dim + i] - c->range[i]) / 255;
        float q = floorf((row[i] - c->range[i]) / (step > 0 ? step : 1));
        int level = (int)fminf(fmaxf(q, 0), 255);
        if (c->precision == RKF_UINT8)
            ((uint8_t *)out)[i] = (uint8_t)level;
        else
            ((int8_t *)out)[i] = (int8_t)(level - 128);
    }
}

rkf_status calibration_write(struct calibration *c, calibration_put *put, void *cookie, struct output *to,
                             rkf_error *err)
{
    rkf_status rc = RKF_OK;
    float *row = mem_array(c->dim + 1, sizeof *row);
    void *small = mem_alloc(c->dim + 1);
    rkf_tensor t = { small, c->precision == RKF_UINT8 ? RKF_U8 : RKF_I8, 1, { (int64_t)c->dim } };
    if (!row || !small)
        rc = rkf_fail_memory(err, c->dim * sizeof *row, "a row");
    if (!rc && (fflush(c->spool) || fseek(c->spool, 0, SEEK_SET)))
        rc = rkf_fail_errno(err, RKF_IO, "cannot write to a temporary file");
    for (uint64_t i = 0; !rc && i < c->rows; i++) {
        int64_t truncated;
        if (fread(&truncated, sizeof truncated, 1, c->spool) != 1 ||
            fread(row, sizeof *row, c->dim, c->spool) != c->dim) {
            rc = rkf_fail_errno(err, RKF_IO, "cannot read from a temporary file");
            break;
        }
        quantise(c, row, small);
        rc = put(cookie, i, &t, truncated, to, err);
        if (!rc)
            rc = output_spill(to, err);
    }
    mem_free(row);
    mem_free(small);
    return rc;
}

bool calibration_poor(const struct calibration *c)
{
    return c->rows > 0 && c->rows < ENOUGH;
}

void calibration_close(struct calibration *c)
{
    if (c->spool)
        fclose(c->spool);
    mem_free(c->range);
    *c = (struct calibration){ 0 };
}
