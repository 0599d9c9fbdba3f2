/* SPDX-License-Identifier: Apache-2.0 */
#include "server/log.h"

#include "base/json.h"
#include "server/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/* {"ts":"2025-01-31T12:00:00.000Z","level":"info" */
static void begin(struct buf *b, rkf_log_level level)
{
    struct timespec now;
    struct tm tm;
    char ts[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(ts, sizeof ts, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\"", ts, now.tv_nsec / 1000000, level_names[level]);
}

static void put(struct buf *b, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(b, ",\"%s\":", key);
    json_put_str(b, value, strlen(value));
}

static void send_line(struct server *s, rkf_log_level level, struct buf *b)
{
    if (!b->failed && b->p)
        s->log.fn(s->log.cookie, level, b->p);
    buf_free(b);
}

void log_event(struct server *s, rkf_log_level level, const char *fmt, ...)
{
    char line[1024];
    struct buf b;
    va_list ap;
    if (!s->log.fn || level > s->log.level)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_init(&b, 8192);
    if (s->json_log) {
        begin(&b, level);
        put(&b, "message", line);
        buf_putc(&b, '}');
    } else {
        buf_puts(&b, line);
    }
    send_line(s, level, &b);
}

void log_library(void *cookie, rkf_log_level level, const char *line)
{
    log_event(cookie, level, "%s", line);
}

static void put_request(struct buf *b, const struct log_request *r)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = { { "status", r->status }, { "inputs", r->inputs },     { "tokens", r->tokens },
                    { "bytes", r->bytes },   { "total_us", r->total_us }, { "queue_us", r->queue_us },
                    { "run_us", r->run_us } };
    put(b, "message", "request");
    put(b, "request_id", r->id);
    put(b, "client", r->client);
    put(b, "method", r->method);
    put(b, "path", r->path);
    put(b, "model", r->model);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value || !i)
            buf_printf(b, ",\"%s\":%lld", numbers[i].key, (long long)numbers[i].value);
    buf_putc(b, '}');
}

void log_request(struct server *s, const struct log_request *r)
{
    rkf_log_level level = r->status >= 500 ? RKF_LOG_WARN : RKF_LOG_INFO;
    char path[160];
    struct buf b;
    if (!s->log.fn || level > s->log.level)
        return;
    rkf_quote(path, sizeof path, r->path, strlen(r->path));
    buf_init(&b, 8192);
    if (s->json_log) {
        struct log_request quoted = *r;
        quoted.path = path;
        begin(&b, level);
        put_request(&b, &quoted);
    } else {
        buf_printf(&b, "%s %s %d %lld inputs %lld tokens %.1f ms (%s)", r->method, path, r->status,
                   (long long)r->inputs, (long long)r->tokens, (double)r->total_us / 1000, r->id);
    }
    send_line(s, level, &b);
}
