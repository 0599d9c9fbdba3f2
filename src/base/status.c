/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[] = {
    [RKF_OK] = "RKF_OK",
    [RKF_INVALID] = "RKF_INVALID",
    [RKF_UNAVAILABLE] = "RKF_UNAVAILABLE",
    [RKF_NOT_FOUND] = "RKF_NOT_FOUND",
    [RKF_IO] = "RKF_IO",
    [RKF_FORMAT] = "RKF_FORMAT",
    [RKF_UNSUPPORTED] = "RKF_UNSUPPORTED",
    [RKF_NO_MEMORY] = "RKF_NO_MEMORY",
    [RKF_BUSY] = "RKF_BUSY",
    [RKF_CANCELLED] = "RKF_CANCELLED",
    [RKF_DEADLINE] = "RKF_DEADLINE",
    [RKF_DEVICE] = "RKF_DEVICE",
    [RKF_CONFLICT] = "RKF_CONFLICT",
    [RKF_CLOSED] = "RKF_CLOSED",
    [RKF_TOO_LONG] = "RKF_TOO_LONG",
    [RKF_INTERNAL] = "RKF_INTERNAL",
};

const char *rkf_status_name(rkf_status status)
{
    size_t n = sizeof status_names / sizeof *status_names;
    return (size_t)status < n ? status_names[status] : "RKF_UNKNOWN";
}

/* A message that was cut may end within a character: drop the piece. */
static void trim_broken_end(char *message)
{
    size_t len = strlen(message), ok = utf8_valid_prefix(message, len);
    if (len - ok < 4)
        message[ok] = 0;
}

static void error_set(rkf_error *err, rkf_status status, const char *fmt, va_list ap)
{
    err->status = status;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    for (char *p = err->message; *p; p++) /* one line, whatever a file put into it */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    trim_broken_end(err->message);
}

rkf_status rkf_fail(rkf_error *err, rkf_status status, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        error_set(err, status, fmt, ap);
        va_end(ap);
    }
    return status;
}

rkf_status rkf_fail_errno(rkf_error *err, rkf_status status, const char *fmt, ...)
{
    int e = errno;
    if (e == ENOMEM)
        status = RKF_NO_MEMORY;
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        error_set(err, status, fmt, ap);
        va_end(ap);
        size_t n = strlen(err->message);
        char text[128] = "";
        const char *s = strerror_r(e, text, sizeof text); /* the GNU one: may or may not use text */
        snprintf(err->message + n, sizeof err->message - n, ": %s", s);
        trim_broken_end(err->message);
    }
    return status;
}

rkf_status rkf_fail_memory(rkf_error *err, size_t bytes, const char *what)
{
    return rkf_fail(err, RKF_NO_MEMORY, "out of memory: cannot get %zu bytes for %s", bytes, what);
}

rkf_status rkf_fail_within(rkf_error *err, rkf_status status, const char *fmt, ...)
{
    if (!err)
        return status;
    rkf_error inner = *err;
    va_list ap;
    va_start(ap, fmt);
    error_set(err, inner.status, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->message);
    snprintf(err->message + n, sizeof err->message - n, ": %.400s", inner.message);
    trim_broken_end(err->message);
    return status;
}

const char *rkf_quote(char *buf, size_t cap, const char *s, size_t len)
{
    size_t used = 0, n;
    for (size_t i = 0; i < len; i += n) {
        int32_t cp = utf8_decode(s + i, len - i, &n);
        bool plain = cp >= 0x20 && !(cp >= 0x7f && cp < 0xa0);
        size_t put = plain ? n : 1;
        if (used + put >= cap)
            break;
        memcpy(buf + used, plain ? s + i : "?", put);
        used += put;
    }
    if (cap)
        buf[used] = 0;
    return buf;
}
