/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer hidden: the numbers that a model computes before any task is made of them. */
#include "cli/record.h"
#include "cli/stream.h"

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    const struct options *o = cookie;
    rkf_tensor t;
    rkf_status rc = rkf_result_tensor(r->result, 0, &t);
    if (rc)
        return rkf_fail(err, rc, "the model gave no tensor");
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"shape\":");
    record_put_shape(&to->text, &t);
    buf_puts(&to->text, o->logits ? ",\"logits\":" : ",\"last_hidden_state\":");
    rc = record_put_tensor(to, &t, err);
    record_end(&to->text, record_truncated(r->result));
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct stream_job job = { .write = write,
                              .cookie = o,
                              .first_window = 2 }; /* logits may be hundreds of megabytes */
    o->request.task = o->logits ? RKF_TASK_LOGITS : RKF_TASK_HIDDEN;
    return stream_command(o, &job, NULL, err);
}

const struct command command_hidden = {
    .name = "hidden",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "write hidden states, or the raw output of the model's head",
    .details = "Writes {\"index\":0,\"shape\":[n,h],\"last_hidden_state\":[..flat..]}. --logits writes "
               "{\"index\":0,\"shape\":[..],\"logits\":[..]}: [labels] for a classifier, [n,labels] per token, [n,2] "
               "(start, end) "
               "for question answering, [n,vocabulary] for fill-mask.",
    .examples = "rkformer hidden -m bert-base-uncased 'hello world'\n"
                "rkformer hidden --logits -m distilbert-sst2 'what a fine film'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_HIDDEN,
    .run = run,
};
