/* SPDX-License-Identifier: Apache-2.0 */
/* The table of tasks, what a request may ask of a model, and taking a task's rows out of a run. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

enum {
    SEQUENCE = 1 << HEAD_SEQUENCE,
    TOKEN = 1 << HEAD_TOKEN,
    QA = 1 << HEAD_QA,
    MLM = 1 << HEAD_MASKED_LM,
    CHOICE = 1 << HEAD_CHOICE,
    ANY_HEAD = SEQUENCE | TOKEN | QA | MLM | CHOICE
};

static const struct task tasks[] = {
    [RKF_TASK_EMBED] = { "embed", COLLECT_POOLED, .prompts = true, .finish = embed_finish },
    [RKF_TASK_SPARSE] = { "sparse", COLLECT_SPARSE, .heads = MLM, .prompts = true, .finish = sparse_finish },
    [RKF_TASK_TOKENS] = { "tokens", COLLECT_HIDDEN, .prompts = true, .finish = rows_finish },
    [RKF_TASK_HIDDEN] = { "hidden", COLLECT_HIDDEN, .finish = rows_finish },
    [RKF_TASK_LOGITS] = { "logits", COLLECT_LOGITS, .heads = ANY_HEAD, .finish = rows_finish },
    [RKF_TASK_RERANK] = { "rerank", COLLECT_LOGITS, .heads = SEQUENCE, .items = rerank_items, .finish = rerank_finish },
    [RKF_TASK_CLASSIFY] = { "classify", COLLECT_LOGITS, .heads = SEQUENCE, .finish = classify_finish },
    [RKF_TASK_ZERO_SHOT] = { "zero-shot", COLLECT_LOGITS, .heads = SEQUENCE, .truncation = TRUNCATE_ONLY_FIRST,
                             .items = zero_shot_items, .finish = zero_shot_finish },
    [RKF_TASK_NER] = { "ner", COLLECT_LOGITS, .heads = TOKEN, .windows = true, .stride = 32, .keep_text = true,
                       .finish = ner_finish },
    [RKF_TASK_QA] = { "qa", COLLECT_LOGITS, .heads = QA, .windows = true, .stride = 128, .keep_text = true,
                      .truncation = TRUNCATE_ONLY_SECOND, .items = qa_items, .finish = qa_finish },
    [RKF_TASK_FILL_MASK] = { "fill-mask", COLLECT_MASKS, .heads = MLM, .keep_text = true, .finish = fill_mask_finish },
    [RKF_TASK_CHOOSE] = { "choose", COLLECT_LOGITS, .heads = CHOICE, .items = rerank_items, .finish = choose_finish },
};

const struct task *task_get(rkf_task task)
{
    return (size_t)task < sizeof tasks / sizeof *tasks ? &tasks[task] : NULL;
}

static const char *const head_names[] = {
    [HEAD_NONE] = "no head",
    [HEAD_MASKED_LM] = "a fill-mask head",
    [HEAD_SEQUENCE] = "a sequence classification head",
    [HEAD_TOKEN] = "a token classification head",
    [HEAD_QA] = "a question answering head",
    [HEAD_CHOICE] = "a multiple choice head",
};

static rkf_status check_scalars(const rkf_request *rq, rkf_error *err)
{
    const struct {
        const char *name;
        int64_t value, lo, hi;
    } fields[] = {
        { "max_length", rq->max_length, 0, INT32_MAX },
        { "stride", rq->stride, 0, INT32_MAX },
        { "truncate", rq->truncate, 0, RKF_TRUNCATE_NONE },
        { "normalize", rq->normalize, 0, RKF_OFF },
        { "chunk", rq->chunk, 0, RKF_OFF },
        { "pooling", rq->pooling, 0, RKF_POOLING_LAST_TOKEN },
        { "truncate_dim", rq->truncate_dim, 0, INT32_MAX },
        { "precision", rq->precision, 0, RKF_UBINARY },
        { "scores", rq->scores, 0, RKF_SCORES_RAW },
        { "aggregation", rq->aggregation, 0, RKF_AGGREGATE_MAX },
        { "top_k", rq->top_k, 0, INT32_MAX },
        { "max_answer_length", rq->max_answer_length, 0, INT32_MAX },
        { "timeout_us", rq->timeout_us, 0, INT64_MAX / 1000 },
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].lo || fields[i].value > fields[i].hi)
            return rkf_fail(err, RKF_INVALID, "%s is %lld, allowed is %lld to %lld", fields[i].name,
                            (long long)fields[i].value, (long long)fields[i].lo, (long long)fields[i].hi);
    return RKF_OK;
}

rkf_status task_check(const struct rkf_model *m, const struct task *t, const rkf_request *rq, rkf_error *err)
{
    const struct encoder_spec *spec = &m->dir->spec;
    if (!t)
        return rkf_fail(err, RKF_INVALID, "unknown task %d", (int)rq->task);
    if (!rq->n_inputs || rq->n_inputs > INT32_MAX || !rq->inputs)
        return rkf_fail(err, RKF_INVALID, "a %s request needs at least one input", t->name);
    if (t->heads && !(t->heads >> spec->head & 1))
        return rkf_fail(err, RKF_UNSUPPORTED, "model %s cannot do %s: it has %s", m->name, t->name,
                        head_names[spec->head]);
    if (t->items == rerank_items && !rq->query.ptr)
        return rkf_fail(err, RKF_INVALID, "a %s request needs a query", t->name);
    if (rq->task == RKF_TASK_RERANK && spec->num_labels != 1)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "model %s cannot rerank: it has %u labels, a reranker has 1 (classify works)", m->name,
                        spec->num_labels);
    if (rq->task == RKF_TASK_ZERO_SHOT && (!rq->n_labels || !rq->labels))
        return rkf_fail(err, RKF_INVALID, "zero-shot classification needs candidate labels");
    return check_scalars(rq, err);
}

/* ---- collecting */

/* n rows into the item; what was there from an earlier attempt goes. */
static rkf_status keep_rows(struct item *it, const float *rows, uint32_t n, uint32_t width, rkf_error *err)
{
    size_t bytes = (size_t)n * width * sizeof *rows;
    float *p = mem_alloc(bytes);
    if (!p)
        return rkf_fail_memory(err, bytes, "a result");
    memcpy(p, rows, bytes);
    mem_free(it->rows);
    it->rows = p;
    it->n_rows = n;
    it->width = width;
    return RKF_OK;
}

static rkf_status keep_all(struct job *job, const struct batch *sub, const struct rows *rows, uint32_t first,
                           rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; !rc && i < sub->n_seqs; i++) {
        uint32_t from = rows->per_token ? sub->cu_lens[i] : i, n = rows->per_token ? sub->cu_lens[i + 1] - from : 1;
        rc = keep_rows(&job->items[first + i], rows->data + (size_t)from * rows->cols, n, rows->cols, err);
    }
    return rc;
}

static rkf_status collect_pooled(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                                 uint32_t first, rkf_error *err)
{
    const rkf_request *rq = &job->rq;
    uint32_t *skip = NULL;
    float *out = job->matrix + (size_t)first * job->width;
    if (rows->kind != BODY_HIDDEN)
        return rkf_fail(err, RKF_UNSUPPORTED, "model %s gives %s, not token embeddings: it cannot embed",
                        job->model->name, rows->kind == BODY_LOGITS ? "logits" : "pooled rows");
    for (uint32_t i = 0; i < sub->n_seqs && !skip; i++)
        if (job->items[first + i].skip && !(skip = arena_array(&x->scratch, sub->n_seqs, sizeof *skip)))
            return rkf_fail_memory(err, sub->n_seqs * sizeof *skip, "a batch");
    for (uint32_t i = 0; skip && i < sub->n_seqs; i++)
        skip[i] = job->items[first + i].skip;
    int normalize = rq->normalize == RKF_DEFAULT ? -1 : rq->normalize == RKF_ON;
    struct pool_options po = { .pooling = (int)rq->pooling -
                                          1, /* windows are normalised when they have come together */
                               .normalize = rq->chunk == RKF_ON ? 0 : normalize,
                               .truncate_dim = (uint32_t)rq->truncate_dim,
                               .skip = skip };
    return pooler_run(job->model->pooler, x, sub, rows, &po, out, err);
}

static rkf_status collect_logits(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                                 uint32_t first, rkf_error *err)
{
    struct head *head = NULL;
    struct rows logits = *rows;
    rkf_status rc = RKF_OK;
    if (rows->kind != BODY_LOGITS && !(rc = model_head(job->model, x, &head, err)))
        rc = head_run(head, x, sub, rows, NULL, 0, &logits, err);
    return rc ? rc : keep_all(job, sub, &logits, first, err);
}

/* Only the rows of the mask tokens go through the head: a vocabulary is wide. */
static rkf_status collect_masks(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                                uint32_t first, rkf_error *err)
{
    int32_t mask = tokenizer_special_id(job->model->tokenizer, TOKEN_MASK);
    uint32_t *at = arena_array(&x->scratch, sub->n_tokens, sizeof *at), n = 0, done = 0;
    struct head *head = NULL;
    struct rows logits = { 0 };
    if (!at)
        return rkf_fail_memory(err, sub->n_tokens * sizeof *at, "a batch");
    for (uint32_t t = 0; t < sub->n_tokens; t++)
        if (sub->ids[t] == mask)
            at[n++] = t;
    rkf_status rc = RKF_OK;
    bool whole = rows->kind == BODY_LOGITS; /* a compiled graph has all rows already */
    if (n && !whole && !(rc = model_head(job->model, x, &head, err)))
        rc = head_run(head, x, sub, rows, at, n, &logits, err);
    for (uint32_t i = 0; !rc && i < sub->n_seqs; i++) {
        uint32_t from = done;
        while (done < n && at[done] < sub->cu_lens[i + 1])
            done++;
        struct item *it = &job->items[first + i];
        const struct rows *src = whole ? rows : &logits;
        rc = keep_rows(it, src->data, 0, src->cols, err);
        if (rc || done == from)
            continue;
        if (!whole) {
            rc = keep_rows(it, logits.data + (size_t)from * logits.cols, done - from, logits.cols, err);
            continue;
        }
        float *all = arena_array(&x->scratch, (size_t)(done - from) * rows->cols, sizeof *all);
        if (!all)
            return rkf_fail_memory(err, (size_t)(done - from) * rows->cols * 4, "a batch");
        for (uint32_t k = from; k < done; k++)
            memcpy(all + (size_t)(k - from) * rows->cols, rows->data + (size_t)at[k] * rows->cols, rows->cols * 4);
        rc = keep_rows(it, all, done - from, rows->cols, err);
    }
    return rc;
}

/* SPLADE: one row per sequence, the largest (or the sum) over its tokens of log(1 + relu(logit)). */
static rkf_status collect_sparse(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                                 uint32_t first, rkf_error *err)
{
    const struct model_dir *d = job->model->dir;
    struct head *head = NULL;
    bool max = true, twice = false;
    if (rows->kind != BODY_HIDDEN)
        return rkf_fail(err, RKF_UNSUPPORTED, "model %s gives no hidden states: sparse embeddings need its weights",
                        job->model->name);
    for (uint32_t i = 0; i < d->n_modules; i++)
        if (d->modules[i].kind == MODULE_SPLADE) {
            max = d->modules[i].splade_relu_log_max;
            twice = d->modules[i].splade_log_twice;
        }
    rkf_status rc = model_head(job->model, x, &head, err);
    if (rc)
        return rc;
    uint32_t width = head_width(head);
    float *out = arena_array(&x->scratch, (size_t)sub->n_seqs * width, sizeof *out);
    if (!out)
        return rkf_fail_memory(err, (size_t)sub->n_seqs * width * sizeof *out, "a batch");
    rc = head_run_splade(head, x, sub, rows, max, twice, out, err);
    for (uint32_t i = 0; !rc && i < sub->n_seqs; i++)
        rc = keep_rows(&job->items[first + i], out + (size_t)i * width, 1, width, err);
    return rc;
}

static rkf_status collect_hidden(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                                 uint32_t first, rkf_error *err)
{
    (void)x;
    if (rows->kind != BODY_HIDDEN)
        return rkf_fail(err, RKF_UNSUPPORTED, "model %s does not give hidden states", job->model->name);
    return keep_all(job, sub, rows, first, err);
}

rkf_status task_collect(struct job *job, struct exec *x, const struct batch *sub, const struct rows *rows,
                        uint32_t first, rkf_error *err)
{
    static rkf_status (*const collectors[])(struct job *, struct exec *, const struct batch *, const struct rows *,
                                            uint32_t, rkf_error *) = {
        [COLLECT_POOLED] = collect_pooled, [COLLECT_HIDDEN] = collect_hidden, [COLLECT_LOGITS] = collect_logits,
        [COLLECT_MASKS] = collect_masks,   [COLLECT_SPARSE] = collect_sparse,
    };
    return collectors[job->task->collect](job, x, sub, rows, first, err);
}
