/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks whose answers are scores of labels: rerank, classify, zero-shot classification, multiple choice. */
#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void softmax(float *v, uint32_t n)
{
    float top = v[0];
    double sum = 0;
    for (uint32_t i = 1; i < n; i++)
        top = fmaxf(top, v[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)v[i] - top);
    for (uint32_t i = 0; i < n; i++)
        v[i] = (float)(exp((double)v[i] - top) / sum);
}

static void apply_scores(rkf_scores how, float *v, uint32_t n)
{
    if (how == RKF_SCORES_SOFTMAX)
        softmax(v, n);
    for (uint32_t i = 0; how == RKF_SCORES_SIGMOID && i < n; i++)
        v[i] = activation_apply(ACT_SIGMOID, v[i]);
}

static int by_score(const void *a, const void *b)
{
    const rkf_label *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score ? 1 : -1) : x->id - y->id;
}

static rkf_status labels_new(struct job *job, uint32_t input, uint32_t n, rkf_label **out, rkf_error *err)
{
    struct result_item *it = &job->result->item[input];
    it->labels = arena_array(&job->result->mem, n, sizeof *it->labels);
    if (!it->labels)
        return rkf_fail_memory(err, n * sizeof *it->labels, "scores");
    memset(it->labels, 0, n * sizeof *it->labels);
    it->n = n;
    *out = it->labels;
    return RKF_OK;
}

/* ---- pairs of the query with every input */

static rkf_status pairs_encode(struct job *job, const rkf_request *rq, const struct text *left,
                               const struct text *right, uint32_t n_left, uint32_t n_right, rkf_error *err)
{
    uint32_t n = n_left * n_right;
    rkf_str *a = arena_array(&job->mem, n, sizeof *a), *b = arena_array(&job->mem, n, sizeof *b);
    uint32_t *of = arena_array(&job->mem, n, sizeof *of);
    if (!a || !b || !of)
        return rkf_fail_memory(err, n * (2 * sizeof *a + sizeof *of), "pairs");
    for (uint32_t i = 0; i < n; i++) {
        const struct text *l = &left[i / n_right], *r = &right[i % n_right];
        a[i] = (rkf_str){ l->p, l->len };
        b[i] = (rkf_str){ r->p, r->len };
        of[i] = n_left > 1 || job->task->finish == zero_shot_finish ? i / n_right : i;
    }
    return job_encode(job, rq, a, b, n, of, err);
}

static rkf_status texts_make(struct job *job, const rkf_request *rq, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; !rc && i < job->n_inputs; i++) {
        if (!rq->inputs[i].text.ptr)
            return rkf_fail(err, RKF_INVALID, "input %u has no text", i);
        rc = text_make(job->model, rq->inputs[i].text, (rkf_str){ 0 }, rq->strict, i, &job->texts[i], err);
    }
    return rc;
}

rkf_status rerank_items(struct job *job, const rkf_request *rq, rkf_error *err)
{
    struct text query = { 0 };
    rkf_status rc = texts_make(job, rq, err);
    if (!rc)
        rc = text_make(job->model, rq->query, rq->prompt, rq->strict, 0, &query, err);
    if (!rc)
        rc = pairs_encode(job, rq, &query, job->texts, 1, job->n_inputs, err);
    text_free(&query);
    return rc;
}

/* ---- rerank, choose: one score per input, in input order */

rkf_status rerank_finish(struct job *job, rkf_error *err)
{
    const struct model_dir *d = job->model->dir;
    rkf_scores how = job->rq.scores;
    enum activation act = ACT_SIGMOID;
    if (d->ce_activation && !activation_parse(d->ce_activation, &act))
        return rkf_fail(err, RKF_UNSUPPORTED, "activation_fn '%s' of %s is not known: ask for raw scores",
                        d->ce_activation, job->model->name);
    for (uint32_t i = 0; i < job->n_items; i++) {
        rkf_label *l = NULL;
        rkf_status rc = labels_new(job, i, 1, &l, err);
        if (rc)
            return rc;
        float score = job->items[i].rows[0];
        if (how == RKF_SCORES_DEFAULT)
            score = activation_apply(act, score);
        else
            apply_scores(how, &score, 1);
        *l = (rkf_label){ .label = { "", 0 }, .score = score, .id = (int32_t)i };
    }
    return RKF_OK;
}

rkf_status choose_finish(struct job *job, rkf_error *err)
{
    float *v = arena_array(&job->mem, job->n_items, sizeof *v);
    if (!v)
        return rkf_fail_memory(err, job->n_items * sizeof *v, "scores");
    for (uint32_t i = 0; i < job->n_items; i++)
        v[i] = job->items[i].rows[0];
    if (job->rq.scores != RKF_SCORES_RAW)
        softmax(v, job->n_items);
    for (uint32_t i = 0; i < job->n_items; i++) {
        rkf_label *l = NULL;
        rkf_status rc = labels_new(job, i, 1, &l, err);
        if (rc)
            return rc;
        *l = (rkf_label){ .label = { "", 0 }, .score = v[i], .id = (int32_t)i };
    }
    return RKF_OK;
}

/* ---- classify: the pipeline's rule for what is applied to the logits */

static rkf_scores default_scores(const struct model_dir *d)
{
    const struct encoder_spec *s = &d->spec;
    enum activation act;
    if (d->ce_activation && activation_parse(d->ce_activation, &act)) /* a cross-encoder says so itself */
        return act == ACT_SIGMOID ? RKF_SCORES_SIGMOID : RKF_SCORES_RAW;
    if (!strcmp(s->problem_type, "regression"))
        return RKF_SCORES_RAW;
    if (!strcmp(s->problem_type, "multi_label_classification") || s->num_labels == 1)
        return RKF_SCORES_SIGMOID;
    return RKF_SCORES_SOFTMAX;
}

rkf_status classify_finish(struct job *job, rkf_error *err)
{
    const struct model_dir *d = job->model->dir;
    rkf_scores how = job->rq.scores == RKF_SCORES_DEFAULT ? default_scores(d) : job->rq.scores;
    for (uint32_t i = 0; i < job->n_items; i++) {
        struct item *it = &job->items[i];
        rkf_label *l = NULL;
        rkf_status rc = labels_new(job, it->input, it->width, &l, err);
        if (rc)
            return rc;
        apply_scores(how, it->rows, it->width);
        for (uint32_t k = 0; k < it->width; k++) {
            const char *name = k < d->spec.num_labels && d->labels ? d->labels[k] : "";
            l[k] = (rkf_label){ .score = it->rows[k], .id = (int32_t)k };
            if (!result_str(job->result, name, strlen(name), &l[k].label))
                return rkf_fail_memory(err, strlen(name), "a label");
        }
        qsort(l, it->width, sizeof *l, by_score);
        if (job->rq.top_k > 0 && (uint32_t)job->rq.top_k < it->width)
            job->result->item[it->input].n = (size_t)job->rq.top_k;
    }
    return RKF_OK;
}

/* ---- zero-shot: every label as a hypothesis over an NLI model */

static rkf_status hypotheses_make(struct job *job, const rkf_request *rq, struct text *out, rkf_error *err)
{
    rkf_str t = rq->hypothesis_template.ptr ? rq->hypothesis_template : RKF_STR("This example is {}.");
    size_t at = 0;
    while (at + 1 < t.len && memcmp(t.ptr + at, "{}", 2) != 0)
        at++;
    if (at + 1 >= t.len)
        return rkf_fail(err, RKF_INVALID, "the hypothesis template has no {} for the label");
    for (size_t i = 0; i < rq->n_labels; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        buf_append(&b, t.ptr, at);
        buf_append(&b, rq->labels[i].ptr, rq->labels[i].len);
        buf_append(&b, t.ptr + at + 2, t.len - at - 2);
        rkf_status rc = b.failed ? rkf_fail(err, RKF_INVALID, "candidate label %zu is too long", i)
                                 : text_make(job->model, (rkf_str){ b.p, b.len }, (rkf_str){ 0 }, rq->strict, 0,
                                             &out[i], err);
        if (!rc && !out[i].owned) { /* the text points into b: it takes b over */
            out[i].owned = b.p;
            b.p = NULL;
        }
        buf_free(&b);
        if (rc)
            return rc;
    }
    return RKF_OK;
}

rkf_status zero_shot_items(struct job *job, const rkf_request *rq, rkf_error *err)
{
    struct text *hypotheses = mem_zalloc(rq->n_labels, sizeof *hypotheses);
    if (!hypotheses)
        return rkf_fail_memory(err, rq->n_labels * sizeof *hypotheses, "hypotheses");
    rkf_status rc = texts_make(job, rq, err);
    if (!rc)
        rc = hypotheses_make(job, rq, hypotheses, err);
    if (!rc)
        rc = pairs_encode(job, rq, job->texts, hypotheses, job->n_inputs, (uint32_t)rq->n_labels, err);
    for (size_t i = 0; i < rq->n_labels; i++)
        text_free(&hypotheses[i]);
    mem_free(hypotheses);
    return rc;
}

/* The label that begins with "entail"; the last one if none does, as the pipeline has it. */
static uint32_t entailment_id(const struct model_dir *d)
{
    for (uint32_t i = 0; i < d->spec.num_labels; i++)
        if (d->labels && !strncasecmp(d->labels[i], "entail", 6))
            return i;
    return d->spec.num_labels - 1;
}

rkf_status zero_shot_finish(struct job *job, rkf_error *err)
{
    const struct model_dir *d = job->model->dir;
    uint32_t n = (uint32_t)job->rq.n_labels, entail = entailment_id(d);
    uint32_t against = entail == 0 ? d->spec.num_labels - 1 : 0; /* contradiction */
    float *v = arena_array(&job->mem, n, sizeof *v);
    if (!v)
        return rkf_fail_memory(err, n * sizeof *v, "scores");
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        bool each = job->rq.multi_label || n == 1;
        for (uint32_t k = 0; k < n; k++) {
            const float *logits = job->items[i * n + k].rows;
            float two[2] = { logits[against], logits[entail] };
            if (each)
                softmax(two, 2);
            v[k] = two[1];
        }
        if (!each)
            softmax(v, n);
        rkf_label *l = NULL;
        rkf_status rc = labels_new(job, i, n, &l, err);
        for (uint32_t k = 0; !rc && k < n; k++) {
            l[k] = (rkf_label){ .score = v[k], .id = (int32_t)k };
            if (!result_str(job->result, job->labels[k].ptr, job->labels[k].len, &l[k].label))
                rc = rkf_fail_memory(err, job->labels[k].len, "a label");
        }
        if (rc)
            return rc;
        qsort(l, n, sizeof *l, by_score);
        if (job->rq.top_k > 0 && (uint32_t)job->rq.top_k < n)
            job->result->item[i].n = (size_t)job->rq.top_k;
    }
    return RKF_OK;
}
