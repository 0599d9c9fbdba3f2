/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer rerank: texts by how well they answer a query. Their scores stream in; the lines come out at the end. */
#include "cli/record.h"
#include "cli/stream.h"

#include <stdlib.h>

struct ranked {
    float score;
    uint64_t index;
    int64_t truncated;
    rkf_str text; /* own copy */
};

struct ranking {
    const struct options *options;
    struct ranked *texts;
    size_t n, cap;
};

static rkf_status keep(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    struct ranking *k = cookie;
    size_t n;
    const rkf_label *label = rkf_result_labels(r->result, 0, &n);
    (void)to;
    if (!n)
        return rkf_fail(err, RKF_INTERNAL, "the model gave no score");
    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 64;
        struct ranked *p = mem_grow(k->texts, cap, sizeof *p);
        if (!p)
            return rkf_fail_memory(err, cap * sizeof *p, "a ranking");
        k->texts = p;
        k->cap = cap;
    }
    rkf_str text = r->item->text;
    char *copy = mem_strndup(text.ptr, text.len);
    if (!copy)
        return rkf_fail_memory(err, text.len, "a text");
    k->texts[k->n++] = (struct ranked){ label[0].score, r->index, record_truncated(r->result), { copy, text.len } };
    return RKF_OK;
}

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static rkf_status write_ranking(void *cookie, rkf_model *model, struct output *to, rkf_error *err)
{
    struct ranking *k = cookie;
    size_t n = k->n;
    rkf_status rc = RKF_OK;
    (void)model;
    if (k->options->request.top_k && (size_t)k->options->request.top_k < n)
        n = (size_t)k->options->request.top_k;
    qsort(k->texts, k->n, sizeof *k->texts, by_score);
    for (size_t i = 0; !rc && i < n; i++) {
        record_begin(&to->text, k->texts[i].index);
        record_put_score(&to->text, k->texts[i].score);
        buf_putc(&to->text, ',');
        record_put_str(&to->text, "text", k->texts[i].text);
        record_end(&to->text, k->texts[i].truncated);
        rc = output_spill(to, err);
    }
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct ranking k = { .options = o };
    struct stream_job job = { .write = keep, .cookie = &k };
    const struct stream_hooks hooks = { NULL, write_ranking };
    if (!o->request.query.ptr)
        return rkf_fail(err, RKF_INVALID, "rerank needs what to rank for: add --query TEXT");
    o->request.task = RKF_TASK_RERANK;
    rkf_status rc = stream_command(o, &job, &hooks, err);
    for (size_t i = 0; i < k.n; i++)
        mem_free((char *)(uintptr_t)k.texts[i].text.ptr);
    mem_free(k.texts);
    return rc;
}

const struct command command_rerank = {
    .name = "rerank",
    .usage = "-m MODEL --query QUERY [options] [TEXT...]",
    .summary = "order texts by how well they answer a query",
    .details = "Writes {\"index\":2,\"score\":0.98,\"text\":\"...\"} by falling score. Scores are what the model's "
               "activation_fn makes of its logits, else their sigmoid; --raw-scores are the logits.",
    .examples = "rkformer rerank -m ms-marco-MiniLM-L6-v2 --query 'how old is the sun' --top-k 3 --input answers.txt",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_RERANK,
    .run = run,
};
