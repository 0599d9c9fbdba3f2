/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a hub or a server, over libcurl. Follows redirects itself, so that the token goes to the endpoint's
 * own origin (scheme, host and port) and nowhere else. Certificates are always checked. One request at a time.
 */
#ifndef RKF_HUB_HTTP_H
#define RKF_HUB_HTTP_H

#include "base/buf.h"

struct http_settings {
    const char *endpoint; /* "https://huggingface.co": without a slash at the end */
    const char *token;    /* NULL or "": none */
    int32_t timeout_s;    /* to connect, and without a byte */
    const char *who;      /* for messages, "the server"; NULL: the hub, with what its users can set */
    const char *socket;   /* Unix socket to connect to, whatever host the endpoint names; NULL: none */
};
struct http;
rkf_status http_open(const struct http_settings *s, struct http **out, rkf_error *err) MUST_CHECK;
void http_close(struct http *h); /* NULL is fine */

struct http_reply {
    int status;          /* 0: none came */
    bool again;          /* trying again may help: a timeout, a cut connection, 408, 429, 5xx */
    char etag[128];      /* X-Linked-Etag (the large file's own), else ETag; "" none */
    int64_t bytes;       /* X-Linked-Size, else Content-Length of the last answer; -1 unknown */
    int64_t from;        /* first byte of a 206; 0 of a 200 */
    int64_t retry_after; /* seconds; 0: not said */
    int64_t limit_ends;  /* seconds until a used-up rate limit ends; 0: not said */
    char commit[41];     /* X-Repo-Commit */
    char code[64];       /* X-Error-Code: RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo */
    char message[200];   /* X-Error-Message */
};
/* Takes what arrives of a 200 or 206. reply holds its headers. Not RKF_OK ends the request, and is never tried again.
 */
typedef rkf_status http_sink(void *cookie, const struct http_reply *reply, const char *p, size_t n, rkf_error *err);

/* GET (or HEAD, where redirects to other origins are not followed) of a URL of the hub, from byte `from` on.
 * RKF_OK: an answer came whose status is 200 or 206. Else reply says what came (status 0: nothing) and err why. */
rkf_status http_get(struct http *h, const char *url, int64_t from, http_sink *sink, void *cookie,
                    struct http_reply *reply, rkf_error *err) MUST_CHECK;
rkf_status http_head(struct http *h, const char *url, struct http_reply *reply, rkf_error *err) MUST_CHECK;

/* Appends s with everything but unreserved characters (and, with slashes, '/') as %XX. */
void http_put_escaped(struct buf *b, const char *s, bool slashes);

#endif
