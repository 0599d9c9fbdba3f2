/* SPDX-License-Identifier: Apache-2.0 */
/* What struct server holds, for the files of this folder. */
#ifndef RKF_SERVER_STATE_H
#define RKF_SERVER_STATE_H

#include "server/exchange.h"

#include "base/log.h"

struct http; /* http.h */

struct devices_copy { /* of rkf_devices' document */
    pthread_mutex_t lock;
    char *json;
    int64_t read_ns;
};

struct server {
    struct core core;
    rkf_runtime *runtime;
    rkf_runtime_options runtime_options; /* for rkf_devices; strings borrowed from the config */
    struct logger log;
    struct keys keys, admin_keys;
    struct server_strings cors; /* borrowed from the config */
    int64_t payload_limit, body_memory, drain_ms;
    bool json_log;
    int64_t started_ns;
    _Atomic uint64_t next_id;
    uint64_t id_seed;
    _Atomic bool draining;
    _Atomic int64_t exchanges; /* being answered */
    struct http *http;
    struct devices_copy devices;
};

/* stats.c */
void devices_put_names(struct server *s, struct buf *out); /* a JSON list: what the runtime has, and auto */
bool devices_put(struct server *s, struct buf *out, struct api_error *e);
yyjson_doc *stats_read(struct server *s); /* the library's, its batches and queue put into our metrics; NULL: none */
void stats_put_metrics(struct server *s, yyjson_doc *stats, struct buf *out);

#endif
