/* SPDX-License-Identifier: Apache-2.0 */
#include "server/call.h"

#include "base/thread.h"
#include "base/utf8.h"
#include "server/adapt.h"

#include <string.h>
#include <time.h>

struct unit { /* an input that is unlike the request's others */
    uint32_t input;
    const struct cached *hit;
    struct chunk *chunk; /* its result, */
    size_t at;           /* at this place */
};

struct chunk { /* one rkf_submit */
    struct chunk *next;
    struct call *w;
    size_t first, n; /* units */
    rkf_ticket ticket;
    bool ticket_known, ended;
    rkf_result *result;
};

enum { CHUNKS_IN_FLIGHT = 2, SMALL_REQUEST = 8 };

/* ---- equal inputs */

static bool same_str(rkf_str a, rkf_str b)
{
    return a.len == b.len && !a.ptr == !b.ptr && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

static bool same_input(const rkf_input *a, const rkf_input *b)
{
    if (!a->ids != !b->ids)
        return false;
    if (a->ids)
        return a->n_ids == b->n_ids && !memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids);
    return same_str(a->text, b->text) && same_str(a->pair, b->pair);
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ s[i]) * 0x100000001b3u; /* FNV-1a */
    return h;
}

static uint64_t input_hash(const rkf_input *in)
{
    uint64_t h = 0xcbf29ce484222325u;
    if (in->ids)
        return mix(h, in->ids, in->n_ids * sizeof *in->ids);
    return mix(mix(h, in->text.ptr, in->text.len), in->pair.ptr, in->pair.len);
}

/* Fills units and unit_of; a table of open addressing with room for twice the inputs. */
static bool find_units(struct call *w, bool merge)
{
    size_t n = w->req.n_inputs, size = 16;
    while (size < 2 * n)
        size *= 2;
    w->units = arena_array(&w->mem, n, sizeof *w->units);
    w->unit_of = arena_array(&w->mem, n, sizeof *w->unit_of);
    uint32_t *table = merge && n > 1 ? arena_array(&w->mem, size, sizeof *table) : NULL;
    if (!w->units || !w->unit_of || (merge && n > 1 && !table))
        return false;
    if (table)
        memset(table, 0, size * sizeof *table);
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot = NULL;
        size_t at = table ? input_hash(&w->req.inputs[i]) & (size - 1) : 0;
        for (; table; at = (at + 1) & (size - 1)) {
            slot = &table[at];
            if (!*slot || same_input(&w->req.inputs[i], &w->req.inputs[w->units[*slot - 1].input]))
                break;
        }
        if (!slot || !*slot) {
            w->units[w->n_units++] = (struct unit){ .input = (uint32_t)i };
            if (slot)
                *slot = (uint32_t)w->n_units;
        }
        w->unit_of[i] = (slot ? *slot : (uint32_t)w->n_units) - 1;
    }
    metrics_add(w->core->metrics, DEDUPLICATED, (int64_t)(n - w->n_units));
    return true;
}

/* ---- the cache: keys hold all that an embedding depends on */

static bool put_key(const struct call *w, size_t unit, struct buf *key)
{
    const rkf_request *rq = &w->req.rq;
    const rkf_input *in = &w->req.inputs[w->units[unit].input];
    const struct {
        uint64_t serial, prompt;
        int32_t normalize, dim, truncate, max_length, ids, pad;
    } head = { w->model->serial,      rq->prompt_name.len, (int32_t)rq->normalize, rq->truncate_dim,
               (int32_t)rq->truncate, rq->max_length,      in->ids != NULL,        0 };
    buf_clear(key);
    buf_append(key, &head, sizeof head);
    buf_append(key, rq->prompt_name.ptr, rq->prompt_name.len);
    if (in->ids)
        buf_append(key, in->ids, in->n_ids * sizeof *in->ids);
    else
        buf_append(key, in->text.ptr, in->text.len);
    return !key->failed;
}

static bool cacheable(const struct call *w)
{
    return w->core->cache && w->ep->task == RKF_TASK_EMBED && w->ep->how == HOW_SUBMIT;
}

/* Looks all units up and moves the hits behind the misses, so that chunks are ranges. */
static void look_up(struct call *w)
{
    struct buf key;
    size_t n = w->n_units, hits = 0;
    uint32_t *moved = arena_array(&w->mem, n, sizeof *moved); /* old place -> new */
    struct unit *sorted = arena_array(&w->mem, n, sizeof *sorted);
    w->n_misses = n;
    if (!cacheable(w) || !moved || !sorted)
        return;
    buf_init(&key, SIZE_MAX / 4);
    for (size_t i = 0; i < n; i++) {
        if (put_key(w, i, &key) && (w->units[i].hit = cache_get(w->core->cache, key.p, key.len)))
            hits++;
    }
    buf_free(&key);
    size_t miss = 0, hit = n - hits;
    for (size_t i = 0; i < n; i++) {
        moved[i] = (uint32_t)(w->units[i].hit ? hit++ : miss++);
        sorted[moved[i]] = w->units[i];
    }
    for (size_t i = 0; i < w->req.n_inputs; i++)
        w->unit_of[i] = moved[w->unit_of[i]];
    w->units = sorted;
    w->n_misses = miss;
    metrics_add(w->core->metrics, CACHE_HITS, (int64_t)hits);
    metrics_add(w->core->metrics, CACHE_MISSES, (int64_t)miss);
}

static void remember(struct call *w)
{
    struct buf key;
    if (!cacheable(w))
        return;
    buf_init(&key, SIZE_MAX / 4);
    for (size_t i = 0; i < w->req.n_inputs; i++) {
        size_t u = w->unit_of[i];
        const struct api_item *item = &w->answer.items[i];
        if (u >= w->n_misses || w->units[u].input != i || !put_key(w, u, &key))
            continue;
        cache_put(w->core->cache, key.p, key.len,
                  &(struct cached){ item->tokens, item->truncated, (uint32_t)item->dim, item->data });
    }
    buf_free(&key);
}

/* ---- limits */

static bool reserve_in(_Atomic int64_t *queued, int64_t n, int64_t limit)
{
    int64_t before = atomic_fetch_add(queued, n);
    if (!limit || !before || before + n <= limit)
        return true;
    atomic_fetch_sub(queued, n);
    return false;
}

static bool reserve(struct call *w)
{
    int64_t n = (int64_t)(w->n_misses < CHUNKS_IN_FLIGHT * w->core->chunk ? w->n_misses
                                                                          : CHUNKS_IN_FLIGHT * w->core->chunk);
    if (!n)
        return true;
    if (!reserve_in(&w->core->queued, n, w->core->limit))
        return api_fail(&w->error, FAULT_OVERLOADED, "", "Model is overloaded");
    if (!reserve_in(&w->model->queued, n, w->model->limit)) {
        atomic_fetch_sub(&w->core->queued, n);
        return api_fail(&w->error, FAULT_OVERLOADED, "", "Model is overloaded");
    }
    w->reserved = n;
    metrics_gauge(w->core->metrics, GAUGE_INPUTS, n);
    return true;
}

static void give_back(struct call *w)
{
    if (!w->reserved)
        return;
    atomic_fetch_sub(&w->core->queued, w->reserved);
    atomic_fetch_sub(&w->model->queued, w->reserved);
    metrics_gauge(w->core->metrics, GAUGE_INPUTS, -w->reserved);
    w->reserved = 0;
}

/* ---- errors of the library in the peers' words */

/* Which input is too long, and by how much: it is worth a second look only because it is an error. */
static void explain_too_long(struct call *w, const struct chunk *c, const rkf_request *rq)
{
    for (size_t i = 0; i < c->n; i++) {
        rkf_result *r = NULL;
        rkf_info info = { 0 };
        rkf_request one = *rq;
        rkf_input in = rq->inputs[i];
        one.inputs = &in;
        one.n_inputs = 1;
        if (w->ep->task == RKF_TASK_RERANK)
            in = (rkf_input){ .text = rq->query, .pair = in.text };
        if (in.ids)
            info.tokens = (int64_t)in.n_ids;
        else if (!rkf_tokenize(w->model->handle, &one, true, &r, NULL))
            (void)rkf_result_info(r, 0, &info);
        rkf_result_free(r);
        int64_t most = rq->max_length && rq->max_length < w->model->max_length ? rq->max_length : w->model->max_length;
        if (info.tokens <= most)
            continue;
        api_fail(&w->error, FAULT_VALIDATION, "",
                 "Input validation error: `inputs` must have less than %lld tokens. Given: %lld", (long long)most,
                 (long long)info.tokens);
        return;
    }
}

/* The library's words; TEI says in front what kind they are of. */
static void fail_as_peer(struct call *w, enum api_fault fault, const char *message)
{
    static const char *const kinds[FAULT_COUNT] = { [FAULT_VALIDATION] = "Input validation error: ",
                                                    [FAULT_TOKENIZER] = "tokenizer error ",
                                                    [FAULT_BACKEND] = "Backend error: " };
    bool tei = w->ep->dialect == DIALECT_TEI && kinds[fault];
    api_fail(&w->error, fault, "", "%s%s", tei ? kinds[fault] : "", message);
}

static void note_error(struct call *w, rkf_status status, const char *message)
{
    if (w->error.fault)
        return;
    if (status == RKF_BUSY)
        api_fail(&w->error, FAULT_OVERLOADED, "", "Model is overloaded");
    else
        fail_as_peer(w, api_fault_of(status), message);
}

/* ---- chunks */

static bool is_ids(const struct call *w, size_t unit)
{
    return w->req.inputs[w->units[unit].input].ids != NULL;
}

/* The end of the chunk that begins at unit `first`: the library does not mix texts and ids. */
static size_t chunk_end(const struct call *w, size_t first)
{
    size_t end = first, most = w->core->chunk;
    if (w->ep->task == RKF_TASK_CHOOSE)
        return w->n_misses;
    while (end < w->n_misses && end - first < most && is_ids(w, end) == is_ids(w, first))
        end++;
    return end;
}

static void drop_pending(struct call *w);
static void submit_more(struct errand *job);

static void chunk_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
{
    struct chunk *c = cookie;
    struct call *w = c->w;
    (void)ticket;
    pthread_mutex_lock(&w->lock);
    c->ended = true;
    c->result = result;
    w->in_flight--;
    if (status)
        note_error(w, status, err ? err->message : "");
    bool more = w->next < w->n_misses && !w->error.fault && !w->waiting;
    if (more) {
        w->waiting = true; /* one continuation at a time */
        w->pending++;
    }
    pthread_mutex_unlock(&w->lock);
    if (more)
        workers_put(w->core->workers, &w->job);
    drop_pending(w);
}

static rkf_status submit_chunk(struct call *w, struct chunk *c, rkf_error *err)
{
    rkf_request rq = w->req.rq;
    rkf_input few[SMALL_REQUEST], *inputs = few;
    if (c->n > SMALL_REQUEST && !(inputs = mem_array(c->n, sizeof *inputs)))
        return rkf_fail_memory(err, c->n * sizeof *inputs, "the inputs of a request");
    for (size_t i = 0; i < c->n; i++)
        inputs[i] = w->req.inputs[w->units[c->first + i].input];
    rq.inputs = inputs;
    rq.n_inputs = c->n;
    if (w->deadline_ns) {
        int64_t left = (w->deadline_ns - time_now_ns()) / 1000;
        rq.timeout_us = left > 1 ? left : 1;
    }
    rkf_ticket ticket = 0;
    rkf_status rc = rkf_submit(w->model->handle, &rq, chunk_done, c, &ticket, err);
    if (rc == RKF_TOO_LONG)
        explain_too_long(w, c, &rq);
    if (inputs != few)
        mem_free(inputs);
    pthread_mutex_lock(&w->lock);
    bool cancel = !rc && w->cancelled && !c->ended;
    if (!rc) {
        c->ticket = ticket;
        c->ticket_known = true;
    }
    pthread_mutex_unlock(&w->lock);
    if (cancel)
        (void)rkf_cancel(w->model->handle, ticket);
    return rc;
}

static struct chunk *begin_chunk(struct call *w)
{
    size_t end = chunk_end(w, w->next);
    struct chunk *c = arena_alloc(&w->mem, sizeof *c);
    if (!c) {
        note_error(w, RKF_NO_MEMORY, "out of memory");
        return NULL;
    }
    *c = (struct chunk){ .next = w->chunks, .w = w, .first = w->next, .n = end - w->next };
    for (size_t i = 0; i < c->n; i++) {
        w->units[c->first + i].chunk = c;
        w->units[c->first + i].at = i;
    }
    w->chunks = c;
    w->next = end;
    w->pending++;
    w->in_flight++;
    return c;
}

/* The library refused the chunk. The first one's refusal is the request's; a later one, for which the queue had no
 * room, is tried again: by who ends next of this request, else in a moment. True: in a moment. */
static bool undo_chunk(struct call *w, struct chunk *c, rkf_status rc, const char *message)
{
    bool again = false;
    pthread_mutex_lock(&w->lock);
    w->pending--;
    w->in_flight--;
    w->chunks = c->next; /* it is the newest: only one thread at a time begins chunks */
    if (rc == RKF_BUSY && c->first && !w->error.fault) {
        w->next = c->first;
        again = !w->in_flight;
        w->waiting = again;
        w->pending += again;
    } else {
        w->waiting = false;
        note_error(w, rc, message);
    }
    pthread_mutex_unlock(&w->lock);
    return again;
}

/* Called by one thread at a time: `waiting` is set while one is here or about to be. */
static void submit_chunks(struct call *w)
{
    static const struct timespec moment = { .tv_nsec = 2000000 };
    for (;;) {
        rkf_error err = { .message = "" };
        struct chunk *c = NULL;
        pthread_mutex_lock(&w->lock);
        if (w->next < w->n_misses && w->in_flight < CHUNKS_IN_FLIGHT && !w->error.fault)
            c = begin_chunk(w);
        if (!c)
            w->waiting = false;
        pthread_mutex_unlock(&w->lock);
        if (!c)
            return;
        rkf_status rc = submit_chunk(w, c, &err);
        if (!rc)
            continue;
        if (undo_chunk(w, c, rc, err.message)) {
            nanosleep(&moment, NULL);
            workers_put(w->core->workers, &w->job);
        }
        return;
    }
}

static void submit_more(struct errand *job)
{
    struct call *w = (struct call *)(void *)((char *)job - offsetof(struct call, job));
    submit_chunks(w);
    drop_pending(w);
}

/* ---- the answer */

static void fill_item(struct call *w, struct api_item *item, const rkf_result *r, size_t at)
{
    rkf_tensor t;
    rkf_info info;
    if (!rkf_result_info(r, at, &info)) {
        item->tokens = info.tokens;
        item->truncated = info.truncated;
    }
    switch (w->ep->task) {
    case RKF_TASK_EMBED:
    case RKF_TASK_TOKENS:
        if (rkf_result_tensor(r, at, &t))
            break;
        item->data = t.data;
        item->type = t.type;
        item->rows = t.ndim > 1 ? t.shape[0] : 1;
        item->dim = t.shape[t.ndim - 1];
        break;
    case RKF_TASK_SPARSE:
        item->sparse = rkf_result_sparse(r, at, &item->n);
        break;
    case RKF_TASK_NER:
    case RKF_TASK_QA:
        item->spans = rkf_result_spans(r, at, &item->n);
        break;
    case RKF_TASK_FILL_MASK:
        item->fills = rkf_result_fills(r, at, &item->n);
        break;
    default:
        item->labels = rkf_result_labels(r, at, &item->n);
        break;
    }
}

static int64_t characters(const struct call *w, const rkf_input *in)
{
    if (in->ids)
        return (int64_t)in->n_ids;
    rkf_str q = w->ep->task == RKF_TASK_RERANK ? w->req.rq.query : in->pair;
    return (int64_t)(utf8_count(in->text.ptr, in->text.len) + utf8_count(q.ptr, q.len));
}

static void add_timings(struct call *w)
{
    int64_t n = 0;
    for (const struct chunk *c = w->chunks; c; c = c->next) {
        rkf_info info;
        if (!c->result || rkf_result_info(c->result, RKF_ALL, &info))
            continue;
        w->answer.tokenize_us += info.tokenize_us;
        w->answer.queue_us += info.queue_us;
        w->answer.run_us += info.run_us;
        w->answer.device = info.device;
        n++;
    }
    if (n)
        w->answer.queue_us /= n; /* chunks wait beside each other */
}

static void fill_answer(struct call *w)
{
    struct api_answer *a = &w->answer;
    for (size_t i = 0; i < a->n; i++) {
        const struct unit *u = &w->units[w->unit_of[i]];
        struct api_item *item = &a->items[i];
        if (u->hit) {
            *item = (struct api_item){ .data = u->hit->data,
                                       .rows = 1,
                                       .dim = u->hit->dim,
                                       .tokens = u->hit->tokens,
                                       .truncated = u->hit->truncated };
        } else {
            fill_item(w, item, u->chunk->result, u->at);
        }
        a->tokens += item->tokens;
        a->truncated += item->truncated;
        a->characters += characters(w, &w->req.inputs[i]);
        metrics_observe(w->core->metrics, TE_INPUT_LENGTH, item->tokens);
    }
    add_timings(w);
    remember(w);
}

/* Everything has ended. */
static void settle(struct call *w)
{
    give_back(w);
    if (!w->error.fault)
        fill_answer(w);
}

static void drop_pending(struct call *w)
{
    pthread_mutex_lock(&w->lock);
    bool last = !--w->pending;
    pthread_mutex_unlock(&w->lock);
    if (last) {
        settle(w);
        w->done(w, w->cookie);
    }
}

/* ---- tokenise and decode: no queue */

/* The peer shows the prompt's tokens too, with positions in prompt and text: the texts get it here, not in the library.
 */
static bool prepend_prompt(struct call *w)
{
    rkf_str prompt = prompt_of(&w->req, w->model);
    if (!prompt.len)
        return true;
    for (size_t i = 0; i < w->req.n_inputs; i++) {
        rkf_str *text = &w->req.inputs[i].text;
        char *both = arena_alloc(&w->mem, prompt.len + text->len);
        if (!both)
            return api_fail(&w->error, FAULT_INTERNAL, "", "out of memory");
        memcpy(both, prompt.ptr, prompt.len);
        memcpy(both + prompt.len, text->ptr, text->len);
        *text = (rkf_str){ both, prompt.len + text->len };
    }
    w->req.rq.prompt_name = (rkf_str){ NULL, 0 };
    w->req.rq.prompt = RKF_STR("");
    return true;
}

static void tokenize(struct call *w)
{
    rkf_error err = { .message = "" };
    struct chunk *c = arena_alloc(&w->mem, sizeof *c);
    rkf_result *r = NULL;
    if (!prepend_prompt(w))
        return;
    w->req.rq.truncate = RKF_TRUNCATE_NONE;
    rkf_status rc = c ? rkf_tokenize(w->model->handle, &w->req.rq, w->req.add_special_tokens, &r, &err)
                      : rkf_fail_memory(&err, sizeof *c, "an answer");
    if (rc) {
        fail_as_peer(w, rc == RKF_INVALID ? FAULT_VALIDATION : FAULT_TOKENIZER, err.message);
        return;
    }
    *c = (struct chunk){ .next = w->chunks, .w = w, .result = r };
    w->chunks = c;
    for (size_t i = 0; i < w->answer.n; i++) {
        const rkf_tokens *t = rkf_result_tokens(r, i);
        const char **texts = arena_array(&w->mem, t->n, sizeof *texts);
        if (!texts) {
            api_fail(&w->error, FAULT_INTERNAL, "", "out of memory");
            return;
        }
        for (size_t k = 0; k < t->n; k++)
            texts[k] = rkf_token_text(w->model->handle, t->ids[k]);
        w->answer.items[i].tokenized = t;
        w->answer.items[i].token_texts = texts;
        w->answer.items[i].tokens = (int64_t)t->n;
        w->answer.tokens += (int64_t)t->n;
    }
}

static void decode(struct call *w)
{
    for (size_t i = 0; i < w->answer.n; i++) {
        const rkf_input *in = &w->req.inputs[i];
        rkf_error err = { .message = "" };
        char *text = NULL;
        rkf_status rc = rkf_decode(w->model->handle, in->ids, in->n_ids, w->req.skip_special_tokens, &text, &err);
        if (rc) {
            fail_as_peer(w, rc == RKF_INVALID ? FAULT_TOKENIZER : api_fault_of(rc), err.message);
            return;
        }
        size_t len = strlen(text) + 1;
        char *copy = arena_alloc(&w->mem, len);
        if (copy)
            memcpy(copy, text, len);
        else
            api_fail(&w->error, FAULT_INTERNAL, "", "out of memory");
        rkf_free(text);
        w->answer.items[i].text = copy;
        w->answer.tokens += (int64_t)in->n_ids;
    }
}

/* ---- the way in and out */

bool call_check(struct call *w)
{
    const struct endpoint *ep = w->ep;
    rkf_request *rq = &w->req.rq;
    rq->task = ep->task;
    if (rq->truncate_dim > w->model->dimension)
        return api_fail(&w->error, FAULT_VALIDATION, "dimensions",
                        "Input validation error: `dimensions` should be smaller than the maximum embedding dimension.");
    if (ep->softmax && rq->scores == RKF_SCORES_DEFAULT)
        rq->scores = w->model->n_labels > 1 ? RKF_SCORES_SOFTMAX : RKF_SCORES_SIGMOID;
    if (w->req.input_type && !rq->prompt_name.ptr)
        rq->prompt_name = model_prompt_for(w->model, (enum input_type)w->req.input_type);
    int64_t timeout = w->req.timeout_ms ? w->req.timeout_ms : w->core->timeout_ms;
    w->deadline_ns = timeout ? time_now_ns() + timeout * 1000000 : 0;
    return !ep->adapt || ep->adapt(&w->req, w->model, &w->error);
}

struct call *call_create(struct core *core, const struct endpoint *ep)
{
    struct call *w = mem_zalloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->core = core;
    w->ep = ep;
    w->job.run = submit_more;
    pthread_mutex_init(&w->lock, NULL);
    api_request_init(&w->req, core->max_inputs);
    return w;
}

static bool prepare(struct call *w)
{
    size_t n = w->req.n_inputs;
    w->answer.req = &w->req;
    w->answer.model = w->model->name;
    w->answer.n = n;
    w->answer.items = arena_array(&w->mem, n, sizeof *w->answer.items);
    if (!w->answer.items)
        return api_fail(&w->error, FAULT_INTERNAL, "", "out of memory");
    memset(w->answer.items, 0, n * sizeof *w->answer.items);
    return true;
}

/* The lock is held, and something is pending: the error is nobody else's to write. */
static void note_cancelled(struct call *w, enum api_fault why)
{
    w->cancelled = true;
    if (!w->error.fault)
        api_fail(&w->error, why, "", why == FAULT_GONE ? "the client went away" : "the server is stopping");
}

enum call_state call_start(struct call *w)
{
    if (!prepare(w))
        return CALL_FAILED;
    if (w->ep->how != HOW_SUBMIT) {
        (w->ep->how == HOW_TOKENIZE ? tokenize : decode)(w);
        return w->error.fault ? CALL_FAILED : CALL_DONE;
    }
    if (!find_units(w, w->ep->task != RKF_TASK_CHOOSE)) {
        api_fail(&w->error, FAULT_INTERNAL, "", "out of memory");
        return CALL_FAILED;
    }
    look_up(w);
    if (!reserve(w))
        return CALL_FAILED;
    pthread_mutex_lock(&w->lock);
    w->pending = 1; /* this call */
    w->waiting = true;
    if (w->cancel_early)
        note_cancelled(w, w->cancel_early);
    pthread_mutex_unlock(&w->lock);
    submit_chunks(w);
    pthread_mutex_lock(&w->lock);
    bool last = !--w->pending;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return CALL_PENDING;
    settle(w);
    return w->error.fault ? CALL_FAILED : CALL_DONE;
}

void call_cancel(struct call *w, enum api_fault why)
{
    rkf_ticket tickets[CHUNKS_IN_FLIGHT];
    int n = 0;
    pthread_mutex_lock(&w->lock);
    if (!w->pending) {
        w->cancel_early = why;
        pthread_mutex_unlock(&w->lock);
        return;
    }
    w->pending++; /* it shall not end under our hands */
    note_cancelled(w, why);
    for (struct chunk *c = w->chunks; c && n < CHUNKS_IN_FLIGHT; c = c->next)
        if (c->ticket_known && !c->ended)
            tickets[n++] = c->ticket;
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < n; i++)
        (void)rkf_cancel(w->model->handle, tickets[i]);
    drop_pending(w);
}

void call_free(struct call *w)
{
    for (struct chunk *c = w->chunks; c; c = c->next)
        rkf_result_free(c->result);
    for (size_t i = w->n_misses; w->units && i < w->n_units; i++)
        cache_release(w->core->cache, w->units[i].hit);
    registry_release(w->core->models, w->model);
    api_request_free(&w->req);
    arena_free(&w->mem);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}
