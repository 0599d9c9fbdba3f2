/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer choose: the best of several answers. All choices are one request, for their scores depend on each other. */
#include "cli/record.h"
#include "cli/stream.h"

enum { MOST_CHOICES = 1 << 20 };

struct choices {
    struct arena texts;
    rkf_input *p;
    size_t n, cap;
};

static rkf_status read_choices(struct input *in, struct choices *c, rkf_error *err)
{
    for (;;) {
        struct input_item item;
        bool end = false;
        rkf_status rc = input_next(in, &c->texts, &item, &end, err);
        if (rc || end)
            return rc;
        if (c->n == MOST_CHOICES)
            return rkf_fail(err, RKF_FORMAT, "more than %d choices", MOST_CHOICES);
        if (c->n == c->cap) {
            size_t cap = c->cap ? 2 * c->cap : 16;
            rkf_input *p = mem_grow(c->p, cap, sizeof *p);
            if (!p)
                return rkf_fail_memory(err, cap * sizeof *p, "choices");
            c->p = p;
            c->cap = cap;
        }
        c->p[c->n++] = (rkf_input){ .text = item.text };
    }
}

static void put_answer(struct buf *b, const rkf_result *result)
{
    size_t n = rkf_result_count(result), best = 0;
    float highest = -1;
    struct buf scores;
    buf_init(&scores, MOST_CHOICES * 32);
    for (size_t i = 0; i < n; i++) {
        size_t one;
        const rkf_label *label = rkf_result_labels(result, i, &one);
        float score = one ? label->score : 0;
        if (score > highest) {
            highest = score;
            best = i;
        }
        buf_puts(&scores, i ? "," : "");
        json_put_f32(&scores, score);
    }
    b->failed = b->failed || scores.failed;
    buf_puts(b, "{\"choice\":");
    record_put_int(b, (int64_t)best);
    buf_puts(b, ",\"scores\":[");
    buf_append(b, scores.p, scores.len);
    buf_putc(b, ']');
    record_end(b, record_truncated(result));
    buf_free(&scores);
}

static rkf_status answer(struct options *o, const struct choices *c, struct output *out, rkf_error *err)
{
    struct session s = { 0 };
    rkf_result *result = NULL;
    rkf_status rc = session_open(o, &s, err);
    o->request.task = RKF_TASK_CHOOSE;
    o->request.inputs = c->p;
    o->request.n_inputs = c->n;
    if (!rc)
        rc = rkf_run(s.model, &o->request, &result, err);
    if (!rc)
        put_answer(&out->text, result);
    rkf_result_free(result);
    session_close(&s);
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct input in;
    struct output out = { .file = { .fd = -1 } };
    struct choices c = { 0 };
    if (!o->request.query.ptr)
        return rkf_fail(err, RKF_INVALID, "choose needs a question: add --question TEXT");
    rkf_status rc = input_open(o, &in, err);
    if (rc)
        return rc;
    rc = read_choices(&in, &c, err);
    if (!rc && !c.n)
        rc = rkf_fail(err, RKF_INVALID, "no choices: give them as arguments, with --input FILE, or pipe them in");
    if (!rc)
        rc = output_open(o->output, &out, err);
    if (!rc)
        rc = answer(o, &c, &out, err);
    if (!rc)
        rc = output_commit(&out, err);
    if (rc)
        output_abort(&out);
    mem_free(c.p);
    arena_free(&c.texts);
    input_close(&in);
    return rc;
}

const struct command command_choose = {
    .name = "choose",
    .usage = "-m MODEL --question QUESTION [options] CHOICE...",
    .summary = "choose the best of several answers",
    .details =
        "Writes {\"choice\":1,\"scores\":[..]}: the number of the best choice, from 0, and the probability of each.",
    .examples = "rkformer choose -m bert-swag --question 'She opened the umbrella because' 'it rained' 'it was noon'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_CHOOSE,
    .run = run,
};
