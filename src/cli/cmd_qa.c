/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer qa: answers to a question, as pieces of contexts. */
#include "cli/record.h"
#include "cli/stream.h"

#include <string.h>

struct qa {
    const struct options *options;
    bool one; /* a single --context: its lines need no index */
};

/* The item's text is the context; its pair, if given, a question of its own. */
static rkf_status pair_up(void *cookie, const struct input_item *item, rkf_input *to, rkf_error *err)
{
    struct qa *qa = cookie;
    rkf_str question = item->pair.ptr ? item->pair : qa->options->request.query;
    if (!question.ptr)
        return rkf_fail(err, RKF_FORMAT, "no question: add \"question\" to it, or --question");
    *to = (rkf_input){ .text = question, .pair = item->text };
    return RKF_OK;
}

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    struct qa *qa = cookie;
    struct buf *b = &to->text;
    size_t n;
    const rkf_span *spans = rkf_result_spans(r->result, 0, &n);
    (void)err;
    for (size_t i = 0; i < n; i++) {
        if (qa->one)
            buf_putc(b, '{');
        else
            record_begin(b, r->index);
        buf_puts(b, qa->one ? "" : ",");
        record_put_str(b, "answer", spans[i].text);
        record_put_score(b, spans[i].score);
        buf_puts(b, ",\"start\":");
        record_put_int(b, spans[i].start);
        buf_puts(b, ",\"end\":");
        record_put_int(b, spans[i].end);
        record_end(b, record_truncated(r->result));
    }
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct qa qa = { .options = o, .one = o->context.ptr != NULL };
    struct stream_job job = { .prepare = pair_up, .write = write, .cookie = &qa };
    const char *const keys[] = { "context", "question" };
    if (qa.one && (o->n_texts || o->input))
        return rkf_fail(err, RKF_INVALID, "both --context and texts are given: use one of them");
    if (!o->request.query.ptr && !o->jsonl && !o->input)
        return rkf_fail(err, RKF_INVALID, "qa needs a question: add --question TEXT");
    if (qa.one) {
        o->texts[0] = (char *)(uintptr_t)o->context.ptr; /* there is room for one: it ends in NULL */
        o->n_texts = 1;
    }
    job.keys = keys;
    o->request.task = RKF_TASK_QA;
    return stream_command(o, &job, NULL, err);
}

const struct command command_qa = {
    .name = "qa",
    .usage = "-m MODEL --question QUESTION (--context CONTEXT | [TEXT...])",
    .summary = "answer a question from a text",
    .details =
        "Writes {\"answer\":\"..\",\"score\":..,\"start\":..,\"end\":..}, with --top-k one line per answer by falling "
        "score. Several contexts (texts, or JSON lines with \"context\" and \"question\") get an \"index\" in front. "
        "Long contexts are read in overlapping windows.",
    .examples =
        "rkformer qa -m distilbert-squad --question 'Where does Li Wei live?' --context 'Li Wei lives in Paris.'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_QA,
    .run = run,
};
