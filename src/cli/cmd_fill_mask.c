/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer fill-mask: words for the gaps of a text. */
#include "cli/record.h"
#include "cli/stream.h"

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    size_t n;
    const rkf_fill *fills = rkf_result_fills(r->result, 0, &n);
    (void)cookie;
    (void)err;
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"predictions\":");
    record_put_fills(&to->text, fills, n);
    record_end(&to->text, record_truncated(r->result));
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct stream_job job = { .write = write };
    o->request.task = RKF_TASK_FILL_MASK;
    o->request.labels = o->labels.p;
    o->request.n_labels = o->labels.n;
    return stream_command(o, &job, NULL, err);
}

const struct command command_fill_mask = {
    .name = "fill-mask",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "fill the masked words of texts",
    .details =
        "Writes "
        "{\"index\":0,\"predictions\":[{\"token\":..,\"token_str\":\"..\",\"score\":..,\"sequence\":\"..\"},...]}. "
        "A text holds the model's mask token, [MASK] or <mask>; where it holds several, each prediction says which "
        "(\"mask\", from 0).",
    .examples = "rkformer fill-mask -m bert-base-uncased --top-k 3 'Paris is the [MASK] of France.'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_FILL_MASK,
    .run = run,
};
