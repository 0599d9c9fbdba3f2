/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer tokenize: what a model sees of a text. */
#include "cli/record.h"
#include "cli/stream.h"

#include <string.h>

struct tokenize {
    const struct options *options;
    rkf_model *model;
};

static rkf_status answer(void *cookie, const rkf_request *request, rkf_result **out, rkf_error *err)
{
    struct tokenize *t = cookie;
    return rkf_tokenize(t->model, request, !t->options->no_special_tokens, out, err);
}

static void put_texts(struct buf *b, const rkf_model *model, const rkf_tokens *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *text = rkf_token_text(model, t->ids[i]);
        buf_puts(b, i ? "," : "");
        json_put_str(b, text ? text : "", text ? strlen(text) : 0);
    }
}

static void put_offsets(struct buf *b, const rkf_tokens *t)
{
    for (size_t i = 0; i < t->n; i++) {
        buf_puts(b, i ? "," : "");
        record_put_ints(b, t->offsets[i], 2);
    }
}

static rkf_status write(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    struct tokenize *k = cookie;
    struct buf *b = &to->text;
    const rkf_tokens *t = rkf_result_tokens(r->result, 0);
    if (!t)
        return rkf_fail(err, RKF_INTERNAL, "the tokenizer gave no tokens");
    record_begin(b, r->index);
    buf_puts(b, ",\"input_ids\":");
    record_put_ints(b, t->ids, t->n);
    buf_puts(b, ",\"tokens\":[");
    put_texts(b, k->model, t);
    buf_puts(b, "],\"offsets\":[");
    put_offsets(b, t);
    buf_putc(b, ']');
    if (r->item->pair.ptr) {
        buf_puts(b, ",\"token_type_ids\":");
        record_put_ints(b, t->type_ids, t->n);
    }
    record_end(b, (int64_t)t->truncated);
    return RKF_OK;
}

static rkf_status start(void *cookie, rkf_model *model, struct output *to, rkf_error *err)
{
    struct tokenize *t = cookie;
    (void)to;
    (void)err;
    t->model = model;
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct tokenize t = { .options = o };
    struct stream_job job = { .answer = answer, .write = write, .cookie = &t };
    const struct stream_hooks hooks = { start, NULL };
    o->request.task = RKF_TASK_EMBED; /* prompts and limits as embed has them */
    return stream_command(o, &job, &hooks, err);
}

const struct command command_tokenize = {
    .name = "tokenize",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "show the tokens of texts",
    .details =
        "Writes {\"index\":0,\"input_ids\":[..],\"tokens\":[..],\"offsets\":[[0,4],..]}, cut like embed cuts; offsets "
        "count code points. Pairs (JSON lines with \"text_pair\") also get \"token_type_ids\".",
    .examples = "rkformer tokenize -m all-MiniLM-L6-v2 'hello world'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_TOKENIZE,
    .run = run,
};
