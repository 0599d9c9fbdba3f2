/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer classify: labels with scores, the model's own or (zero-shot) the user's. */
#include "cli/record.h"
#include "cli/stream.h"

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    size_t n;
    const rkf_label *labels = rkf_result_labels(r->result, 0, &n);
    (void)cookie;
    (void)err;
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"labels\":");
    record_put_labels(&to->text, labels, n);
    record_end(&to->text, record_truncated(r->result));
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct stream_job job = { .write = write };
    if (!o->labels.n && (o->request.multi_label || o->request.hypothesis_template.ptr))
        return rkf_fail(err, RKF_INVALID, "%s is for zero-shot classification: add --candidate-labels A,B,...",
                        o->request.multi_label ? "--multi-label" : "--hypothesis-template");
    o->request.task = o->labels.n ? RKF_TASK_ZERO_SHOT : RKF_TASK_CLASSIFY;
    o->request.labels = o->labels.p;
    o->request.n_labels = o->labels.n;
    return stream_command(o, &job, NULL, err);
}

const struct command command_classify = {
    .name = "classify",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "label texts, or pairs of texts",
    .details =
        "Writes {\"index\":0,\"labels\":[{\"label\":\"POSITIVE\",\"score\":0.99},...]} with all labels by falling "
        "score. Pairs are JSON lines with \"text\" and \"text_pair\". --candidate-labels makes it zero-shot, with a "
        "model trained on natural language inference.",
    .examples = "rkformer classify -m distilbert-sst2 'what a fine film'\n"
                "rkformer classify -m deberta-v3-mnli --candidate-labels sport,politics 'they won the cup'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_CLASSIFY,
    .run = run,
};
