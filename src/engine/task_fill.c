/* SPDX-License-Identifier: Apache-2.0 */
/* Fill-mask: for every mask token the likeliest tokens, alone or among targets, and the text with each put in. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_K = 5 };

struct choice {
    int32_t token;
    float score;
};

static int by_score(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : (x->token < y->token ? -1 : x->token > y->token);
}

/* Ids of the targets: a vocabulary entry, else the first token of the target's text; each once. */
static rkf_status target_ids(struct job *job, int32_t *out, uint32_t *count, rkf_error *err)
{
    struct rkf_model *m = job->model;
    struct tokenizer_scratch *scratch = NULL;
    uint32_t n = 0;
    rkf_status rc = model_scratch_get(m, &scratch, err);
    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < job->rq.n_labels; i++) {
        rkf_str t = job->labels[i];
        int32_t id = tokenizer_token_id(m->tokenizer, t.ptr, t.len);
        if (id < 0) {
            struct encoding e = { 0 };
            struct encode_options o = { .max_length = 1 };
            rc = tokenizer_encode(m->tokenizer, scratch, t.ptr, t.len, NULL, 0, &o, &e, err);
            if (rc)
                break;
            id = e.n ? e.ids[0] : -1;
            encoding_free(&e);
        }
        bool new = id >= 0;
        for (uint32_t k = 0; k < n; k++)
            new &= out[k] != id;
        if (new)
            out[n++] = id;
    }
    model_scratch_put(m, scratch);
    *count = n;
    return rc;
}

static rkf_status decode(struct job *job, const int32_t *ids, uint32_t n, bool skip_special, rkf_str *out,
                         rkf_error *err)
{
    struct buf b;
    buf_init(&b, 256 << 20);
    rkf_status rc = tokenizer_decode(job->model->tokenizer, ids, n, skip_special, &b, err);
    if (!rc && (b.failed || !result_str(job->result, b.p ? b.p : "", b.len, out)))
        rc = rkf_fail_memory(err, b.len, "a text");
    buf_free(&b);
    return rc;
}

/* The best `top` of a mask's row; probabilities over the whole vocabulary. */
static uint32_t choose(const float *row, uint32_t width, const int32_t *targets, uint32_t n_targets, uint32_t top,
                       struct choice *all)
{
    float max = row[0];
    double sum = 0;
    uint32_t n = targets ? n_targets : width;
    for (uint32_t v = 1; v < width; v++)
        max = fmaxf(max, row[v]);
    for (uint32_t v = 0; v < width; v++)
        sum += exp((double)row[v] - max);
    for (uint32_t i = 0; i < n; i++) {
        int32_t id = targets ? targets[i] : (int32_t)i;
        all[i] = (struct choice){ id, (uint32_t)id < width ? (float)(exp((double)row[id] - max) / sum) : 0 };
    }
    qsort(all, n, sizeof *all, by_score);
    return n < top ? n : top;
}

static rkf_status fill_one(struct job *job, const struct item *it, const int32_t *targets, uint32_t n_targets,
                           uint32_t top, struct choice *all, rkf_error *err)
{
    struct result_item *out = &job->result->item[it->input];
    int32_t mask = tokenizer_special_id(job->model->tokenizer, TOKEN_MASK);
    int32_t pad = tokenizer_special_id(job->model->tokenizer, TOKEN_PAD);
    int32_t *ids = arena_array(&job->mem, it->n, sizeof *ids);
    out->fills = arena_array(&job->result->mem, (size_t)it->n_rows * top, sizeof *out->fills);
    if (!ids || !out->fills)
        return rkf_fail_memory(err, (size_t)it->n_rows * top * sizeof *out->fills, "predictions");
    rkf_status rc = RKF_OK;
    for (uint32_t at = 0, k = 0; !rc && at < it->n && k < it->n_rows; at++) {
        if (it->ids[at] != mask)
            continue;
        uint32_t n = choose(it->rows + (size_t)k * it->width, it->width, targets, n_targets, top, all);
        for (uint32_t i = 0; !rc && i < n; i++) {
            rkf_fill *f = &out->fills[out->n++];
            *f = (rkf_fill){ .mask = (int32_t)k, .token = all[i].token, .score = all[i].score };
            uint32_t len = 0;
            for (uint32_t t = 0; t < it->n; t++) {
                int32_t id = t == at ? all[i].token : it->ids[t];
                if (id != pad || t == at)
                    ids[len++] = id;
            }
            rc = decode(job, &f->token, 1, false, &f->token_str, err);
            if (!rc)
                rc = decode(job, ids, len, it->n_rows == 1, &f->sequence, err);
        }
        k++;
    }
    return rc;
}

rkf_status fill_mask_finish(struct job *job, rkf_error *err)
{
    uint32_t n_targets = 0, top = job->rq.top_k > 0 ? (uint32_t)job->rq.top_k : TOP_K, width = 0;
    int32_t *targets = NULL;
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; i < job->n_items; i++) {
        if (!job->items[i].n_rows)
            return rkf_fail(
                err, RKF_INVALID, "input %u has no mask token: write %s where a word is missing", job->items[i].input,
                tokenizer_token(job->model->tokenizer, tokenizer_special_id(job->model->tokenizer, TOKEN_MASK)));
        width = job->items[i].width > width ? job->items[i].width : width;
    }
    if (job->rq.n_labels) {
        targets = arena_array(&job->mem, job->rq.n_labels, sizeof *targets);
        if (!targets)
            return rkf_fail_memory(err, job->rq.n_labels * sizeof *targets, "targets");
        rc = target_ids(job, targets, &n_targets, err);
        if (!rc && !n_targets)
            rc = rkf_fail(err, RKF_INVALID, "none of the targets is a token of %s", job->model->name);
    }
    uint32_t room = targets && n_targets > width ? n_targets : width;
    struct choice *all = rc ? NULL : arena_array(&job->mem, room, sizeof *all);
    if (!rc && !all)
        rc = rkf_fail_memory(err, room * sizeof *all, "predictions");
    top = top < room ? top : room;
    for (uint32_t i = 0; !rc && i < job->n_items; i++)
        rc = fill_one(job, &job->items[i], targets, n_targets, top, all, err);
    return rc;
}
