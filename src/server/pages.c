/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pages.h"

#include "base/thread.h"
#include "server/bodies.h"
#include "server/log.h"
#include "server/page_html.h"
#include "server/state.h"

#include <string.h>
#include <time.h>

/* ---- for people */

enum outcome page_root(struct exchange *x)
{
    if (!x->accept || !strstr(x->accept, "text/html"))
        return page_health(x);
    x->status = 200;
    x->type = "text/html; charset=utf-8";
    x->page = page_html;
    x->page_len = page_html_size;
    x->answered = true;
    exchange_header(x, "Cache-Control", "no-cache");
    exchange_header(x, "X-Content-Type-Options", "nosniff");
    /* all of it is in the page; nothing comes from elsewhere, and nobody frames it */
    exchange_header(x, "Content-Security-Policy", "%s",
                    "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'");
    exchange_header(x, "Vary", "Accept");
    return NOW;
}

/* Empty, as the peer's. */
enum outcome page_health(struct exchange *x)
{
    x->dialect = DIALECT_TEI;
    if (atomic_load(&x->server->draining))
        return exchange_refuse(x, FAULT_UNAVAILABLE, "unhealthy");
    x->status = 200;
    x->answered = true;
    return NOW;
}

enum outcome page_openapi(struct exchange *x)
{
    struct buf devices;
    buf_init(&devices, 4096);
    devices_put_names(x->server, &devices);
    openapi_write(x->server->core.models, x->server->keys.n != 0, devices.failed ? "[]" : devices.p, &x->out);
    buf_free(&devices);
    return exchange_json(x);
}

/* ---- models */

static yyjson_val *fact(const struct model *m, const char *key)
{
    return yyjson_obj_get(yyjson_doc_get_root(m->doc), key);
}

static void put_label_maps(struct buf *out, const struct model *m)
{
    yyjson_val *labels = fact(m, "labels");
    size_t n = yyjson_arr_size(labels);
    buf_puts(out, "{\"id2label\":{");
    for (size_t i = 0; i < n; i++) {
        yyjson_val *v = yyjson_arr_get(labels, i);
        buf_printf(out, "%s\"%zu\":", i ? "," : "", i);
        json_put_str(out, yyjson_get_str(v), yyjson_get_len(v));
    }
    buf_puts(out, "},\"label2id\":{");
    for (size_t i = 0; i < n; i++) {
        yyjson_val *v = yyjson_arr_get(labels, i);
        if (i)
            buf_putc(out, ',');
        json_put_str(out, yyjson_get_str(v), yyjson_get_len(v));
        buf_printf(out, ":%zu", i);
    }
    buf_puts(out, "}}");
}

static void put_model_type(struct buf *out, const struct model *m)
{
    static const char *const names[KIND_COUNT] = {
        "embedding",          "fill_mask",      "reranker", "classifier", "token_classification",
        "question_answering", "multiple_choice"
    };
    buf_printf(out, "{\"%s\":", names[m->kind]);
    if (m->kind == KIND_EMBED) {
        yyjson_val *first = yyjson_arr_get_first(fact(m, "pooling"));
        buf_puts(out, "{\"pooling\":");
        json_put_str(out, first ? yyjson_get_str(first) : "mean", first ? yyjson_get_len(first) : 4);
        buf_putc(out, '}');
    } else {
        put_label_maps(out, m);
    }
    buf_putc(out, '}');
}

static struct model *model_or_first(struct exchange *x)
{
    struct model *m = x->model;
    x->model = NULL;
    return m ? m : registry_at(x->server->core.models, 0);
}

enum outcome page_info(struct exchange *x)
{
    const struct core *core = &x->server->core;
    struct buf *out = &x->out;
    struct model *m = model_or_first(x);
    if (!m)
        return exchange_refuse(x, FAULT_NO_MODEL, "no model is loaded");
    yyjson_val *dtype = fact(m, "dtype");
    buf_puts(out, "{\"model_id\":");
    json_put_str(out, m->path, strlen(m->path));
    buf_puts(out, ",\"model_sha\":null,\"model_dtype\":");
    json_put_str(out, yyjson_get_str(dtype), yyjson_get_len(dtype));
    buf_puts(out, ",\"served_model_name\":");
    json_put_str(out, m->name, strlen(m->name));
    buf_puts(out, ",\"model_type\":");
    put_model_type(out, m);
    buf_printf(out,
               ",\"max_concurrent_requests\":%lld,\"max_input_length\":%lld,\"max_batch_tokens\":%lld,"
               "\"max_batch_requests\":null,\"max_client_batch_size\":%zu,\"auto_truncate\":%s,"
               "\"tokenization_workers\":%d,\"version\":\"%s\",\"sha\":null,\"docker_label\":null,\"model\":",
               (long long)core->limit, (long long)m->max_length, (long long)yyjson_get_sint(fact(m, "batch_tokens")),
               core->max_inputs, core->auto_truncate ? "true" : "false", cpu_count_usable(NULL), rkf_version());
    buf_puts(out, m->describe);
    buf_putc(out, '}');
    registry_release(core->models, m);
    return exchange_json(x);
}

static void put_model_entry(struct buf *out, const struct model *m)
{
    yyjson_val *task = fact(m, "task");
    buf_puts(out, "{\"id\":");
    json_put_str(out, m->name, strlen(m->name));
    buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"rkformer\",\"task\":\"%s\"",
               (long long)m->created, yyjson_get_str(task));
    buf_printf(out, ",\"max_length\":%lld,\"dimension\":%lld}", (long long)m->max_length, (long long)m->dimension);
}

/* Calls put for every model, with commas between. */
static void put_models(struct exchange *x, void (*put)(struct buf *out, const struct model *m))
{
    struct registry *r = x->server->core.models;
    struct model *m;
    for (size_t i = 0; (m = registry_at(r, i)); i++) {
        if (i)
            buf_putc(&x->out, ',');
        put(&x->out, m);
        registry_release(r, m);
    }
}

enum outcome page_models(struct exchange *x)
{
    buf_puts(&x->out, "{\"object\":\"list\",\"data\":[");
    put_models(x, put_model_entry);
    buf_puts(&x->out, "]}");
    return exchange_json(x);
}

enum outcome page_model(struct exchange *x)
{
    char quoted[80];
    struct registry *r = x->server->core.models;
    struct model *m = registry_find(r, (rkf_str){ x->rest, strlen(x->rest) });
    if (!m)
        return exchange_refuse(x, FAULT_NO_MODEL, "The model `%s` does not exist or you do not have access to it.",
                               rkf_quote(quoted, sizeof quoted, x->rest, strlen(x->rest)));
    put_model_entry(&x->out, m);
    registry_release(r, m);
    return exchange_json(x);
}

/* ---- Ollama's lists */

static void put_ollama_time(struct buf *out, int64_t seconds)
{
    char when[32];
    struct tm tm;
    time_t t = (time_t)seconds;
    gmtime_r(&t, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_puts(out, when);
}

static void put_ollama_details(struct buf *out, const struct model *m)
{
    yyjson_val *type = fact(m, "model_type"), *dtype = fact(m, "dtype");
    buf_puts(out, "\"details\":{\"parent_model\":\"\",\"format\":\"safetensors\",\"family\":");
    json_put_str(out, yyjson_get_str(type), yyjson_get_len(type));
    buf_puts(out, ",\"families\":[");
    json_put_str(out, yyjson_get_str(type), yyjson_get_len(type));
    buf_puts(out, "],\"quantization_level\":");
    json_put_str(out, yyjson_get_str(dtype), yyjson_get_len(dtype));
    buf_putc(out, '}');
}

static void put_ollama_entry(struct buf *out, const struct model *m)
{
    buf_puts(out, "{\"name\":");
    json_put_str(out, m->name, strlen(m->name));
    buf_puts(out, ",\"model\":");
    json_put_str(out, m->name, strlen(m->name));
    buf_puts(out, ",\"modified_at\":\"");
    put_ollama_time(out, m->created);
    buf_printf(out, "\",\"size\":%lld,\"digest\":\"\",", (long long)yyjson_get_sint(fact(m, "weight_bytes")));
    put_ollama_details(out, m);
    buf_putc(out, '}');
}

/* What is loaded stays: it expires in a hundred years, as the peer says it. */
static void put_ollama_process(struct buf *out, const struct model *m)
{
    put_ollama_entry(out, m);
    if (out->failed)
        return;
    out->len--; /* the brace */
    buf_puts(out, ",\"expires_at\":\"");
    put_ollama_time(out, m->created + INT64_C(3155760000));
    buf_puts(out, "\",\"size_vram\":0}");
}

enum outcome page_ollama_tags(struct exchange *x)
{
    buf_puts(&x->out, "{\"models\":[");
    put_models(x, put_ollama_entry);
    buf_puts(&x->out, "]}");
    return exchange_json(x);
}

enum outcome page_ollama_ps(struct exchange *x)
{
    buf_puts(&x->out, "{\"models\":[");
    put_models(x, put_ollama_process);
    buf_puts(&x->out, "]}");
    return exchange_json(x);
}

static void put_ollama_facts(struct buf *out, const struct model *m)
{
    yyjson_val *type = fact(m, "model_type");
    const char *family = yyjson_get_str(type);
    buf_puts(out, "{\"license\":\"\",\"modelfile\":\"\",\"parameters\":\"\",\"template\":\"\",");
    put_ollama_details(out, m);
    buf_puts(out, ",\"model_info\":{\"general.architecture\":");
    json_put_str(out, family, yyjson_get_len(type));
    buf_printf(out,
               ",\"%s.context_length\":%lld,\"%s.embedding_length\":%lld},\"capabilities\":[%s],\"modified_at\":\"",
               family, (long long)m->max_length, family, (long long)m->dimension,
               m->kind == KIND_EMBED ? "\"embedding\"" : "");
    put_ollama_time(out, m->created);
    buf_puts(out, "\"}");
}

enum outcome page_ollama_version(struct exchange *x)
{
    buf_printf(&x->out, "{\"version\":\"%s\"}", rkf_version());
    return exchange_json(x);
}

/* ---- devices, cores, metrics */

static struct exchange *exchange_of(struct errand *job)
{
    return (struct exchange *)(void *)((char *)job - offsetof(struct exchange, job));
}

static enum outcome on_worker(struct exchange *x, void (*run)(struct errand *job))
{
    x->job.run = run;
    return LATER;
}

/* Looking at the machine takes some milliseconds: not on the event loop, and at most every two seconds. */
static void run_devices(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    struct api_error e;
    if (devices_put(x->server, &x->out, &e))
        exchange_json(x);
    else
        exchange_fail(x, &e);
    x->wake(x);
}

enum outcome page_devices(struct exchange *x)
{
    return on_worker(x, run_devices);
}

/* The library's statistics with ours as one more member. */
enum outcome page_cores(struct exchange *x)
{
    rkf_error err;
    char *json = NULL;
    const struct metrics *m = x->server->core.metrics;
    if (rkf_stats(x->server->runtime, &json, &err))
        return exchange_refuse(x, FAULT_INTERNAL, "%s", err.message);
    uint64_t sum, requests = metrics_total(m, TE_REQUEST_DURATION, &sum);
    size_t len = strlen(json);
    buf_append(&x->out, json, len ? len - 1 : 0); /* without the closing brace */
    rkf_free(json);
    buf_printf(&x->out,
               ",\"server\":{\"uptime_us\":%lld,\"requests_in_flight\":%lld,\"connections\":%lld,\"queued\":%lld,"
               "\"requests\":%llu,\"request_seconds\":%.6f,\"latency_p50_s\":%.6g,\"latency_p99_s\":%.6g,\"cache_"
               "bytes\":%zu}}",
               (long long)((time_now_ns() - x->server->started_ns) / 1000),
               (long long)metrics_gauge_value(m, GAUGE_REQUESTS), (long long)metrics_gauge_value(m, GAUGE_CONNECTIONS),
               (long long)metrics_gauge_value(m, GAUGE_INPUTS), (unsigned long long)requests, (double)sum * 1e-6,
               metrics_quantile(m, TE_REQUEST_DURATION, 0.5), metrics_quantile(m, TE_REQUEST_DURATION, 0.99),
               x->server->core.cache ? cache_bytes(x->server->core.cache) : 0);
    return exchange_json(x);
}

static void run_metrics(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    const char *names[64];
    int n = route_count < 63 ? route_count : 63;
    for (int i = 0; i < n; i++)
        names[i] = routes[i].path;
    names[n] = "none";
    if (x->server->core.cache)
        metrics_gauge_set(x->server->core.metrics, GAUGE_CACHE_BYTES, (int64_t)cache_bytes(x->server->core.cache));
    yyjson_doc *stats = stats_read(x->server);
    metrics_write(x->server->core.metrics, names, n + 1, &x->out);
    stats_put_metrics(x->server, stats, &x->out);
    yyjson_doc_free(stats);
    exchange_json(x);
    if (!x->fault)
        x->type = "text/plain; version=0.0.4; charset=utf-8";
    x->wake(x);
}

enum outcome page_metrics(struct exchange *x)
{
    return on_worker(x, run_metrics);
}

/* ---- administration: loading takes its time, unloading waits for requests */

static bool read_admin(struct exchange *x, const struct body *body, struct api_request *r)
{
    struct api_error e = { .fault = FAULT_NONE };
    api_request_init(r, 1);
    if (body_parse(x->body.p ? x->body.p : "", x->body.len, &r->doc, &e) &&
        body_read(body, yyjson_doc_get_root(r->doc), r, &e))
        return true;
    exchange_fail(x, &e);
    return false;
}

static void run_show(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    struct registry *models = x->server->core.models;
    struct api_request r;
    if (read_admin(x, &body_show, &r)) {
        char quoted[80];
        struct model *m = registry_find(models, r.model);
        if (m) {
            put_ollama_facts(&x->out, m);
            exchange_json(x);
        } else {
            exchange_refuse(x, FAULT_NO_MODEL, "model '%s' not found",
                            rkf_quote(quoted, sizeof quoted, r.model.ptr, r.model.len));
        }
        registry_release(models, m);
    }
    api_request_free(&r);
    x->wake(x);
}

enum outcome page_ollama_show(struct exchange *x)
{
    return on_worker(x, run_show);
}

static void answer_admin(struct exchange *x, rkf_status rc, const rkf_error *err, const char *done, rkf_str name)
{
    if (rc) {
        exchange_refuse(x, rc == RKF_FORMAT || rc == RKF_UNSUPPORTED ? FAULT_VALIDATION : api_fault_of(rc), "%s",
                        err->message);
        return;
    }
    char quoted[160];
    log_event(x->server, RKF_LOG_INFO, "model %s %s", rkf_quote(quoted, sizeof quoted, name.ptr, name.len), done);
    buf_puts(&x->out, "{\"success\":true,\"model\":");
    json_put_str(&x->out, name.ptr, name.len);
    buf_putc(&x->out, '}');
    exchange_json(x);
}

/* A C string in the request's memory; NULL stays NULL. */
static const char *c_str(struct api_request *r, rkf_str s)
{
    char *p = s.ptr ? arena_alloc(&r->mem, s.len + 1) : NULL;
    if (p) {
        memcpy(p, s.ptr, s.len);
        p[s.len] = 0;
    }
    return p;
}

static void run_load(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    struct api_request r;
    rkf_error err;
    if (read_admin(x, &body_load, &r)) {
        struct server_model spec = { .open = RKF_MODEL_OPTIONS_INIT, .limit = r.load.limit };
        rkf_model_options *o = &spec.open;
        o->path = c_str(&r, r.load.path);
        o->name = c_str(&r, r.load.name);
        o->revision = c_str(&r, r.load.revision);
        o->file_name = c_str(&r, r.load.file_name);
        o->core_mask = c_str(&r, r.load.core_mask);
        o->device = c_str(&r, r.load.device);
        o->dtype = c_str(&r, r.load.dtype);
        o->exclusive = r.load.exclusive;
        o->priority = (int32_t)r.priority;
        o->max_length = (int32_t)r.load.max_length;
        rkf_status rc = o->path ? registry_load(x->server->core.models, &spec, &err)
                                : rkf_fail(&err, RKF_NO_MEMORY, "out of memory");
        answer_admin(x, rc, &err, "loaded", r.load.name.ptr ? r.load.name : r.load.path);
    }
    api_request_free(&r);
    x->wake(x);
}

static void run_unload(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    struct api_request r;
    rkf_error err;
    if (read_admin(x, &body_unload, &r))
        answer_admin(x, registry_unload(x->server->core.models, r.model, &err), &err, "unloaded", r.model);
    api_request_free(&r);
    x->wake(x);
}

static void run_delete(struct errand *job)
{
    struct exchange *x = exchange_of(job);
    rkf_error err;
    rkf_str name = { x->rest, strlen(x->rest) };
    answer_admin(x, registry_unload(x->server->core.models, name, &err), &err, "unloaded", name);
    x->wake(x);
}

enum outcome admin_load(struct exchange *x)
{
    return on_worker(x, run_load);
}

enum outcome admin_unload(struct exchange *x)
{
    return on_worker(x, run_unload);
}

enum outcome admin_delete(struct exchange *x)
{
    return on_worker(x, run_delete);
}
