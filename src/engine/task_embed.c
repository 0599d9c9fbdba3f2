/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks whose answers are tensors: embeddings (windows put together, quantised), hidden states, logits, sparse vectors.
 */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- embeddings */

static void normalize_row(float *v, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    float inv = (float)(1 / fmax(sqrt(sum), 1e-12)); /* torch.nn.functional.normalize's eps */
    for (uint32_t i = 0; i < n; i++)
        v[i] *= inv;
}

/* Windows of one input: their mean weighted by tokens, in the place of the input's row. */
static void join_windows(struct job *job, bool normalize)
{
    uint32_t w = job->width, item = 0;
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        float *row = job->matrix + (size_t)i * w; /* never after its windows' rows */
        double total = 0;
        for (uint32_t first = item; item < job->n_items && job->items[item].input == i; item++) {
            const float *from = job->matrix + (size_t)item * w;
            double n = job->items[item].n;
            for (uint32_t k = 0; k < w; k++)
                row[k] = item == first ? from[k] : (float)((row[k] * total + from[k] * n) / (total + n));
            total += n;
        }
        if (normalize)
            normalize_row(row, w);
    }
}

/* sentence-transformers' quantize_embeddings: 255 steps between the lowest and the highest value of each dimension. */
static rkf_status quantize_steps(struct job *job, int low, rkf_error *err)
{
    uint32_t n = job->n_inputs, w = job->width;
    if (n == 1 && !job->ranges)
        return rkf_fail(err, RKF_INVALID,
                        "int8 and uint8 need the ranges of the dimensions, which one text cannot show: "
                        "give ranges, or more texts");
    float *range = arena_array(&job->mem, 2 * (size_t)w, sizeof *range);
    uint8_t *out = mem_alloc_aligned((size_t)n * w, 64);
    if (!range || !out) {
        mem_free_aligned(out);
        return rkf_fail_memory(err, (size_t)n * w, "quantised embeddings");
    }
    for (uint32_t k = 0; k < w; k++) {
        range[k] = range[w + k] = job->matrix[k];
        for (uint32_t i = 1; i < n; i++) {
            float v = job->matrix[(size_t)i * w + k];
            range[k] = fminf(range[k], v);
            range[w + k] = fmaxf(range[w + k], v);
        }
    }
    if (job->ranges)
        memcpy(range, job->ranges, 2 * (size_t)w * sizeof *range);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < w; k++) {
            float step = (range[w + k] - range[k]) / 255;
            float q = floorf((job->matrix[(size_t)i * w + k] - range[k]) / (step != 0 ? step : 1));
            out[(size_t)i * w + k] = (uint8_t)((int)fminf(fmaxf(q, 0), 255) + low); /* beyond the ranges: the ends */
        }
    job->result->matrix = out;
    return RKF_OK;
}

/* One bit per dimension, x > 0, the first in the highest bit of its byte. */
static rkf_status quantize_bits(struct job *job, int low, rkf_error *err)
{
    uint32_t n = job->n_inputs, w = job->width, bytes = (w + 7) / 8;
    uint8_t *out = mem_alloc_aligned((size_t)n * bytes, 64);
    if (!out)
        return rkf_fail_memory(err, (size_t)n * bytes, "quantised embeddings");
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t b = 0; b < bytes; b++) {
            unsigned v = 0;
            for (uint32_t k = 8 * b; k < 8 * b + 8; k++)
                v = v << 1 | (k < w && job->matrix[(size_t)i * w + k] > 0);
            out[(size_t)i * bytes + b] = (uint8_t)((int)v + low);
        }
    job->result->matrix = out;
    return RKF_OK;
}

static const struct {
    rkf_dtype type;
    int low; /* added to the unsigned value */
    int per; /* dimensions per element */
    rkf_status (*quantize)(struct job *job, int low, rkf_error *err);
} precisions[] = {
    [RKF_FLOAT32] = { RKF_F32, 0, 1, NULL },         [RKF_INT8] = { RKF_I8, -128, 1, quantize_steps },
    [RKF_UINT8] = { RKF_U8, 0, 1, quantize_steps },  [RKF_BINARY] = { RKF_I8, -128, 8, quantize_bits },
    [RKF_UBINARY] = { RKF_U8, 0, 8, quantize_bits },
};

rkf_status embed_finish(struct job *job, rkf_error *err)
{
    rkf_result *r = job->result;
    const struct model_dir *d = job->model->dir;
    const rkf_request *rq = &job->rq;
    if (rq->chunk == RKF_ON) {
        bool normalize = rq->normalize == RKF_ON;
        for (uint32_t i = 0; rq->normalize == RKF_DEFAULT && i < d->n_modules; i++)
            normalize |= d->modules[i].kind == MODULE_NORMALIZE;
        join_windows(job, normalize);
    }
    if (precisions[rq->precision].quantize) {
        rkf_status rc = precisions[rq->precision].quantize(job, precisions[rq->precision].low, err);
        if (rc)
            return rc;
    } else {
        r->matrix = job->matrix;
        job->matrix = NULL;
    }
    rkf_dtype type = precisions[rq->precision].type;
    int64_t dim = (job->width + precisions[rq->precision].per - 1) / precisions[rq->precision].per;
    size_t row = (size_t)dim * (type == RKF_F32 ? sizeof(float) : 1);
    r->all = (rkf_tensor){ r->matrix, type, 2, { job->n_inputs, dim } };
    for (uint32_t i = 0; i < job->n_inputs; i++)
        r->item[i].tensor = (rkf_tensor){ (char *)r->matrix + i * row, type, 1, { dim } };
    return RKF_OK;
}

/* ---- hidden states, token embeddings, logits: the rows as they are */

rkf_status rows_finish(struct job *job, rkf_error *err)
{
    rkf_result *r = job->result;
    bool per_token = job->task->collect == COLLECT_HIDDEN ||
                     (job->model->dir->spec.head != HEAD_SEQUENCE && job->model->dir->spec.head != HEAD_CHOICE);
    for (uint32_t i = 0; i < job->n_items; i++) {
        const struct item *it = &job->items[i];
        size_t bytes = (size_t)it->n_rows * it->width * sizeof(float);
        void *p = arena_alloc(&r->mem, bytes);
        if (!p)
            return rkf_fail_memory(err, bytes, "a result");
        memcpy(p, it->rows, bytes);
        r->item[it->input].tensor = (rkf_tensor){ p, RKF_F32, 2, { it->n_rows, it->width } };
        if (!per_token)
            r->item[it->input].tensor = (rkf_tensor){ p, RKF_F32, 1, { it->width } };
    }
    return RKF_OK;
}

/* ---- sparse vectors: what is above zero, by falling value */

static int by_value(const void *a, const void *b)
{
    const rkf_sparse *x = a, *y = b;
    return x->value != y->value ? (x->value < y->value ? 1 : -1) : x->index - y->index;
}

rkf_status sparse_finish(struct job *job, rkf_error *err)
{
    rkf_result *r = job->result;
    for (uint32_t i = 0; i < job->n_items; i++) {
        const struct item *it = &job->items[i];
        struct result_item *out = &r->item[it->input];
        uint32_t n = 0;
        for (uint32_t v = 0; v < it->width; v++)
            n += it->rows[v] > 0;
        out->sparse = arena_array(&r->mem, n, sizeof *out->sparse);
        if (!out->sparse)
            return rkf_fail_memory(err, n * sizeof *out->sparse, "a sparse vector");
        for (uint32_t v = 0; v < it->width; v++)
            if (it->rows[v] > 0)
                out->sparse[out->n++] = (rkf_sparse){ (int32_t)v, it->rows[v] };
        qsort(out->sparse, out->n, sizeof *out->sparse, by_value);
        if (job->rq.top_k > 0 && out->n > (size_t)job->rq.top_k)
            out->n = (size_t)job->rq.top_k;
    }
    return RKF_OK;
}
