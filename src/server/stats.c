/* SPDX-License-Identifier: Apache-2.0 */
/* The library's documents (rkf_stats, rkf_devices) as metrics, and a copy of rkf_devices that is at most 2 s old. */
#include "base/thread.h"
#include "server/state.h"

#include <string.h>

enum { DEVICES_FRESH_NS = 2000000000 };

/* A new copy if the last one is old; the lock is held. */
static rkf_status refresh(struct server *s, rkf_error *err)
{
    struct devices_copy *d = &s->devices;
    char *json = NULL;
    if (d->json && time_now_ns() - d->read_ns < DEVICES_FRESH_NS)
        return RKF_OK;
    rkf_status rc = rkf_devices(&s->runtime_options, &json, err);
    if (rc)
        return rc;
    rkf_free(d->json);
    d->json = json;
    d->read_ns = time_now_ns();
    return RKF_OK;
}

bool devices_put(struct server *s, struct buf *out, struct api_error *e)
{
    rkf_error err;
    pthread_mutex_lock(&s->devices.lock);
    rkf_status rc = refresh(s, &err);
    if (!rc)
        buf_puts(out, s->devices.json);
    pthread_mutex_unlock(&s->devices.lock);
    return !rc || api_fail(e, FAULT_INTERNAL, "", "%s", err.message);
}

void devices_put_names(struct server *s, struct buf *out)
{
    char *json = NULL;
    yyjson_doc *doc = NULL;
    if (!rkf_stats(s->runtime, &json, NULL) && json_parse(json, strlen(json), "statistics", &doc, NULL))
        doc = NULL;
    rkf_free(json);
    yyjson_val *devices = yyjson_obj_get(yyjson_doc_get_root(doc), "devices");
    buf_puts(out, "[\"auto\"");
    for (size_t i = 0; i < yyjson_arr_size(devices); i++) {
        yyjson_val *name = yyjson_obj_get(yyjson_arr_get(devices, i), "device");
        buf_putc(out, ',');
        json_put_str(out, yyjson_get_str(name), yyjson_get_len(name));
    }
    buf_putc(out, ']');
    yyjson_doc_free(doc);
}

/* ---- metrics: one line of the table per number of the document */

struct number {
    const char *key, *name, *type, *help;
    double scale;
};
static const struct number core_numbers[] = {
    { "running", "rkformer_core_running", "gauge", "batches running on the core", 1 },
    { "sick", "rkformer_core_sick", "gauge", "1: the core failed and rests", 1 },
    { "leased_away", "rkformer_core_leased_away", "gauge", "1: another process has the core", 1 },
    { "busy_us", "rkformer_core_busy_seconds_total", "counter", "time the core computed", 1e-6 },
    { "batches", "rkformer_core_batches_total", "counter", "batches run", 1 },
    { "tokens", "rkformer_core_tokens_total", "counter", "tokens computed", 1 },
    { "faults", "rkformer_core_faults_total", "counter", "jobs that failed, timed out or hung; repeated ones too", 1 },
};
static const struct number model_numbers[] = {
    { "waiting", "rkformer_model_queue_inputs", "gauge", "inputs waiting", 1 },
    { "running", "rkformer_model_running_batches", "gauge", "batches running", 1 },
    { "requests", "rkformer_model_requests_total", "counter", "requests taken", 1 },
    { "inputs", "rkformer_model_inputs_total", "counter", "inputs taken", 1 },
    { "tokens", "rkformer_model_tokens_total", "counter", "tokens computed", 1 },
    { "truncated", "rkformer_model_truncated_inputs_total", "counter", "inputs cut to the limit", 1 },
    { "batches", "rkformer_model_batches_total", "counter", "batches run", 1 },
    { "failed", "rkformer_model_failed_requests_total", "counter", "requests that failed", 1 },
    { "fallbacks", "rkformer_model_fallbacks_total", "counter", "batches computed by the CPU instead of the NPU", 1 },
};
static const struct number telemetry_numbers[] = {
    { "temperature_c", "rkformer_device_temperature_celsius", "gauge", "the NPU's sensor", 1 },
    { "throttles_at_c", "rkformer_device_throttle_celsius", "gauge", "where the kernel slows it down", 1 },
    { "clock_hz", "rkformer_device_clock_hertz", "gauge", "the NPU's clock", 1 },
    { "clock_max_hz", "rkformer_device_clock_max_hertz", "gauge", "the NPU's highest clock", 1 },
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void put_label(struct buf *out, const char *name, yyjson_val *v)
{
    buf_printf(out, "%s=", name);
    if (yyjson_is_str(v))
        json_put_str(out, yyjson_get_str(v), yyjson_get_len(v)); /* the escapes are the same */
    else
        buf_printf(out, "\"%lld\"", (long long)yyjson_get_sint(v));
}

static void put_number(struct buf *out, const struct number *n, yyjson_val *obj, const char *labels)
{
    yyjson_val *v = yyjson_obj_get(obj, n->key);
    double x = yyjson_is_bool(v) ? (double)yyjson_get_bool(v) : yyjson_get_num(v) * n->scale;
    if (yyjson_is_num(v) || yyjson_is_bool(v))
        buf_printf(out, "%s{%s} %.15g\n", n->name, labels, x);
}

static void put_head(struct buf *out, const struct number *n)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", n->name, n->help, n->name, n->type);
}

static void put_core(struct buf *out, const struct number *number, yyjson_val *device, yyjson_val *core)
{
    struct buf labels;
    buf_init(&labels, 4096);
    put_label(&labels, "device", yyjson_obj_get(device, "device"));
    put_label(&labels, ",platform", yyjson_obj_get(device, "platform"));
    put_label(&labels, ",core", yyjson_obj_get(core, "core"));
    buf_puts(&labels, yyjson_get_bool(yyjson_obj_get(device, "virtual")) ? ",virtual=\"true\"" : ",virtual=\"false\"");
    if (!labels.failed)
        put_number(out, number, core, labels.p);
    buf_free(&labels);
}

static void put_cores(struct buf *out, yyjson_val *root)
{
    yyjson_val *devices = yyjson_obj_get(root, "devices");
    for (size_t q = 0; q < COUNT(core_numbers); q++) {
        put_head(out, &core_numbers[q]);
        for (size_t i = 0; i < yyjson_arr_size(devices); i++) {
            yyjson_val *device = yyjson_arr_get(devices, i), *cores = yyjson_obj_get(device, "cores");
            for (size_t k = 0; k < yyjson_arr_size(cores); k++)
                put_core(out, &core_numbers[q], device, yyjson_arr_get(cores, k));
        }
    }
}

static void put_models(struct buf *out, yyjson_val *root)
{
    yyjson_val *models = yyjson_obj_get(root, "models");
    for (size_t q = 0; q < COUNT(model_numbers); q++) {
        put_head(out, &model_numbers[q]);
        for (size_t i = 0; i < yyjson_arr_size(models); i++) {
            yyjson_val *model = yyjson_arr_get(models, i);
            struct buf labels;
            buf_init(&labels, 4096);
            put_label(&labels, "model", yyjson_obj_get(model, "name"));
            put_label(&labels, ",device", yyjson_obj_get(model, "device"));
            put_label(&labels, ",core_mask", yyjson_obj_get(model, "core_mask"));
            if (!labels.failed)
                put_number(out, &model_numbers[q], model, labels.p);
            buf_free(&labels);
        }
    }
}

/* Temperature and clock where there is an NPU; the last copy of the document will do. */
static void put_telemetry(struct server *s, struct buf *out)
{
    yyjson_doc *doc = NULL;
    pthread_mutex_lock(&s->devices.lock);
    rkf_status rc = refresh(s, NULL);
    if (!rc)
        rc = json_parse(s->devices.json, strlen(s->devices.json), "devices", &doc, NULL);
    pthread_mutex_unlock(&s->devices.lock);
    yyjson_val *npu = yyjson_obj_get(yyjson_doc_get_root(doc), "npu");
    yyjson_val *telemetry = yyjson_obj_get(npu, "telemetry");
    for (size_t q = 0; q < COUNT(telemetry_numbers); q++)
        if (yyjson_is_num(yyjson_obj_get(telemetry, telemetry_numbers[q].key))) {
            put_head(out, &telemetry_numbers[q]);
            put_number(out, &telemetry_numbers[q], telemetry, "device=\"npu\"");
        }
    yyjson_doc_free(doc);
}

static void take_batches(struct metrics *m, enum histogram h, yyjson_val *counts)
{
    int64_t n[64];
    yyjson_val *steps = yyjson_obj_get(counts, "up_to_2_to_the");
    size_t len = yyjson_arr_size(steps) < 64 ? yyjson_arr_size(steps) : 64;
    for (size_t i = 0; i < len; i++)
        n[i] = yyjson_get_sint(yyjson_arr_get(steps, i));
    metrics_set_powers(m, h, n, (int)len, yyjson_get_sint(yyjson_obj_get(counts, "sum")));
}

yyjson_doc *stats_read(struct server *s)
{
    char *json = NULL;
    yyjson_doc *doc = NULL;
    if (!rkf_stats(s->runtime, &json, NULL) && !json_parse(json, strlen(json), "statistics", &doc, NULL)) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        take_batches(s->core.metrics, TE_BATCH_SIZE, yyjson_obj_get(root, "batch_inputs"));
        take_batches(s->core.metrics, TE_BATCH_TOKENS, yyjson_obj_get(root, "batch_tokens"));
        metrics_gauge_set(s->core.metrics, TE_QUEUE_SIZE, yyjson_get_sint(yyjson_obj_get(root, "waiting")));
    }
    rkf_free(json);
    return doc;
}

void stats_put_metrics(struct server *s, yyjson_doc *stats, struct buf *out)
{
    put_cores(out, yyjson_doc_get_root(stats));
    put_models(out, yyjson_doc_get_root(stats));
    put_telemetry(s, out);
}
