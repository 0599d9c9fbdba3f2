/* SPDX-License-Identifier: Apache-2.0 */
/* One answer of the hub into memory, or one file's content to disk: tried again while that may help, resumed, checked.
 */
#ifndef RKF_HUB_FETCH_H
#define RKF_HUB_FETCH_H

#include "hub/http.h"
#include "hub/hub.h"
#include "hub/listing.h"

struct fetcher {
    struct http *http;
    const struct hub_options *o;
    int32_t timeout_s;
    uint64_t done, fresh, total; /* bytes, for hub_options.progress */
};

/* All of an answer, at most max bytes (mem_free). reply says what came last. */
rkf_status fetch_text(struct fetcher *f, const char *url, size_t max, char **out, size_t *len, struct http_reply *reply,
                      rkf_error *err) MUST_CHECK;
/* Length and etag of a file; with those that its listing did not say. */
rkf_status fetch_facts(struct fetcher *f, const char *url, struct hub_entry *e, struct http_reply *reply,
                       rkf_error *err) MUST_CHECK;
/* The content into the file part, after what is there of it already. When it returns RKF_OK, part is complete, of the
 * right length and hash, and on the disk. */
rkf_status fetch_file(struct fetcher *f, const char *url, const struct hub_entry *e, const char *part,
                      struct http_reply *reply, rkf_error *err) MUST_CHECK;

#endif
