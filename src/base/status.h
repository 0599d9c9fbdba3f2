/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors. A function that can fail returns rkf_status, which must be checked, and fills a nullable rkf_error (its last
 * parameter) once, at the place that knows the file, tensor, core or call: `return rkf_fail(err, RKF_FORMAT, "...",
 * ...)`.
 */
#ifndef RKF_BASE_STATUS_H
#define RKF_BASE_STATUS_H

#include "rkformer.h"

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills *err (if not NULL) with status and the formatted one-line message; returns status. Long messages are cut. */
rkf_status rkf_fail(rkf_error *err, rkf_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* rkf_fail for a failed system call: appends ": " and the text of errno. ENOMEM becomes RKF_NO_MEMORY. */
rkf_status rkf_fail_errno(rkf_error *err, rkf_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "out of memory: cannot get <bytes> bytes for <what>" */
rkf_status rkf_fail_memory(rkf_error *err, size_t bytes, const char *what);
/* Puts "<context>: " before the message of a failed call's error; returns err's status (status if err is NULL). */
rkf_status rkf_fail_within(rkf_error *err, rkf_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A copy of s that is safe in a one-line message: control characters and broken UTF-8 become '?', cut to fit cap. */
const char *rkf_quote(char *buf, size_t cap, const char *s, size_t len);

#endif
