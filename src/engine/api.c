/* SPDX-License-Identifier: Apache-2.0 */
/* The small entrances of rkformer.h: run, submit, cancel, tokenise, decode. */
#include "engine/engine.h"

#include <string.h>

const char *rkf_version(void)
{
    return RKF_BUILD_VERSION;
}

void rkf_free(void *p)
{
    mem_free(p);
}

/* A caller built against an older header gives a shorter struct: what it lacks is zero. */
static rkf_status take_request(const struct rkf_model *m, const rkf_request *in, rkf_request *out, rkf_error *err)
{
    if (!m || !in)
        return rkf_fail(err, RKF_INVALID, "a request needs a model and a request");
    if (in->size < offsetof(rkf_request, query) || in->size > 1 << 16)
        return rkf_fail(err, RKF_INVALID, "rkf_request.size is not set: begin with RKF_REQUEST_INIT");
    *out = (rkf_request)RKF_REQUEST_INIT;
    memcpy(out, in, in->size < sizeof *out ? in->size : sizeof *out);
    return RKF_OK;
}

rkf_status rkf_run(rkf_model *model, const rkf_request *request, rkf_result **out, rkf_error *err)
{
    rkf_request rq;
    struct job *job = NULL;
    rkf_status rc = take_request(model, request, &rq, err);
    if (!rc && !out)
        rc = rkf_fail(err, RKF_INVALID, "rkf_run needs a place for the result");
    if (!rc)
        rc = job_create(model, &rq, &job, err);
    if (!rc)
        rc = queue_run(job, out, err);
    return rc;
}

rkf_status rkf_submit(rkf_model *model, const rkf_request *request, rkf_done *done, void *cookie, rkf_ticket *ticket,
                      rkf_error *err)
{
    rkf_request rq;
    struct job *job = NULL;
    rkf_status rc = take_request(model, request, &rq, err);
    if (!rc && !done)
        rc = rkf_fail(err, RKF_INVALID, "rkf_submit needs a callback");
    if (!rc)
        rc = job_create(model, &rq, &job, err);
    if (rc)
        return rc;
    job->done = done;
    job->cookie = cookie;
    rc = queue_submit(job, ticket, err);
    if (rc)
        job_free(job);
    return rc;
}

rkf_status rkf_cancel(rkf_model *model, rkf_ticket ticket)
{
    return model ? queue_cancel(model, ticket) : RKF_INVALID;
}

/* ---- tokens */

static void *copy_in(struct arena *a, const void *p, size_t count, size_t size)
{
    void *to = arena_array(a, count, size);
    if (to && p)
        memcpy(to, p, count * size);
    else if (to)
        memset(to, 0, count * size);
    return to;
}

static rkf_status tokens_make(rkf_result *r, uint32_t input, const struct encoding *e, uint32_t prompt_chars,
                              rkf_error *err)
{
    struct arena *a = &r->mem;
    rkf_tokens *t = arena_alloc(a, sizeof *t);
    int32_t *types = arena_array(a, e->n, sizeof *types), *seqs = arena_array(a, e->n, sizeof *seqs);
    int32_t(*offsets)[2] = copy_in(a, e->offsets, e->n, sizeof *offsets);
    if (!t || !types || !seqs || !offsets)
        return rkf_fail_memory(err, e->n * sizeof *offsets, "tokens");
    for (uint32_t i = 0; i < e->n; i++) {
        types[i] = e->type_ids ? e->type_ids[i] : 0;
        seqs[i] = e->sequence_ids ? e->sequence_ids[i] : 0;
        for (int k = 0; seqs[i] == 0 && k < 2; k++) /* positions are in the caller's text: the prompt is not */
            offsets[i][k] = offsets[i][k] > (int32_t)prompt_chars ? offsets[i][k] - (int32_t)prompt_chars : 0;
    }
    *t = (rkf_tokens){ .n = e->n,
                       .ids = copy_in(a, e->ids, e->n, sizeof *e->ids),
                       .type_ids = types,
                       .offsets = (const int32_t(*)[2])offsets,
                       .special = copy_in(a, e->special, e->n, 1),
                       .word_ids = copy_in(a, e->word_ids, e->n, sizeof *e->word_ids),
                       .sequence_ids = seqs,
                       .truncated = e->truncated };
    if (!t->ids || !t->special || !t->word_ids)
        return rkf_fail_memory(err, e->n * sizeof *offsets, "tokens");
    r->item[input].tokens = t;
    r->item[input].info = (rkf_info){ .tokens = e->n, .truncated = e->truncated, .device = "cpu" };
    return RKF_OK;
}

static rkf_status tokenize_one(rkf_model *m, struct tokenizer_scratch *scratch, const rkf_request *rq, rkf_str prompt,
                               const struct encode_options *o, uint32_t i, rkf_result *r, rkf_error *err)
{
    const rkf_input *in = &rq->inputs[i];
    struct text text = { 0 }, pair = { 0 };
    struct encoding e = { 0 };
    if (!in->text.ptr)
        return rkf_fail(err, RKF_INVALID, "input %u has no text", i);
    rkf_status rc = text_make(m, in->text, prompt, rq->strict, i, &text, err);
    if (!rc && in->pair.ptr)
        rc = text_make(m, in->pair, (rkf_str){ 0 }, rq->strict, i, &pair, err);
    if (!rc)
        rc = tokenizer_encode(m->tokenizer, scratch, text.p, text.len, pair.p, pair.len, o, &e, err);
    if (!rc) {
        rc = tokens_make(r, i, &e, text.prompt_chars, err);
        encoding_free(&e);
    }
    text_free(&text);
    text_free(&pair);
    return rc;
}

rkf_status rkf_tokenize(rkf_model *m, const rkf_request *request, bool add_special_tokens, rkf_result **out,
                        rkf_error *err)
{
    rkf_request rq;
    rkf_str prompt;
    rkf_result *r = NULL;
    struct tokenizer_scratch *scratch = NULL;
    rkf_status rc = take_request(m, request, &rq, err);
    if (!rc && (!out || (rq.n_inputs && !rq.inputs)))
        rc = rkf_fail(err, RKF_INVALID, "rkf_tokenize needs inputs and a place for the result");
    if (!rc)
        rc = prompt_find(m, &rq, &prompt, err);
    if (!rc)
        rc = result_create(rq.n_inputs, &r, err);
    if (!rc)
        rc = model_scratch_get(m, &scratch, err);
    if (rc)
        goto fail;
    uint32_t limit = rq.max_length > 0 ? (uint32_t)rq.max_length : m->max_length,
             positions = m->dir->spec.max_positions;
    struct encode_options o = {
        .add_special_tokens = add_special_tokens,
        .max_length = rq.truncate == RKF_TRUNCATE_NONE ? 0
                      : positions && limit > positions ? positions
                                                       : limit,
        .side = rq.truncate == RKF_TRUNCATE_LEFT || tokenizer_facts(m->tokenizer).truncate_left ? TRUNCATE_LEFT
                                                                                                : TRUNCATE_RIGHT,
        .offsets = true,
    };
    for (uint32_t i = 0; !rc && i < rq.n_inputs; i++) {
        rc = tokenize_one(m, scratch, &rq, prompt, &o, i, r, err);
        if (!rc) {
            r->info.tokens += r->item[i].info.tokens;
            r->info.truncated += r->item[i].info.truncated;
        }
    }
    if (rc)
        goto fail;
    r->info.device = "cpu";
    model_scratch_put(m, scratch);
    *out = r;
    return RKF_OK;
fail:
    if (scratch)
        model_scratch_put(m, scratch);
    rkf_result_free(r);
    return rc;
}

rkf_status rkf_decode(rkf_model *m, const int32_t *ids, size_t n, bool skip_special_tokens, char **text, rkf_error *err)
{
    if (!m || !text || (n && !ids))
        return rkf_fail(err, RKF_INVALID, "rkf_decode needs a model, ids and a place for the text");
    struct buf b;
    buf_init(&b, SIZE_MAX / 4);
    rkf_status rc = tokenizer_decode(m->tokenizer, ids, n, skip_special_tokens, &b, err);
    char *p = rc ? NULL : buf_steal(&b);
    if (!rc && !p)
        rc = rkf_fail_memory(err, n, "a text");
    if (!rc)
        *text = p;
    buf_free(&b);
    return rc;
}

const char *rkf_token_text(const rkf_model *m, int32_t id)
{
    return m ? tokenizer_token(m->tokenizer, id) : NULL;
}
