/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the server's log: for people, or one JSON object per line. Never a key, a header or a text. */
#ifndef RKF_SERVER_LOG_H
#define RKF_SERVER_LOG_H

#include "rkformer.h"

struct server;
struct log_request {
    const char *id, *method, *path, *client, *model; /* model, client: may be NULL or empty */
    int status;
    int64_t inputs, tokens, bytes, total_us, queue_us, run_us;
};
void log_request(struct server *s, const struct log_request *r);
void log_event(struct server *s, rkf_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An rkf_log_fn for the library's own lines; the cookie is the server. */
void log_library(void *cookie, rkf_log_level level, const char *line);

#endif
