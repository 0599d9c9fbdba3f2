/* SPDX-License-Identifier: Apache-2.0 */
#include "server/exchange.h"

#include "base/thread.h"
#include "server/bodies.h"
#include "server/log.h"
#include "server/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    ANSWER_MAX = 1 << 30,
    INLINE_BODY = 16 << 10,   /* larger bodies are parsed and tokenised on a worker, not by the event loop */
    INLINE_ANSWER = 64 << 10, /* larger answers are written there too */
};

/* ---- small things */

void exchange_header(struct exchange *x, const char *name, const char *fmt, ...)
{
    va_list ap;
    if (x->n_headers == EXCHANGE_HEADERS)
        return;
    x->headers[x->n_headers].name = name;
    va_start(ap, fmt);
    vsnprintf(x->headers[x->n_headers++].value, sizeof x->headers[0].value, fmt, ap);
    va_end(ap);
}

void exchange_fail(struct exchange *x, const struct api_error *e)
{
    struct api_error own = *e;
    x->n_headers = 0;
    buf_clear(&x->out);
    x->page = NULL;
    x->fault = own.fault;
    x->status = api_error_status(x->dialect, own.fault);
    api_error_write(&x->out, x->dialect, &own, x->id, &x->type);
    if (own.fault == FAULT_OVERLOADED)
        exchange_header(x, "Retry-After", "1");
    if (own.fault == FAULT_KEY)
        exchange_header(x, "WWW-Authenticate", "Bearer");
    x->answered = true;
    metrics_fault(x->server->core.metrics, own.fault);
}

enum outcome exchange_refuse(struct exchange *x, enum api_fault fault, const char *fmt, ...)
{
    struct api_error e;
    va_list ap;
    va_start(ap, fmt);
    e.fault = fault;
    e.param[0] = 0;
    vsnprintf(e.message, sizeof e.message, fmt, ap);
    va_end(ap);
    exchange_fail(x, &e);
    return NOW;
}

enum outcome exchange_json(struct exchange *x)
{
    if (x->out.failed)
        return exchange_refuse(x, FAULT_INTERNAL, "out of memory");
    x->status = 200;
    x->type = "application/json";
    x->answered = true;
    return NOW;
}

/* The client's id if it is harmless, else one of ours: the process's random number and a counter. */
static void choose_id(struct exchange *x)
{
    const char *id = x->request_id;
    size_t n = id ? strlen(id) : 0;
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
    if (n && n <= REQUEST_ID_MAX && strspn(id, fine) == n)
        memcpy(x->id, id, n + 1);
    else
        snprintf(x->id, sizeof x->id, "%08x-%llx", (unsigned)x->server->id_seed,
                 (unsigned long long)atomic_fetch_add(&x->server->next_id, 1));
}

struct exchange *exchange_create(struct server *s)
{
    struct exchange *x = mem_zalloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->server = s;
    x->refs = 1;
    x->content_length = -1;
    x->began_ns = time_now_ns();
    x->dialect = DIALECT_OPENAI;
    buf_init(&x->body, (size_t)s->payload_limit);
    buf_init(&x->out, ANSWER_MAX);
    atomic_fetch_add(&s->exchanges, 1);
    metrics_gauge(s->core.metrics, GAUGE_REQUESTS, 1);
    return x;
}

static void drop_body(struct exchange *x)
{
    buf_free(&x->body);
    metrics_gauge(x->server->core.metrics, GAUGE_BODY_BYTES, -x->body_counted);
    x->body_counted = 0;
}

void exchange_release(struct exchange *x)
{
    struct server *s = x->server;
    if (atomic_fetch_sub(&x->refs, 1) > 1)
        return;
    if (x->call)
        call_free(x->call);
    registry_release(s->core.models, x->model);
    drop_body(x);
    buf_free(&x->out);
    mem_free(x);
    metrics_gauge(s->core.metrics, GAUGE_REQUESTS, -1);
    atomic_fetch_sub(&s->exchanges, 1); /* last: server_stop waits for it */
}

/* ---- headers are there: is it for us? */

/* /models/NAME/rest: takes the model's reference and cuts the path. */
static bool strip_model(struct exchange *x)
{
    static const char prefix[] = "/models/";
    size_t n = sizeof prefix - 1, len;
    bool known;
    const char *rest;
    if (strncmp(x->path, prefix, n) || route_find(x->method, x->path, &known, &rest) || known)
        return true;
    x->model = registry_find_prefix(x->server->core.models, x->path + n, &len);
    if (!x->model) {
        char quoted[80];
        const char *name = x->path + n;
        exchange_refuse(x, FAULT_NO_MODEL, "model '%s' is not loaded",
                        rkf_quote(quoted, sizeof quoted, name, strcspn(name, "/")));
        return false;
    }
    x->path += n + len;
    if (!*x->path)
        x->path = "/";
    return true;
}

static bool check_key(struct exchange *x)
{
    const struct server *s = x->server;
    bool admin = s->admin_keys.n && keys_allow(&s->admin_keys, x->authorization);
    if (x->route->flags & ROUTE_ADMIN) {
        if (!s->admin_keys.n)
            exchange_refuse(x, FAULT_FORBIDDEN, "administration is off: start the server with --admin-key-file");
        else if (!admin)
            exchange_refuse(x, x->authorization ? FAULT_FORBIDDEN : FAULT_KEY, "this needs the administrator's key");
        return !x->answered;
    }
    if (x->route->flags & ROUTE_PUBLIC || !s->keys.n || admin || keys_allow(&s->keys, x->authorization))
        return true;
    exchange_refuse(x, FAULT_KEY, x->authorization ? "Incorrect API key provided." : "You didn't provide an API key.");
    return false;
}

static bool is_json(const char *type)
{
    size_t n = type ? strcspn(type, "; \t") : 0;
    const char *plus = memrchr(type ? type : "", '+', n);
    return (n == 16 && !strncasecmp(type, "application/json", 16)) ||
           (plus && n - (size_t)(plus - type) == 5 && !strncasecmp(plus, "+json", 5));
}

static bool check_body(struct exchange *x)
{
    const struct server *s = x->server;
    if (x->route->flags & ROUTE_STRICT && !is_json(x->content_type))
        exchange_refuse(x, FAULT_MEDIA, "Expected request with `Content-Type: application/json`");
    else if (x->compressed)
        exchange_refuse(x, FAULT_MEDIA, "a compressed body is not supported: send it without Content-Encoding");
    else if (x->content_length > s->payload_limit)
        exchange_refuse(x, FAULT_PAYLOAD, "length limit exceeded");
    else if (x->content_length > 0 &&
             metrics_gauge_value(s->core.metrics, GAUGE_BODY_BYTES) + x->content_length > s->body_memory)
        exchange_refuse(x, FAULT_OVERLOADED, "Model is overloaded");
    return !x->answered;
}

static void refuse_method(struct exchange *x, const char *path)
{
    static const char *const methods[] = { "GET", "POST", "DELETE" };
    char allow[64] = "OPTIONS";
    const char *rest;
    bool known;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (route_find(methods[i], x->path, &known, &rest))
            snprintf(allow + strlen(allow), sizeof allow - strlen(allow), ", %s", methods[i]);
    exchange_refuse(x, FAULT_METHOD, "%s is not for %s", path, x->method);
    exchange_header(x, "Allow", "%s", allow);
}

bool exchange_open(struct exchange *x)
{
    bool known = false;
    choose_id(x);
    if (x->malformed) {
        x->close = true;
        exchange_refuse(x, FAULT_REQUEST, "the request has %s", x->malformed);
        return false;
    }
    if (!strip_model(x))
        return false;
    x->route = route_find(x->method, x->path, &known, &x->rest);
    if (!x->route) {
        char quoted[120];
        rkf_quote(quoted, sizeof quoted, x->path, strlen(x->path));
        if (known)
            refuse_method(x, quoted);
        else
            exchange_refuse(x, FAULT_NO_ROUTE, "unknown path %s: GET /openapi.json lists what there is", quoted);
        return false;
    }
    x->dialect = x->route->dialect;
    if (!check_key(x))
        return false;
    if (atomic_load(&x->server->draining) && !(x->route->flags & ROUTE_PUBLIC)) {
        x->close = true;
        exchange_refuse(x, FAULT_UNAVAILABLE, "the server is stopping");
        return false;
    }
    return !strcmp(x->method, "POST") ? check_body(x) : true;
}

bool exchange_feed(struct exchange *x, const void *p, size_t n)
{
    struct metrics *m = x->server->core.metrics;
    if (x->answered)
        return false;
    if (n > x->body.max - x->body.len) {
        drop_body(x);
        exchange_refuse(x, FAULT_PAYLOAD, "length limit exceeded");
        return false;
    }
    if (metrics_gauge_value(m, GAUGE_BODY_BYTES) + (int64_t)n > x->server->body_memory) {
        drop_body(x);
        exchange_refuse(x, FAULT_OVERLOADED, "Model is overloaded");
        return false;
    }
    if (!x->body.p && x->content_length > 0)
        (void)buf_reserve(&x->body, (size_t)x->content_length);
    buf_append(&x->body, p, n);
    metrics_gauge(m, GAUGE_BODY_BYTES, (int64_t)n);
    x->body_counted += (int64_t)n;
    if (x->body.failed)
        exchange_refuse(x, FAULT_INTERNAL, "out of memory");
    return !x->answered;
}

/* ---- the body is there */

static bool mismatch(const struct endpoint *ep, struct api_error *e)
{
    return api_fail(e, FAULT_MODEL_TYPE, "", "%s%s", ep->dialect == DIALECT_TEI ? "Backend error: " : "", ep->mismatch);
}

static bool find_model(struct exchange *x, const struct endpoint *ep, rkf_str name, struct api_error *e)
{
    struct registry *r = x->server->core.models;
    char quoted[80];
    struct model *m = x->model, *any;
    x->model = NULL;
    if (!m && name.len && !(m = registry_find(r, name))) {
        rkf_quote(quoted, sizeof quoted, name.ptr, name.len);
        return api_fail(e, FAULT_NO_MODEL, "model",
                        ep->dialect == DIALECT_OLLAMA
                            ? "model \"%s\" not found, try pulling it first"
                            : "The model `%s` does not exist or you do not have access to it.",
                        quoted);
    }
    if (!m && !(m = registry_first(r, ep->prefer, ep->kinds)) &&
        !(m = ep->other ? registry_first(r, ep->other->prefer, ep->other->kinds) : NULL)) {
        any = registry_at(r, 0);
        registry_release(r, any);
        return any ? mismatch(ep, e) : api_fail(e, FAULT_NO_MODEL, "", "no model is loaded");
    }
    if (ep->other && ep->other->kinds & KIND_BIT(m->kind))
        x->call->ep = ep->other;
    if (!(x->call->ep->kinds & KIND_BIT(m->kind))) {
        registry_release(r, m);
        return mismatch(ep, e);
    }
    x->call->model = m;
    return true;
}

/* A model that only the path or the natural route names is needed before the endpoint is known. */
static const struct endpoint *choose_endpoint(struct exchange *x, yyjson_val *root)
{
    if (x->route->natural && !x->model)
        x->model = registry_at(x->server->core.models, 0);
    return route_endpoint(x->route, root, x->model);
}

static void call_ended(struct call *w, void *cookie);

static void count_request(struct exchange *x)
{
    struct metrics *m = x->server->core.metrics;
    const struct call *w = x->call;
    atomic_fetch_add(&x->server->core.calls, 1);
    if (w->ep->how != HOW_SUBMIT) /* the peer counts what its backend computes */
        return;
    metrics_add(m, w->req.single ? TE_REQUEST_COUNT_SINGLE : TE_REQUEST_COUNT_BATCH, 1);
    if (w->ep->count)
        metrics_add(m, w->ep->count == COUNT_EMBED ? TE_EMBED_COUNT : TE_PREDICT_COUNT, (int64_t)w->req.n_inputs);
}

/* Body to call; false: the answer is there. */
static bool make_call(struct exchange *x)
{
    struct api_error e = { .fault = FAULT_NONE };
    yyjson_doc *doc = NULL;
    if (!body_parse(x->body.p ? x->body.p : "", x->body.len, &doc, &e)) {
        exchange_fail(x, &e);
        return false;
    }
    drop_body(x);
    const struct endpoint *ep = choose_endpoint(x, yyjson_doc_get_root(doc));
    x->dialect = ep->dialect;
    x->call = call_create(&x->server->core, ep);
    if (!x->call) {
        yyjson_doc_free(doc);
        exchange_refuse(x, FAULT_INTERNAL, "out of memory");
        return false;
    }
    struct call *w = x->call;
    w->req.doc = doc;
    w->done = call_ended;
    w->cookie = x;
    w->answer.id = x->id;
    if (!body_read(ep->body, yyjson_doc_get_root(doc), &w->req, &e) ||
        !api_request_settle(&w->req, x->server->core.auto_truncate, &e) || !find_model(x, ep, w->req.model, &e)) {
        exchange_fail(x, &e);
        return false;
    }
    count_request(x);
    if (!call_check(w)) {
        exchange_fail(x, &w->error);
        return false;
    }
    if (!w->req.n_inputs && ep->how == HOW_SUBMIT) { /* Ollama's way to ask for a model */
        w->answer.req = &w->req;
        w->answer.model = w->model->name;
        exchange_finish(x);
        return false;
    }
    return true;
}

static size_t answer_size(const struct call *w)
{
    size_t n = 0;
    for (size_t i = 0; !w->error.fault && i < w->answer.n; i++)
        n += 100 + (size_t)(w->answer.items[i].rows * w->answer.items[i].dim) * 12;
    return n;
}

static void finish_on_worker(struct errand *job)
{
    struct exchange *x = (struct exchange *)(void *)((char *)job - offsetof(struct exchange, job));
    exchange_finish(x);
    x->wake(x);
}

static void call_ended(struct call *w, void *cookie)
{
    struct exchange *x = cookie;
    if (answer_size(w) > INLINE_ANSWER) {
        x->job.run = finish_on_worker;
        workers_put(x->server->core.workers, &x->job);
    } else {
        x->wake(x);
    }
}

static void run_call(struct exchange *x)
{
    atomic_store(&x->started, true);
    int why = atomic_load(&x->cancelled);
    if (why) {
        api_fail(&x->call->error, (enum api_fault)why, "", "the client went away");
        call_ended(x->call, x);
    } else if (call_start(x->call) != CALL_PENDING) {
        call_ended(x->call, x);
    }
}

static void start_on_worker(struct errand *job)
{
    struct exchange *x = (struct exchange *)(void *)((char *)job - offsetof(struct exchange, job));
    if (make_call(x))
        run_call(x);
    else
        x->wake(x);
}

enum outcome exchange_prepare(struct exchange *x)
{
    if (x->answered)
        return NOW;
    if (!x->route->endpoints[0] && !x->route->natural)
        return x->route->handle(x);
    if (x->body.len > INLINE_BODY)
        return LATER;
    return make_call(x) ? LATER : NOW;
}

void exchange_start(struct exchange *x)
{
    if (x->call) {
        run_call(x);
        return;
    }
    if (!x->job.run) /* a handler may have set its own */
        x->job.run = start_on_worker;
    workers_put(x->server->core.workers, &x->job);
}

/* ---- the answer */

static void timing_headers(struct exchange *x)
{
    const struct api_answer *a = &x->call->answer;
    const struct {
        const char *name;
        int64_t value;
    } h[] = {
        { "x-compute-time", a->total_us / 1000 },
        { "x-compute-characters", a->characters },
        { "x-compute-tokens", a->tokens },
        { "x-total-time", a->total_us / 1000 },
        { "x-tokenization-time", a->tokenize_us / 1000 },
        { "x-queue-time", a->queue_us / 1000 },
        { "x-inference-time", a->run_us / 1000 },
    };
    exchange_header(x, "x-compute-type", "%s+optimized", a->device ? a->device : "cache");
    for (size_t i = 0; i < sizeof h / sizeof *h; i++)
        exchange_header(x, h[i].name, "%lld", (long long)h[i].value);
    if (a->truncated)
        exchange_header(x, "x-truncated-tokens", "%lld", (long long)a->truncated);
}

/* As the peer does: te_request_* by request, te_embed_* and te_predict_* by input. */
static void observe(struct exchange *x)
{
    struct metrics *m = x->server->core.metrics;
    const struct call *w = x->call;
    const struct api_answer *a = &w->answer;
    const int64_t n = (int64_t)a->n, values[] = { a->total_us, a->tokenize_us / (n ? n : 1), a->queue_us, a->run_us };
    if (w->ep->how != HOW_SUBMIT)
        return;
    for (int i = 0; i < 4; i++) {
        metrics_observe(m, (enum histogram)(TE_REQUEST_DURATION + i), values[i]);
        if (w->ep->count == COUNT_EMBED)
            metrics_observe_many(m, (enum histogram)(TE_EMBED_DURATION + i), values[i], n);
        else if (w->ep->count == COUNT_PREDICT)
            metrics_observe_many(m, (enum histogram)(TE_PREDICT_DURATION + i), values[i], n);
    }
    metrics_add(m, w->req.single ? TE_REQUEST_SUCCESS_SINGLE : TE_REQUEST_SUCCESS_BATCH, 1);
    if (w->ep->count)
        metrics_add(m, w->ep->count == COUNT_EMBED ? TE_EMBED_SUCCESS : TE_PREDICT_SUCCESS, n);
}

void exchange_finish(struct exchange *x)
{
    struct call *w = x->call;
    if (x->answered || !w)
        return;
    struct api_error e = w->error;
    w->answer.total_us = (time_now_ns() - x->began_ns) / 1000;
    w->answer.created = (int64_t)time(NULL);
    if (!e.fault && w->ep->write(&w->answer, &x->out, &e) && x->out.failed)
        api_fail(&e, FAULT_INTERNAL, "", "out of memory, or an answer of over 1 GiB: ask for fewer inputs at once");
    if (e.fault) {
        exchange_fail(x, &e);
        return;
    }
    observe(x);
    timing_headers(x);
    exchange_json(x);
}

void exchange_cancel(struct exchange *x, enum api_fault why)
{
    atomic_store(&x->cancelled, (int)why);
    if (atomic_load(&x->started))
        call_cancel(x->call, why);
}

void exchange_log(struct exchange *x)
{
    struct server *s = x->server;
    const struct api_answer *a = x->call ? &x->call->answer : NULL;
    metrics_http(s->core.metrics, x->route ? (int)(x->route - routes) : route_count, x->status);
    log_request(s, &(struct log_request){
                       .id = x->id,
                       .method = x->method,
                       .path = x->path,
                       .client = x->client,
                       .model = a ? a->model : NULL,
                       .status = x->status,
                       .inputs = a ? (int64_t)a->n : 0,
                       .tokens = a ? a->tokens : 0,
                       .bytes = (int64_t)(x->page ? x->page_len : x->out.len),
                       .total_us = (time_now_ns() - x->began_ns) / 1000,
                       .queue_us = a ? a->queue_us : 0,
                       .run_us = a ? a->run_us : 0,
                   });
}
