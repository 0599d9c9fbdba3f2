/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extractive question answering, as transformers' question-answering pipeline (4.57) does it: the context in
 * overlapping windows, softmax over the tokens that may answer, the best spans of at most max_answer_length tokens,
 * widened to words; equal answers of several windows add up.
 */
#include "engine/engine.h"

#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_SEQ_LEN = 384, DOC_STRIDE = 128, MAX_ANSWER = 15 }; /* the pipeline's defaults */

rkf_status qa_items(struct job *job, const rkf_request *rq, rkf_error *err)
{
    rkf_request with = *rq;
    uint32_t limit = job->model->max_length;
    for (uint32_t i = 0; i < job->n_inputs; i++)
        if (!rq->inputs[i].pair.ptr)
            return rkf_fail(err, RKF_INVALID, "input %u has no context: qa takes pairs of question and context", i);
    if (!with.max_length)
        with.max_length = limit && limit < MAX_SEQ_LEN ? (int32_t)limit : MAX_SEQ_LEN;
    if (!with.stride)
        with.stride = with.max_length / 2 < DOC_STRIDE ? with.max_length / 2 : DOC_STRIDE;
    return items_from_inputs(job, &with, err);
}

struct candidate {
    uint32_t start, end; /* tokens */
    float score;
};

struct answer {
    int64_t start, end; /* code points of the context */
    rkf_str text;
    double score;
};

static int by_score(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : (x->end < y->end ? -1 : 1);
}

static int by_answer(const void *a, const void *b)
{
    const struct answer *x = *(const struct answer *const *)a, *y = *(const struct answer *const *)b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x < y ? -1 : 1; /* as they were found */
}

/* Probabilities of column `c` of the window's logits over the tokens that may answer; the others are 0. */
static void probabilities(const struct item *it, const bool *allowed, uint32_t c, float *p)
{
    float top = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < it->n; i++)
        if (allowed[i])
            top = fmaxf(top, it->rows[(size_t)i * it->width + c]);
    for (uint32_t i = 0; i < it->n; i++)
        sum += p[i] = allowed[i] ? expf(it->rows[(size_t)i * it->width + c] - top) : 0;
    for (uint32_t i = 0; i < it->n; i++)
        p[i] = (float)(p[i] / sum);
}

/* Keeps the `most` best of what comes: a small sorted list. */
static void keep_best(struct candidate *best, uint32_t *n, uint32_t most, struct candidate c)
{
    if (*n == most && by_score(&best[most - 1], &c) <= 0)
        return;
    uint32_t at = *n < most ? (*n)++ : most - 1;
    for (; at > 0 && by_score(&best[at - 1], &c) > 0; at--)
        best[at] = best[at - 1];
    best[at] = c;
}

/* The words around a span of tokens: from the first character of the first word to the last of the last. */
static void span_chars(const struct encoding *e, uint32_t s, uint32_t t, int64_t *start, int64_t *end)
{
    *start = e->offsets[s][0];
    *end = e->offsets[t][1];
    if (e->word_ids[s] < 0 || e->word_ids[t] < 0)
        return;
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->sequence_ids[i] != 1)
            continue;
        if (e->word_ids[i] == e->word_ids[s] && e->offsets[i][0] < *start)
            *start = e->offsets[i][0];
        if (e->word_ids[i] == e->word_ids[t] && e->offsets[i][1] > *end)
            *end = e->offsets[i][1];
    }
}

static rkf_str context_span(const struct text *t, int64_t start, int64_t end)
{
    size_t from = 0, to, c = 0;
    while (from < t->len && c < (size_t)start)
        for (from++, c++; from < t->len && ((unsigned char)t->p[from] & 0xc0) == 0x80;)
            from++;
    for (to = from; to < t->len && c < (size_t)end; c++)
        for (to++; to < t->len && ((unsigned char)t->p[to] & 0xc0) == 0x80;)
            to++;
    return (rkf_str){ t->p + from, to - from };
}

static void add_answer(struct answer *a, uint32_t *n, struct answer x)
{
    for (uint32_t i = 0; i < *n; i++)
        if (a[i].text.len == x.text.len && !strncasecmp(a[i].text.ptr, x.text.ptr, x.text.len)) {
            a[i].score += x.score;
            return;
        }
    a[(*n)++] = x;
}

struct qa {
    struct job *job;
    uint32_t top_k, candidates, longest;
    double null_score;
    struct candidate *best; // [candidates]
    struct answer *answers; // [room for all windows' candidates + 1]
    uint32_t n_answers;
};

static rkf_status qa_window(struct qa *q, const struct item *it, rkf_error *err)
{
    struct job *job = q->job;
    const struct encoding *e = it->seq;
    int32_t cls = tokenizer_special_id(job->model->tokenizer, TOKEN_CLS);
    float *start = arena_array(&job->mem, it->n, sizeof *start), *end = arena_array(&job->mem, it->n, sizeof *end);
    bool *allowed = arena_array(&job->mem, it->n, sizeof *allowed);
    uint32_t n = 0;
    if (!start || !end || !allowed)
        return rkf_fail_memory(err, it->n * 9, "answers");
    for (uint32_t i = 0; i < it->n; i++) /* the class token stays: some models point at it for "no answer" */
        allowed[i] = e->sequence_ids[i] == 1 || e->ids[i] == cls;
    probabilities(it, allowed, 0, start);
    probabilities(it, allowed, 1, end);
    if (it->n) {
        q->null_score = fmin(q->null_score, (double)start[0] * end[0]);
        start[0] = end[0] = 0;
    }
    for (uint32_t i = 0; i < it->n; i++)
        for (uint32_t k = i; allowed[i] && k < it->n && k < i + q->longest; k++)
            if (allowed[k] && start[i] * end[k] > 0)
                keep_best(q->best, &n, q->candidates, (struct candidate){ i, k, start[i] * end[k] });
    const struct text *context = &job->pairs[it->input];
    for (uint32_t i = 0; i < n; i++) {
        struct answer a = { .score = q->best[i].score };
        span_chars(e, q->best[i].start, q->best[i].end, &a.start, &a.end);
        a.text = context_span(context, a.start, a.end);
        add_answer(q->answers, &q->n_answers, a);
    }
    return RKF_OK;
}

static rkf_status qa_result(struct qa *q, uint32_t input, rkf_error *err)
{
    rkf_result *r = q->job->result;
    struct result_item *out = &r->item[input];
    struct answer **order = arena_array(&q->job->mem, (size_t)q->n_answers + 1, sizeof *order);
    uint32_t n = q->n_answers;
    if (q->job->rq.impossible_answer)
        q->answers[n++] = (struct answer){ .score = q->null_score, .text = { "", 0 } };
    out->spans = arena_array(&r->mem, n, sizeof *out->spans);
    if (!order || !out->spans)
        return rkf_fail_memory(err, n * sizeof *out->spans, "answers");
    for (uint32_t i = 0; i < n; i++)
        order[i] = &q->answers[i];
    qsort(order, n, sizeof *order, by_answer);
    for (uint32_t i = 0; i < n && i < q->top_k; i++) {
        rkf_span *s = &out->spans[out->n++];
        *s = (rkf_span){ .label = { "", 0 },
                         .score = (float)order[i]->score,
                         .index = -1,
                         .start = order[i]->start,
                         .end = order[i]->end };
        if (!result_str(r, order[i]->text.ptr, order[i]->text.len, &s->text))
            return rkf_fail_memory(err, order[i]->text.len, "an answer");
    }
    return RKF_OK;
}

rkf_status qa_finish(struct job *job, rkf_error *err)
{
    const rkf_request *rq = &job->rq;
    struct qa q = { .job = job, .top_k = rq->top_k > 0 ? (uint32_t)rq->top_k : 1 };
    q.candidates = q.top_k < 100000 ? q.top_k * 2 + 10 : 200010; /* words may merge: as many as the pipeline looks at */
    q.longest = rq->max_answer_length > 0 ? (uint32_t)rq->max_answer_length : MAX_ANSWER;
    q.best = arena_array(&job->mem, q.candidates, sizeof *q.best);
    q.answers = arena_array(&job->mem, (size_t)q.candidates * job->n_items + 1, sizeof *q.answers);
    if (!q.best || !q.answers)
        return rkf_fail_memory(err, (size_t)q.candidates * job->n_items * sizeof *q.answers, "answers");
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0, next; !rc && i < job->n_items; i = next) {
        uint32_t input = job->items[i].input;
        if (!job->items[i].seq)
            return rkf_fail(err, RKF_INVALID, "qa needs text, not token ids");
        q.n_answers = 0;
        q.null_score = 1000000; /* the pipeline's "nothing seen yet" */
        for (next = i; !rc && next < job->n_items && job->items[next].input == input; next++)
            rc = qa_window(&q, &job->items[next], err);
        if (!rc)
            rc = qa_result(&q, input, err);
    }
    return rc;
}
