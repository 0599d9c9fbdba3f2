/* SPDX-License-Identifier: Apache-2.0 */
/* What every fault looks like in every dialect: one table of statuses and words. */
#include "server/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool api_fail(struct api_error *e, enum api_fault fault, const char *param, const char *fmt, ...)
{
    va_list ap;
    e->fault = fault;
    snprintf(e->param, sizeof e->param, "%s", param);
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return false;
}

enum api_fault api_fault_of(rkf_status status)
{
    static const enum api_fault faults[] = {
        [RKF_OK] = FAULT_NONE,
        [RKF_INVALID] = FAULT_VALIDATION,
        [RKF_UNAVAILABLE] = FAULT_VALIDATION,
        [RKF_NOT_FOUND] = FAULT_NO_MODEL,
        [RKF_IO] = FAULT_BACKEND,
        [RKF_FORMAT] = FAULT_VALIDATION,
        [RKF_UNSUPPORTED] = FAULT_MODEL_TYPE,
        [RKF_NO_MEMORY] = FAULT_INTERNAL,
        [RKF_BUSY] = FAULT_OVERLOADED,
        [RKF_CANCELLED] = FAULT_GONE,
        [RKF_DEADLINE] = FAULT_DEADLINE,
        [RKF_DEVICE] = FAULT_BACKEND,
        [RKF_CONFLICT] = FAULT_CONFLICT,
        [RKF_CLOSED] = FAULT_UNAVAILABLE,
        [RKF_TOO_LONG] = FAULT_VALIDATION,
        [RKF_INTERNAL] = FAULT_INTERNAL,
    };
    return (size_t)status < sizeof faults / sizeof *faults ? faults[status] : FAULT_INTERNAL;
}

/*
 * tei: status and error_type; a type of NULL means that the peer's web framework answers, in plain text with `text` in
 * front of the message, or with nothing at all where `text` is NULL. openai: status, type and code.
 */
static const struct words {
    int tei;
    const char *tei_type, *tei_text;
    int openai;
    const char *openai_type, *openai_code;
    int cohere, ollama;
} words[FAULT_COUNT] = {
#define INVALID "invalid_request_error"
    [FAULT_REQUEST] = { 400, NULL, "", 400, INVALID, NULL, 400, 400 },
    [FAULT_JSON] = { 400, NULL, "Failed to parse the request body as JSON: ", 400, INVALID, NULL, 400, 400 },
    [FAULT_TYPE] = { 422, NULL, "Failed to deserialize the JSON body into the target type: ", 400, INVALID, NULL, 400,
                     400 },
    [FAULT_FIELD] = { 422, "Validation", NULL, 400, INVALID, NULL, 422, 400 },
    [FAULT_EMPTY] = { 400, "Empty", NULL, 400, INVALID, NULL, 400, 400 },
    [FAULT_VALIDATION] = { 422, "Validation", NULL, 400, INVALID, NULL, 400, 400 },
    [FAULT_TOKENIZER] = { 422, "Tokenizer", NULL, 400, INVALID, NULL, 400, 400 },
    [FAULT_MODEL_TYPE] = { 424, "Backend", NULL, 404, INVALID, "model_not_supported", 404, 404 },
    [FAULT_BATCH_SIZE] = { 422, "Validation", NULL, 400, INVALID, NULL, 400, 400 },
    [FAULT_MEDIA] = { 415, NULL, "", 415, INVALID, NULL, 400, 400 },
    [FAULT_PAYLOAD] = { 413, NULL, "Failed to buffer the request body: ", 413, INVALID, NULL, 413, 413 },
    [FAULT_KEY] = { 401, NULL, NULL, 401, INVALID, "invalid_api_key", 401, 401 },
    [FAULT_FORBIDDEN] = { 403, "Validation", NULL, 403, INVALID, "forbidden", 403, 403 },
    [FAULT_NO_ROUTE] = { 404, NULL, NULL, 404, INVALID, "unknown_url", 404, 404 },
    [FAULT_METHOD] = { 405, NULL, NULL, 405, INVALID, "method_not_supported", 405, 405 },
    [FAULT_NO_MODEL] = { 404, "Validation", NULL, 404, INVALID, "model_not_found", 404, 404 },
    [FAULT_CONFLICT] = { 409, "Validation", NULL, 409, INVALID, "conflict", 409, 409 },
    [FAULT_OVERLOADED] = { 429, "Overloaded", NULL, 429, "requests", "rate_limit_exceeded", 429, 429 },
    [FAULT_DEADLINE] = { 504, "Backend", NULL, 504, "timeout", "timeout", 504, 504 },
    [FAULT_BACKEND] = { 424, "Backend", NULL, 500, "server_error", NULL, 500, 500 },
    [FAULT_UNAVAILABLE] = { 503, "Unhealthy", NULL, 503, "server_error", "unavailable", 503, 503 },
    [FAULT_GONE] = { 499, "Backend", NULL, 499, INVALID, "client_closed_request", 499, 499 },
    [FAULT_INTERNAL] = { 500, "Backend", NULL, 500, "server_error", NULL, 500, 500 },
#undef INVALID
};

int api_error_status(enum dialect d, enum api_fault fault)
{
    const struct words *w = &words[fault];
    switch (d) {
    case DIALECT_TEI:
        return w->tei;
    case DIALECT_OPENAI:
        return w->openai;
    case DIALECT_OLLAMA:
        return w->ollama;
    default:
        return w->cohere;
    }
}

static void put(struct buf *out, const char *key, const char *value)
{
    buf_puts(out, key);
    if (value)
        json_put_str(out, value, strlen(value));
    else
        buf_puts(out, "null");
}

static void write_tei(struct buf *out, const struct api_error *e, const char **type)
{
    const struct words *w = &words[e->fault];
    if (w->tei_type) {
        put(out, "{\"error\":", e->message);
        put(out, ",\"error_type\":", w->tei_type);
        buf_putc(out, '}');
    } else if (w->tei_text) {
        *type = "text/plain; charset=utf-8";
        buf_puts(out, w->tei_text);
        buf_puts(out, e->message);
    } else {
        *type = NULL;
    }
}

void api_error_write(struct buf *out, enum dialect d, const struct api_error *e, const char *id, const char **type)
{
    const struct words *w = &words[e->fault];
    *type = "application/json";
    switch (d) {
    case DIALECT_TEI:
        write_tei(out, e, type);
        break;
    case DIALECT_OPENAI:
        put(out, "{\"error\":{\"message\":", e->message);
        put(out, ",\"type\":", w->openai_type);
        put(out, ",\"param\":", e->param[0] ? e->param : NULL);
        put(out, ",\"code\":", w->openai_code);
        buf_puts(out, "}}");
        break;
    case DIALECT_OLLAMA:
        put(out, "{\"error\":", e->message);
        buf_putc(out, '}');
        break;
    case DIALECT_JINA: /* Jina's clients read detail, Cohere's message: the path is both's */
        put(out, "{\"id\":", id);
        put(out, ",\"message\":", e->message);
        put(out, ",\"detail\":", e->message);
        buf_putc(out, '}');
        break;
    default:
        put(out, "{\"id\":", id);
        put(out, ",\"message\":", e->message);
        buf_putc(out, '}');
        break;
    }
}
