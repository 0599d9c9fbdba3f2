/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: libmicrohttpd's event loops (epoll) in front of exchange.h. A connection whose request is being computed
 * is suspended and costs no thread. A watcher thread looks after what the loops do not: clients that go away while they
 * wait, requests that arrive or leave too slowly, systemd's watchdog.
 */
#ifndef RKF_SERVER_HTTP_H
#define RKF_SERVER_HTTP_H

#include "base/status.h"

struct server;
struct server_config;
struct http;
rkf_status http_start(struct server *s, const struct server_config *c, struct http **out, rkf_error *err) MUST_CHECK;
/* No new connections from here on; those that are open stay. */
void http_quiesce(struct http *h);
/* Cancels the requests that are being computed. */
void http_cancel_all(struct http *h);
int http_waiting(struct http *h); /* requests being computed */
/* Closes all connections; nothing may be waiting. NULL is fine. */
void http_stop(struct http *h);

#endif
