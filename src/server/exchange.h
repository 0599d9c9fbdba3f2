/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request and its answer, without HTTP: what http.c reads from a connection and what it writes back. Routing,
 * keys, parsing, call and answer are here; sockets are not, so that tests can talk to this layer directly.
 *
 *   exchange_open (headers known) -> body arrives -> exchange_prepare -> NOW: the answer is there
 *                                                                    -> LATER: exchange_start ... wake() ...
 * exchange_finish
 *
 * Threads. open, prepare, start and finish are called by the connection's thread; wake() comes on any thread, once,
 * perhaps inside exchange_start; exchange_cancel on any thread that holds a reference.
 */
#ifndef RKF_SERVER_EXCHANGE_H
#define RKF_SERVER_EXCHANGE_H

#include "server/auth.h"
#include "server/call.h"
#include "server/routes.h"
#include "server/server.h"

struct server;

enum outcome { NOW, LATER };
enum { EXCHANGE_HEADERS = 16, REQUEST_ID_MAX = 64 };

struct exchange {
    struct server *server;
    /* the request */
    const char *method, *path; /* without the query; borrowed from the connection */
    const char *authorization, *content_type, *accept, *origin, *request_id; /* headers, NULL: not sent */
    const char *malformed;  /* what is wrong with the request's head, NULL: nothing; the connection ends then */
    bool compressed;        /* the body is, and we take none such */
    int64_t content_length; /* -1: not said */
    struct buf body;
    char id[REQUEST_ID_MAX + 1];
    char client[64]; /* for the log */
    int64_t began_ns;
    /* what it is */
    const struct route *route; /* NULL: nothing there */
    enum dialect dialect;
    struct model *model; /* a reference: of a /models/NAME prefix */
    const char *rest;    /* of a route that ends in a star: what the star stands for */
    struct call *call;
    struct errand job;
    _Atomic int cancelled; /* enum api_fault: why */
    _Atomic bool started;  /* the call is there, and may be cancelled */
    int64_t body_counted;  /* bytes of GAUGE_BODY_BYTES that are ours */
    /* the answer */
    int status;
    const char *type; /* content type; NULL: no body */
    struct buf out;
    const void *page; /* instead of out: static bytes */
    size_t page_len;
    struct {
        const char *name;
        char value[72];
    } headers[EXCHANGE_HEADERS];
    int n_headers;
    bool answered, close; /* close: the connection ends after this */
    enum api_fault fault;

    void (*wake)(struct exchange *x);
    void *connection; /* http.c's */
    _Atomic int refs;
};

/* One reference; NULL: out of memory. */
struct exchange *exchange_create(struct server *s);
void exchange_release(struct exchange *x);
bool exchange_open(struct exchange *x); /* false: refused, the answer is there */
/* The body grew by n bytes at p; false: too long, the answer is there. */
bool exchange_feed(struct exchange *x, const void *p, size_t n);
enum outcome exchange_prepare(struct exchange *x);
void exchange_start(struct exchange *x);
void exchange_finish(struct exchange *x);
void exchange_cancel(struct exchange *x, enum api_fault why);
void exchange_log(struct exchange *x); /* counts and logs it: the last thing before release */

/* For the handlers of routes. */
void exchange_header(struct exchange *x, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void exchange_fail(struct exchange *x, const struct api_error *e);
enum outcome exchange_refuse(struct exchange *x, enum api_fault fault, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum outcome exchange_json(struct exchange *x); /* x->out is the answer */

#endif
