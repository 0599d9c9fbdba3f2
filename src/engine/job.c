/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: a request checked, its texts made into token sequences (in the caller's thread), and what must outlive the
 * call. */
#include "engine/engine.h"

#include "base/utf8.h"

#include <string.h>

/* ---- texts */

rkf_status prompt_find(const struct rkf_model *m, const rkf_request *rq, rkf_str *out, rkf_error *err)
{
    const struct model_dir *d = m->dir;
    *out = (rkf_str){ NULL, 0 };
    if (rq->prompt.ptr) {
        *out = rq->prompt;
        return RKF_OK;
    }
    const char *name = rq->prompt_name.ptr ? rq->prompt_name.ptr : d->default_prompt_name;
    size_t len = rq->prompt_name.ptr ? rq->prompt_name.len : name ? strlen(name) : 0;
    if (!name)
        return RKF_OK;
    struct buf known;
    buf_init(&known, 300);
    for (uint32_t i = 0; i < d->n_prompts; i++) {
        if (strlen(d->prompts[i].name) == len && !memcmp(d->prompts[i].name, name, len)) {
            *out = (rkf_str){ d->prompts[i].text, strlen(d->prompts[i].text) };
            buf_free(&known);
            return RKF_OK;
        }
        buf_printf(&known, "%s%s", i ? ", " : "", d->prompts[i].name);
    }
    char q[64];
    rkf_status rc = rkf_fail(err, RKF_INVALID, "model %s has no prompt named '%s': %s%s", m->name,
                             rkf_quote(q, sizeof q, name, len), d->n_prompts ? "use one of " : "it has no prompts",
                             known.p ? known.p : "");
    buf_free(&known);
    return rc;
}

rkf_status text_make(struct rkf_model *m, rkf_str s, rkf_str prompt, bool strict, uint32_t index, struct text *out,
                     rkf_error *err)
{
    size_t ok = utf8_valid_prefix(s.ptr, s.len);
    if (ok != s.len && strict)
        return rkf_fail(err, RKF_INVALID, "input %u is not valid UTF-8 at byte %zu", index, ok);
    bool lower = m->dir->do_lower_case;
    if (ok == s.len && !prompt.len && !lower) {
        *out = (struct text){ .p = s.ptr, .len = s.len };
        return RKF_OK;
    }
    struct buf b;
    buf_init(&b, SIZE_MAX / 4);
    utf8_append_replaced(&b, prompt.ptr, prompt.len);
    uint32_t chars = b.p ? (uint32_t)utf8_count(b.p, b.len) : 0;
    utf8_append_replaced(&b, s.ptr, s.len);
    buf_append(&b, "", 0);
    if (b.failed) {
        buf_free(&b);
        return rkf_fail_memory(err, s.len, "a text");
    }
    *out = (struct text){ .p = b.p, .len = b.len, .owned = b.p, .prompt_chars = chars };
    return RKF_OK;
}

void text_free(struct text *t)
{
    mem_free(t->owned);
    *t = (struct text){ 0 };
}

/* ---- encoding */

static uint32_t length_limit(const struct rkf_model *m, const rkf_request *rq)
{
    uint32_t positions = m->dir->spec.max_positions;
    uint32_t n = rq->max_length > 0 ? (uint32_t)rq->max_length : m->max_length;
    return positions && (n > positions || n == 0) ? positions : n;
}

static rkf_status check_ids(const struct job *job, const int32_t *ids, uint32_t n, uint32_t input, rkf_error *err)
{
    uint32_t vocab = job->model->dir->spec.vocab_size;
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] < 0 || (vocab && (uint32_t)ids[i] >= vocab)) /* 0: the config does not say */
            return rkf_fail(err, RKF_INVALID, "input %u: token id %d is outside the vocabulary of %s (0 to %u)", input,
                            ids[i], job->model->name, vocab - 1);
    return RKF_OK;
}

static rkf_status add_item(struct job *job, uint32_t *cap, struct item it, rkf_error *err)
{
    if (job->n_items == *cap) {
        uint32_t want = *cap ? *cap * 2 : 16;
        struct item *p = mem_grow(job->items, want, sizeof *p);
        if (!p)
            return rkf_fail_memory(err, want * sizeof *p, "the sequences of a request");
        job->items = p;
        *cap = want;
    }
    rkf_status rc = check_ids(job, it.ids, it.n, it.input, err);
    if (!rc)
        job->items[job->n_items++] = it;
    return rc;
}

static struct item item_of(const struct rkf_model *m, const struct encoding *e, uint32_t input)
{
    return (struct item){
        .seq = e, .ids = e->ids, .type_ids = m->feed_types ? e->type_ids : NULL, .n = e->n, .input = input
    };
}

static rkf_status add_encoding(struct job *job, uint32_t *cap, const struct encoding *e, uint32_t input, uint32_t skip,
                               rkf_error *err)
{
    struct item it = item_of(job->model, e, input);
    it.skip = skip;
    rkf_status rc = add_item(job, cap, it, err);
    for (uint32_t w = 0; !rc && w < e->n_overflow; w++)
        rc = add_item(job, cap, item_of(job->model, &e->overflow[w], input), err);
    return rc;
}

static struct encode_options options_for(const struct job *job, const rkf_request *rq)
{
    const struct task *t = job->task;
    struct tokenizer_facts facts = tokenizer_facts(job->model->tokenizer);
    bool windows = t->windows || rq->chunk == RKF_ON;
    struct encode_options o = {
        .add_special_tokens = true,
        .max_length = rq->truncate == RKF_TRUNCATE_NONE && !windows ? 0 : length_limit(job->model, rq),
        .side = rq->truncate == RKF_TRUNCATE_LEFT || facts.truncate_left ? TRUNCATE_LEFT : TRUNCATE_RIGHT,
        .strategy = t->truncation,
        .overflow = windows,
        .stride = windows ? rq->stride > 0 ? (uint32_t)rq->stride : t->stride : 0,
        .offsets = t->keep_text,
    };
    uint32_t room = o.max_length > facts.n_special_pair ? o.max_length - facts.n_special_pair : 1;
    if (o.stride >= room) /* windows must move on */
        o.stride = room - 1;
    return o;
}

rkf_status job_encode(struct job *job, const rkf_request *rq, const rkf_str *texts, const rkf_str *pairs, uint32_t n,
                      const uint32_t *input_of, rkf_error *err)
{
    struct rkf_model *m = job->model;
    struct encode_options o = options_for(job, rq);
    uint32_t limit = length_limit(m, rq), cap = n;
    struct tokenizer_scratch *scratch = NULL;
    rkf_status rc = model_scratch_get(m, &scratch, err);
    if (rc)
        return rc;
    job->encodings = mem_zalloc(n, sizeof *job->encodings);
    job->items = mem_array(n, sizeof *job->items);
    if (!job->encodings || !job->items) {
        rc = rkf_fail_memory(err, n * sizeof *job->items, "the sequences of a request");
        goto done;
    }
    for (uint32_t i = 0; !rc && i < n; i++) {
        struct encoding *e = &job->encodings[i];
        uint32_t input = input_of ? input_of[i] : i;
        const rkf_str *pair = pairs && pairs[i].ptr ? &pairs[i] : NULL;
        rc = tokenizer_encode(m->tokenizer, scratch, texts[i].ptr, texts[i].len, pair ? pair->ptr : NULL,
                              pair ? pair->len : 0, &o, e, err);
        if (rc) {
            rc = rkf_fail_within(err, rc, "input %u", input);
            break;
        }
        job->n_encodings = i + 1;
        if (limit && e->n > limit && !o.max_length)
            rc = rkf_fail(err, RKF_TOO_LONG,
                          "input %u has %u tokens, the limit is %u: shorten it, allow truncation or use --chunk", input,
                          e->n, limit);
        if (!o.overflow && e->truncated > job->truncated[input]) /* several items of one input: the worst */
            job->truncated[input] = e->truncated;
        job->n_tokens[input] += e->n;
        if (!rc)
            rc = add_encoding(job, &cap, e, input, 0, err);
    }
done:
    model_scratch_put(m, scratch);
    return rc;
}

/* ---- the default items: one sequence (or its windows) per input */

/* Tokens of a prompt that pooling leaves out, counted as sentence-transformers does: the prompt alone with its special
 * tokens, less a special one at its end. */
static rkf_status prompt_tokens(struct job *job, rkf_str prompt, uint32_t *out, rkf_error *err)
{
    struct rkf_model *m = job->model;
    struct tokenizer_scratch *scratch = NULL;
    struct encoding e = { 0 };
    rkf_status rc = model_scratch_get(m, &scratch, err);
    if (rc)
        return rc;
    struct encode_options o = { .add_special_tokens = true };
    rc = tokenizer_encode(m->tokenizer, scratch, prompt.ptr, prompt.len, NULL, 0, &o, &e, err);
    if (!rc) {
        *out = e.n && tokenizer_is_special(m->tokenizer, e.ids[e.n - 1]) ? e.n - 1 : e.n;
        encoding_free(&e);
    }
    model_scratch_put(m, scratch);
    return rc;
}

/* Cuts one input's ids to `keep`; the last one is the closing special token, which stays. */
static void copy_ids(int32_t *to, const int32_t *from, size_t n, size_t keep)
{
    memcpy(to, from, keep * sizeof *to);
    if (keep < n && keep)
        to[keep - 1] = from[n - 1];
}

/* Token types of one input, cut as its ids are. */
static rkf_status copy_types(const struct rkf_model *m, uint8_t *to, const rkf_input *in, size_t keep, uint32_t input,
                             rkf_error *err)
{
    for (size_t i = 0; i < keep; i++) {
        int32_t type = in->type_ids[i + 1 == keep ? in->n_ids - 1 : i];
        if (type < 0 || (uint32_t)type >= m->dir->spec.type_vocab_size || type > UINT8_MAX)
            return rkf_fail(err, RKF_INVALID, "input %u: token type %d: model %s has %u token types", input, type,
                            m->name, m->dir->spec.type_vocab_size);
        to[i] = (uint8_t)type;
    }
    return RKF_OK;
}

/* Room for every input's ids and, where they matter, token types. */
static rkf_status alloc_ids(struct job *job, const rkf_request *rq, rkf_error *err)
{
    size_t total = 0;
    bool types = false;
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        if (!rq->inputs[i].ids)
            return rkf_fail(err, RKF_INVALID, "input %u is text, others are token ids: do not mix them", i);
        total += rq->inputs[i].n_ids;
        types |= rq->inputs[i].type_ids != NULL;
    }
    types = types && job->model->dir->spec.type_vocab_size > 1;
    job->raw_ids = mem_array(total, sizeof *job->raw_ids);
    job->raw_types = types ? mem_zalloc(total, 1) : NULL;
    job->items = mem_array(job->n_inputs, sizeof *job->items);
    if (!job->raw_ids || !job->items || (types && !job->raw_types))
        return rkf_fail_memory(err, total * sizeof *job->raw_ids, "token ids");
    return RKF_OK;
}

static rkf_status items_from_ids(struct job *job, const rkf_request *rq, rkf_error *err)
{
    uint32_t limit = length_limit(job->model, rq), cap = job->n_inputs;
    size_t at = 0;
    rkf_status rc = alloc_ids(job, rq, err);
    for (uint32_t i = 0; !rc && i < job->n_inputs; i++) {
        const rkf_input *in = &rq->inputs[i];
        size_t n = in->n_ids, keep = limit && n > limit ? limit : n;
        if (keep < n && rq->truncate == RKF_TRUNCATE_NONE)
            return rkf_fail(err, RKF_TOO_LONG, "input %u has %zu tokens, the limit is %u", i, n, limit);
        copy_ids(job->raw_ids + at, in->ids, n, keep);
        job->truncated[i] = (uint32_t)(n - keep);
        job->n_tokens[i] = (uint32_t)keep;
        struct item it = { .ids = job->raw_ids + at, .n = (uint32_t)keep, .input = i };
        if (job->raw_types && in->type_ids) {
            rc = copy_types(job->model, job->raw_types + at, in, keep, i, err);
            it.type_ids = job->raw_types + at;
        }
        if (!rc)
            rc = add_item(job, &cap, it, err);
        at += keep;
    }
    return rc;
}

static rkf_status make_texts(struct job *job, const rkf_request *rq, rkf_str prompt, rkf_str *text, rkf_str *pair,
                             rkf_error *err)
{
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        const rkf_input *in = &rq->inputs[i];
        if (!in->text.ptr)
            return rkf_fail(err, RKF_INVALID, "input %u has neither text nor token ids", i);
        if (in->text.len > INT32_MAX || in->pair.len > INT32_MAX)
            return rkf_fail(err, RKF_INVALID, "input %u is longer than 2 GiB", i);
        rkf_status rc = text_make(job->model, in->text, prompt, rq->strict, i, &job->texts[i], err);
        if (!rc && in->pair.ptr)
            rc = text_make(job->model, in->pair, (rkf_str){ 0 }, rq->strict, i, &job->pairs[i], err);
        if (rc)
            return rc;
        text[i] = (rkf_str){ job->texts[i].p, job->texts[i].len };
        pair[i] = in->pair.ptr ? (rkf_str){ job->pairs[i].p, job->pairs[i].len } : (rkf_str){ 0 };
    }
    return RKF_OK;
}

/* Texts that the caller still owns become ours, because the answer quotes them. */
static rkf_status own_texts(struct text *t, uint32_t n, rkf_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (t[i].p && !t[i].owned) {
            if (!(t[i].owned = mem_strndup(t[i].p, t[i].len)))
                return rkf_fail_memory(err, t[i].len, "a text");
            t[i].p = t[i].owned;
        }
    return RKF_OK;
}

static void free_texts(struct job *job)
{
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        if (job->texts)
            text_free(&job->texts[i]);
        if (job->pairs)
            text_free(&job->pairs[i]);
    }
}

rkf_status items_from_inputs(struct job *job, const rkf_request *rq, rkf_error *err)
{
    rkf_str prompt = { 0 };
    uint32_t skip = 0;
    rkf_status rc = job->task->prompts ? prompt_find(job->model, rq, &prompt, err) : RKF_OK;
    if (rc)
        return rc;
    if (rq->n_inputs && rq->inputs[0].ids)
        return items_from_ids(job, rq, err);
    rkf_str *text = arena_array(&job->mem, job->n_inputs, sizeof *text);
    rkf_str *pair = arena_array(&job->mem, job->n_inputs, sizeof *pair);
    if (!text || !pair)
        return rkf_fail_memory(err, job->n_inputs * sizeof *text, "texts");
    rc = make_texts(job, rq, prompt, text, pair, err);
    if (!rc)
        rc = job_encode(job, rq, text, pair, job->n_inputs, NULL, err);
    if (!rc && prompt.len && pooler_skips_prompt(job->model->pooler))
        rc = prompt_tokens(job, prompt, &skip, err);
    for (uint32_t i = 0; !rc && skip && i < job->n_items; i++)
        job->items[i].skip = skip < job->items[i].n ? skip : job->items[i].n;
    if (!rc && job->task->keep_text) {
        rc = own_texts(job->texts, job->n_inputs, err);
        if (!rc)
            rc = own_texts(job->pairs, job->n_inputs, err);
    } else {
        free_texts(job);
    }
    return rc;
}

/* ---- jobs */

static rkf_status copy_lists(struct job *job, const rkf_request *rq, rkf_error *err)
{
    struct arena *a = &job->mem;
    rkf_str *labels = arena_array(a, rq->n_labels, sizeof *labels);
    if (!labels)
        return rkf_fail_memory(err, rq->n_labels * sizeof *labels, "labels");
    for (size_t i = 0; i < rq->n_labels; i++) {
        char *p = arena_alloc(a, rq->labels[i].len + 1);
        if (!p)
            return rkf_fail_memory(err, rq->labels[i].len, "a label");
        memcpy(p, rq->labels[i].ptr, rq->labels[i].len);
        p[rq->labels[i].len] = 0;
        labels[i] = (rkf_str){ p, rq->labels[i].len };
    }
    job->labels = labels;
    if (rq->ranges && job->width) {
        float *r = arena_array(a, 2 * (size_t)job->width, sizeof *r);
        if (!r)
            return rkf_fail_memory(err, 8 * (size_t)job->width, "ranges");
        memcpy(r, rq->ranges, 2 * (size_t)job->width * sizeof *r);
        job->ranges = r;
    }
    return RKF_OK;
}

rkf_status job_create(struct rkf_model *m, const rkf_request *rq, struct job **out, rkf_error *err)
{
    int64_t begin = time_now_ns();
    const struct task *task = task_get(rq->task);
    rkf_status rc = task_check(m, task, rq, err);
    if (rc)
        return rc;
    uint32_t n = (uint32_t)rq->n_inputs;
    struct job *job = mem_zalloc(1, sizeof *job);
    if (!job)
        return rkf_fail_memory(err, sizeof *job, "a request");
    *job = (struct job){ .model = m, .task = task, .rq = *rq, .n_inputs = n, .submitted_ns = begin };
    job->priority = rq->priority ? rq->priority : m->priority;
    job->deadline_ns = rq->timeout_us > 0 ? begin + rq->timeout_us * 1000 : 0;
    job->texts = mem_zalloc(n, sizeof *job->texts);
    job->pairs = mem_zalloc(n, sizeof *job->pairs);
    job->truncated = mem_zalloc(n, sizeof *job->truncated);
    job->n_tokens = mem_zalloc(n, sizeof *job->n_tokens);
    if (!job->texts || !job->pairs || !job->truncated || !job->n_tokens) {
        rc = rkf_fail_memory(err, n * sizeof *job->texts, "a request");
        goto fail;
    }
    if (task->collect == COLLECT_POOLED) {
        struct pool_options po = { .pooling = (int)rq->pooling - 1,
                                   .normalize = -1,
                                   .truncate_dim = (uint32_t)rq->truncate_dim };
        job->width = pooler_width(m->pooler, &po);
    }
    if ((rc = copy_lists(job, rq, err)) || (rc = (task->items ? task->items : items_from_inputs)(job, rq, err)) ||
        (rc = result_create(n, &job->result, err)))
        goto fail;
    if (task->collect == COLLECT_POOLED) {
        size_t bytes = (size_t)job->n_items * job->width * sizeof *job->matrix;
        if (!(job->matrix = mem_alloc_aligned(bytes ? bytes : 64, 64))) {
            rc = rkf_fail_memory(err, bytes, "embeddings");
            goto fail;
        }
    }
    job->rq.inputs = NULL;
    job->tokenize_ns = time_now_ns() - begin;
    *out = job;
    return RKF_OK;
fail:
    job_free(job);
    return rc;
}

void job_free(struct job *job)
{
    if (!job)
        return;
    for (uint32_t i = 0; i < job->n_items; i++)
        mem_free(job->items[i].rows);
    for (uint32_t i = 0; job->encodings && i < job->n_encodings; i++)
        encoding_free(&job->encodings[i]);
    free_texts(job);
    mem_free(job->encodings);
    mem_free(job->raw_ids);
    mem_free(job->raw_types);
    mem_free(job->items);
    mem_free(job->texts);
    mem_free(job->pairs);
    mem_free(job->truncated);
    mem_free(job->n_tokens);
    mem_free_aligned(job->matrix);
    rkf_result_free(job->result);
    arena_free(&job->mem);
    mem_free(job);
}
