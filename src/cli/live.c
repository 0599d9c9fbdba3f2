/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/live.h"
#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVER_TIMEOUT_S = 5, DOCUMENT_MAX = 4 << 20 };

/* ---- the machine */

static const char *root_of(const struct live *l)
{
    return l->o->runtime.root ? l->o->runtime.root : "/";
}

/* First line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks since the start. */
static void sample_cpu(struct live *l)
{
    unsigned long long t[8] = { 0 };
    char text[512];
    l->cpu_percent = -1;
    if (root_read(root_of(l), "/proc/stat", text, sizeof text) < 0 ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6],
               &t[7]) < 4)
        return;
    uint64_t all = 0, idle = t[3] + t[4];
    for (int i = 0; i < 8; i++)
        all += t[i];
    if (l->samples && all > l->cpu_all && all - idle >= l->cpu_busy)
        l->cpu_percent = 100.0 * (double)(all - idle - l->cpu_busy) / (double)(all - l->cpu_all);
    l->cpu_busy = all - idle;
    l->cpu_all = all;
}

static int64_t kib_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoll(at + strlen(key), NULL, 10) * 1024 : -1;
}

static void sample_memory(struct live *l)
{
    char text[4096];
    bool there = root_read(root_of(l), "/proc/meminfo", text, sizeof text) >= 0;
    l->memory_bytes = there ? kib_after(text, "MemTotal:") : -1;
    l->available_bytes = there ? kib_after(text, "MemAvailable:") : -1;
}

static rkf_status sample_devices(struct live *l, rkf_error *err)
{
    char *json = NULL;
    rkf_status rc = rkf_devices(&l->o->runtime, &json, err);
    if (!rc) {
        yyjson_doc_free(l->machine);
        l->machine = NULL;
        rc = json_parse(json, strlen(json), "the devices", &l->machine, err);
    }
    rkf_free(json);
    return rc;
}

/* ---- the server */

static rkf_status take(void *cookie, const struct http_reply *reply, const char *p, size_t n, rkf_error *err)
{
    struct buf *b = cookie;
    (void)reply;
    buf_append(b, p, n);
    return b->failed ? rkf_fail(err, RKF_FORMAT, "the server's answer is too long") : RKF_OK;
}

/* Length without slashes at the end. */
static size_t trimmed(const char *url)
{
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    return n;
}

static void sample_server(struct live *l)
{
    struct http_reply reply;
    struct buf url, body;
    buf_init(&url, 4096);
    buf_init(&body, DOCUMENT_MAX);
    buf_printf(&url, "%.*s/v1/cores", (int)trimmed(l->endpoint), l->endpoint);
    yyjson_doc_free(l->before);
    l->before = l->now;
    l->now = NULL;
    rkf_status rc = url.failed ? rkf_fail(&l->server_err, RKF_INVALID, "the server's address is too long")
                               : http_get(l->http, url.p, 0, take, &body, &reply, &l->server_err);
    if (!rc)
        rc = json_parse(body.p ? body.p : "", body.len, "the answer of /v1/cores", &l->now, &l->server_err);
    else if (reply.status == 401 || reply.status == 403)
        (void)rkf_fail(&l->server_err, rc, "the server wants a key: give it with --api-key");
    buf_free(&url);
    buf_free(&body);
}

static double field(yyjson_val *v, const char *key)
{
    return yyjson_get_num(yyjson_obj_get(v, key));
}

static const char *word(yyjson_val *v, const char *key)
{
    const char *s = yyjson_get_str(yyjson_obj_get(v, key));
    return s ? s : "-";
}

/* The object of list `key` in the sample before that has the same value of `by`. */
static yyjson_val *same(yyjson_val *list, const char *by, const char *value)
{
    size_t i, n;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, n, v)
    {
        if (!strcmp(word(v, by), value))
            return v;
    }
    return NULL;
}

/* Growth of a counter per second; 0 where there was no sample before, or the server has started anew since. */
static double rate(yyjson_val *now, yyjson_val *before, const char *key, double seconds)
{
    double grown = field(now, key) - field(before, key);
    return before && seconds > 0 && grown > 0 ? grown / seconds : 0;
}

static bool is_used(yyjson_val *root, yyjson_val *device)
{
    size_t i, n;
    yyjson_val *core;
    if (same(yyjson_obj_get(root, "models"), "device", word(device, "device")))
        return true;
    yyjson_arr_foreach(yyjson_obj_get(device, "cores"), i, n, core)
    {
        if (field(core, "batches") > 0)
            return true;
    }
    return false;
}

static void count_cores(struct live *l, yyjson_val *now, yyjson_val *before, double seconds)
{
    size_t i, n, k, m;
    yyjson_val *device, *core;
    l->n_cores = 0;
    yyjson_arr_foreach(yyjson_obj_get(now, "devices"), i, n, device)
    {
        if (!is_used(now, device))
            continue;
        yyjson_val *was = same(yyjson_obj_get(before, "devices"), "device", word(device, "device"));
        yyjson_arr_foreach(yyjson_obj_get(device, "cores"), k, m, core)
        {
            if (l->n_cores == LIVE_CORES)
                return;
            yyjson_val *then = yyjson_arr_get(yyjson_obj_get(was, "cores"), k);
            double busy = rate(core, then, "busy_us", seconds) / 1e4;
            l->cores[l->n_cores++] = (struct live_core){
                .device = word(device, "device"),
                .core = (int)field(core, "core"),
                .running = (int)field(core, "running"),
                .sick = yyjson_get_bool(yyjson_obj_get(core, "sick")),
                .leased_away = yyjson_get_bool(yyjson_obj_get(core, "leased_away")),
                .busy_percent = busy > 100 ? 100 : busy,
                .tokens_per_s = rate(core, then, "tokens", seconds),
                .faults = (int64_t)field(core, "faults"),
            };
        }
    }
}

static void count_models(struct live *l, yyjson_val *now, yyjson_val *before, double seconds)
{
    size_t i, n;
    yyjson_val *v;
    l->n_models = 0;
    yyjson_arr_foreach(yyjson_obj_get(now, "models"), i, n, v)
    {
        if (l->n_models == LIVE_MODELS)
            return;
        yyjson_val *then = same(yyjson_obj_get(before, "models"), "name", word(v, "name"));
        l->models[l->n_models++] = (struct live_model){
            .name = word(v, "name"),
            .device = word(v, "device"),
            .mask = word(v, "core_mask"),
            .waiting = (int64_t)field(v, "waiting"),
            .running = (int64_t)field(v, "running"),
            .failed = (int64_t)field(v, "failed"),
            .fallbacks = (int64_t)field(v, "fallbacks"),
            .texts_per_s = rate(v, then, "inputs", seconds),
            .tokens_per_s = rate(v, then, "tokens", seconds),
        };
    }
}

static void count(struct live *l)
{
    yyjson_val *now = yyjson_doc_get_root(l->now), *before = yyjson_doc_get_root(l->before);
    double seconds = (field(now, "uptime_us") - field(before, "uptime_us")) * 1e-6;
    count_cores(l, now, before, seconds);
    count_models(l, now, before, seconds);
}

/* ---- life */

rkf_status live_open(const struct options *o, struct live *out, rkf_error *err)
{
    *out = (struct live){ .o = o };
    if (!o->url)
        return RKF_OK;
    static const char unix_prefix[] = "unix:";
    bool local = !strncmp(o->url, unix_prefix, sizeof unix_prefix - 1);
    struct http_settings s = {
        .endpoint = local ? "http://localhost" : o->url,
        .socket = local ? o->url + sizeof unix_prefix - 1 : NULL,
        .token = o->api_key,
        .timeout_s = SERVER_TIMEOUT_S,
        .who = "the server",
    };
    out->endpoint = s.endpoint;
    return http_open(&s, &out->http, err);
}

rkf_status live_sample(struct live *l, rkf_error *err)
{
    rkf_status rc = sample_devices(l, err);
    if (rc)
        return rc;
    sample_cpu(l);
    sample_memory(l);
    if (l->http) {
        sample_server(l);
        count(l);
    }
    l->samples++;
    return RKF_OK;
}

void live_close(struct live *l)
{
    http_close(l->http);
    yyjson_doc_free(l->machine);
    yyjson_doc_free(l->now);
    yyjson_doc_free(l->before);
    *l = (struct live){ 0 };
}

/* ---- JSON */

static void put_number(struct buf *b, const char *key, double v)
{
    if (v < 0)
        buf_printf(b, ",\"%s\":null", key);
    else
        buf_printf(b, ",\"%s\":%.*f", key, v < 1e15 && v > 1e6 ? 0 : 1, v);
}

static void put_word(struct buf *b, const char *key, const char *s)
{
    buf_printf(b, "\"%s\":", key);
    json_put_str(b, s, strlen(s));
}

static void put_server(const struct live *l, struct buf *b)
{
    buf_puts(b, "{\"cores\":[");
    for (uint32_t i = 0; i < l->n_cores; i++) {
        const struct live_core *c = &l->cores[i];
        buf_puts(b, i ? ",{" : "{");
        put_word(b, "device", c->device);
        buf_printf(b, ",\"core\":%d,\"running\":%d,\"sick\":%s,\"leased_away\":%s,\"faults\":%lld", c->core, c->running,
                   c->sick ? "true" : "false", c->leased_away ? "true" : "false", (long long)c->faults);
        put_number(b, "busy_percent", c->busy_percent);
        put_number(b, "tokens_per_s", c->tokens_per_s);
        buf_putc(b, '}');
    }
    buf_puts(b, "],\"models\":[");
    for (uint32_t i = 0; i < l->n_models; i++) {
        const struct live_model *m = &l->models[i];
        buf_puts(b, i ? ",{" : "{");
        put_word(b, "name", m->name);
        buf_putc(b, ',');
        put_word(b, "device", m->device);
        buf_putc(b, ',');
        put_word(b, "core_mask", m->mask);
        buf_printf(b, ",\"waiting\":%lld,\"running\":%lld,\"failed\":%lld,\"fallbacks\":%lld", (long long)m->waiting,
                   (long long)m->running, (long long)m->failed, (long long)m->fallbacks);
        put_number(b, "texts_per_s", m->texts_per_s);
        put_number(b, "tokens_per_s", m->tokens_per_s);
        buf_putc(b, '}');
    }
    buf_puts(b, "],\"totals\":");
    json_put_val(b, yyjson_obj_get(yyjson_doc_get_root(l->now), "server"));
    buf_putc(b, '}');
}

void live_put_json(const struct live *l, struct buf *b)
{
    buf_puts(b, "{\"npu\":");
    json_put_val(b, yyjson_obj_get(yyjson_doc_get_root(l->machine), "npu"));
    put_number(b, "cpu_percent", l->cpu_percent);
    put_number(b, "memory_bytes", (double)l->memory_bytes);
    put_number(b, "available_bytes", (double)l->available_bytes);
    buf_puts(b, ",\"server\":");
    if (l->now)
        put_server(l, b);
    else
        buf_puts(b, "null");
    if (l->http && !l->now) {
        buf_putc(b, ',');
        put_word(b, "server_error", l->server_err.message);
    }
    buf_putc(b, '}');
}

/* ---- for people */

/* A row that is cut at the terminal's width: bytes, as everything here but names is ASCII. */
static void end_row(struct buf *b, size_t row, int columns)
{
    size_t most = columns > 0 ? (size_t)columns : 0;
    if (!b->failed && b->len - row > most) {
        size_t cut = row + most;
        while (cut > row && ((unsigned char)b->p[cut] & 0xC0) == 0x80)
            cut--;
        b->len = cut;
        b->p[cut] = 0;
    }
    buf_putc(b, '\n');
}

static void put_bar(struct buf *b, double percent)
{
    enum { WIDE = 20 };
    char text[WIDE + 1], label[16];
    int full = percent < 0 ? 0 : (int)(percent * WIDE / 100 + 0.5), n;
    n = percent < 0 ? snprintf(label, sizeof label, "unknown") : snprintf(label, sizeof label, "%.0f%%", percent);
    for (int i = 0; i < WIDE; i++)
        text[i] = i < full ? '|' : ' ';
    if (n > 0 && n < WIDE)
        memcpy(text + WIDE - n, label, (size_t)n);
    text[WIDE] = 0;
    buf_printf(b, "[%s]", text);
}

static void put_clock(yyjson_val *t, int columns, struct buf *b)
{
    size_t row = b->len;
    if (!yyjson_is_num(yyjson_obj_get(t, "clock_hz")) && !yyjson_is_num(yyjson_obj_get(t, "temperature_c")))
        return;
    buf_puts(b, "          ");
    if (yyjson_is_num(yyjson_obj_get(t, "clock_hz")))
        buf_printf(b, " %.2f of %.2f GHz (%s)", field(t, "clock_hz") * 1e-9, field(t, "clock_max_hz") * 1e-9,
                   word(t, "governor"));
    if (yyjson_is_num(yyjson_obj_get(t, "temperature_c")))
        buf_printf(b, " %.1f C", field(t, "temperature_c"));
    if (yyjson_is_num(yyjson_obj_get(t, "throttles_at_c")))
        buf_printf(b, ", throttles at %.1f C", field(t, "throttles_at_c"));
    end_row(b, row, columns);
}

static void put_npu(yyjson_val *npu, int columns, struct buf *b)
{
    yyjson_val *t = yyjson_obj_get(npu, "telemetry"), *loads = yyjson_obj_get(t, "load_percent"), *v;
    size_t i, n, row = b->len;
    const char *board = word(npu, "board");
    buf_printf(b, "%s%s%s", word(npu, "platform"), strcmp(board, "-") ? ", " : "", strcmp(board, "-") ? board : "");
    end_row(b, row, columns);
    yyjson_arr_foreach(loads, i, n, v)
    {
        row = b->len;
        buf_printf(b, "NPU core %zu ", i);
        put_bar(b, yyjson_is_num(v) ? yyjson_get_num(v) : -1);
        end_row(b, row, columns);
    }
    put_clock(t, columns, b);
    yyjson_arr_foreach(yyjson_obj_get(npu, "advice"), i, n, v)
    {
        row = b->len;
        buf_puts(b, yyjson_get_str(v));
        end_row(b, row, columns);
    }
}

static void put_host(const struct live *l, int columns, struct buf *b)
{
    size_t row = b->len;
    buf_puts(b, "CPU        ");
    put_bar(b, l->cpu_percent);
    if (l->memory_bytes > 0 && l->available_bytes >= 0)
        buf_printf(b, "  memory %.1f of %.1f GiB used", (double)(l->memory_bytes - l->available_bytes) / (1 << 30),
                   (double)l->memory_bytes / (1 << 30));
    end_row(b, row, columns);
}

static void put_totals(const struct live *l, int columns, struct buf *b)
{
    yyjson_val *root = yyjson_doc_get_root(l->now), *s = yyjson_obj_get(root, "server");
    yyjson_val *was = yyjson_obj_get(yyjson_doc_get_root(l->before), "server");
    double seconds = (field(s, "uptime_us") - field(was, "uptime_us")) * 1e-6;
    size_t row = b->len;
    int64_t up = (int64_t)(field(s, "uptime_us") * 1e-6);
    buf_printf(b, "%s  up %lld:%02d:%02d  %.1f requests/s  in flight %.0f  queued %.0f  connections %.0f", l->o->url,
               (long long)(up / 3600), (int)(up / 60 % 60), (int)(up % 60), rate(s, was, "requests", seconds),
               field(s, "requests_in_flight"), field(root, "waiting"), field(s, "connections"));
    if (yyjson_is_num(yyjson_obj_get(s, "latency_p50_s")))
        buf_printf(b, "  p50 %.1f ms  p99 %.1f ms", field(s, "latency_p50_s") * 1e3, field(s, "latency_p99_s") * 1e3);
    end_row(b, row, columns);
}

static void put_core(const struct live_core *c, int columns, struct buf *b)
{
    size_t row = b->len;
    buf_printf(b, "%-4s core %d ", c->device, c->core);
    put_bar(b, c->busy_percent);
    buf_printf(b, "  %10.0f tokens/s  running %d", c->tokens_per_s, c->running);
    if (c->faults)
        buf_printf(b, "  faults %lld", (long long)c->faults);
    buf_puts(b, c->sick ? "  sick" : c->leased_away ? "  leased to another process" : "");
    end_row(b, row, columns);
}

static void put_model(const struct live_model *m, int columns, struct buf *b)
{
    size_t row = b->len;
    buf_printf(b, "%-24.24s %-6s %-6s %7lld %7lld %9.1f %10.0f %7lld %9lld", m->name, m->device, m->mask,
               (long long)m->waiting, (long long)m->running, m->texts_per_s, m->tokens_per_s, (long long)m->failed,
               (long long)m->fallbacks);
    end_row(b, row, columns);
}

void live_put_screen(const struct live *l, int columns, struct buf *b)
{
    put_npu(yyjson_obj_get(yyjson_doc_get_root(l->machine), "npu"), columns, b);
    put_host(l, columns, b);
    if (!l->http)
        return;
    buf_putc(b, '\n');
    size_t row = b->len;
    if (!l->now) {
        buf_puts(b, l->server_err.message);
        end_row(b, row, columns);
        return;
    }
    put_totals(l, columns, b);
    for (uint32_t i = 0; i < l->n_cores; i++)
        put_core(&l->cores[i], columns, b);
    buf_putc(b, '\n');
    row = b->len;
    buf_printf(b, "%-24s %-6s %-6s %7s %7s %9s %10s %7s %9s", "MODEL", "DEVICE", "MASK", "WAITING", "RUNNING",
               "TEXTS/S", "TOKENS/S", "FAILED", "FALLBACKS");
    end_row(b, row, columns);
    for (uint32_t i = 0; i < l->n_models; i++)
        put_model(&l->models[i], columns, b);
}
