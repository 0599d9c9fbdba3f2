/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a request's head one that everybody reads the same way? What proxies and servers read differently is how requests
 * are smuggled: two lengths, a length and a transfer encoding, encodings that we do not know, names and values with
 * characters that do not belong there (RFC 9112, 3.2, 5 and 6.3). libmicrohttpd lets these through. Pure: no I/O, no
 * memory.
 */
#ifndef RKF_SERVER_HEAD_H
#define RKF_SERVER_HEAD_H

#include <stdbool.h>
#include <stddef.h>

struct head {
    const char *length; /* the first Content-Length */
    const char *fault;  /* what is wrong with it, NULL: nothing so far */
    int hosts, encodings;
    bool compressed; /* the body is, and we take none such */
};
/* Takes a header; the value's bytes are [len]. */
void head_take(struct head *h, const char *name, const char *value, size_t len);
/* After the last header: what is wrong with the request, NULL if nothing. version: "HTTP/1.1". */
const char *head_fault(const struct head *h, const char *version);
/* The request's target before it is decoded. */
bool head_target_ok(const char *target);
/* The path of a target that a proxy would get ("http://host/path"), else the target itself. */
const char *head_path(const char *target);

#endif
