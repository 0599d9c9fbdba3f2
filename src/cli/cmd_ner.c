/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer ner: the entities of each text. */
#include "cli/record.h"
#include "cli/stream.h"

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    size_t n;
    const rkf_span *spans = rkf_result_spans(r->result, 0, &n);
    (void)cookie;
    (void)err;
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"entities\":");
    record_put_entities(&to->text, spans, n);
    record_end(&to->text, record_truncated(r->result));
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct stream_job job = { .write = write };
    o->request.task = RKF_TASK_NER;
    return stream_command(o, &job, NULL, err);
}

const struct command command_ner = {
    .name = "ner",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "find names and other entities",
    .details =
        "Writes {\"index\":0,\"entities\":[{\"entity_group\":\"PER\",\"score\":..,\"word\":\"..\",\"start\":0,"
        "\"end\":13},...]}; start and end count code points. --aggregation none gives tokens, with \"entity\" and "
        "\"index\" instead of \"entity_group\".",
    .examples = "rkformer ner -m bert-base-NER 'Angela Merkel visited Paris.'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_NER,
    .run = run,
};
