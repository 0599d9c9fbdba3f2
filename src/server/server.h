/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door of src/server: an HTTP server over rkformer.h. One process, any number of models, the dialects of OpenAI,
 * text-embeddings-inference, Cohere, Jina, vLLM and Ollama; docs/server.md is for users, this header for the command.
 *
 * server_start opens runtime and models and begins to listen; it works on threads of its own. server_stop drains.
 * Nothing here prints: lines go to the log callback. Sockets are opened only here (and in src/hub).
 */
#ifndef RKF_SERVER_SERVER_H
#define RKF_SERVER_SERVER_H

#include "base/mem.h"
#include "base/status.h"

struct server_model {
    rkf_model_options open;
    int64_t limit; /* most inputs waiting for this model; 0: the server's limit */
};

struct server_strings {
    const char **p; /* [n] */
    size_t n;
};

/* Zero means: not given; server_start takes the default. Strings are borrowed, or live in `mem`. */
struct server_config {
    rkf_runtime_options runtime; /* log, log_cookie and log_level are the server's too */
    struct server_model *models; /* [n_models] */
    size_t n_models;
    struct server_model defaults; /* of the models that do not say */

    struct server_strings listen;   /* "HOST:PORT", ":PORT", "[::1]:PORT", "unix:PATH"; 127.0.0.1:8080 */
    const char *tls_cert, *tls_key; /* PEM files */
    struct server_strings api_keys, admin_keys;
    const char *api_key_file, *admin_key_file;
    struct server_strings cors; /* origins that browsers may call from; any. "none": no browser's */

    int64_t payload_limit;     /* bytes of one body; 16 MiB */
    int64_t body_memory;       /* bytes of all bodies together; 512 MiB */
    int64_t max_batch;         /* inputs of one request; 65536 */
    int64_t chunk;             /* inputs of one request that are in the queue at once; 512 */
    int64_t max_concurrent;    /* inputs accepted and not answered, all models; 65536 */
    int64_t cache_bytes;       /* result cache; none */
    int64_t max_connections;   /* 16384 */
    int64_t header_timeout_ms; /* to send a request's headers, and as long again per MiB of body; 10 s */
    int64_t idle_timeout_ms;   /* a connection without a request; 75 s */
    int64_t timeout_ms;        /* of a request that does not say; none */
    int64_t drain_ms;          /* at most, when stopping; 30 s */
    int64_t http_threads;      /* as many as CPUs, at most 4 */
    rkf_switch auto_truncate;  /* on */
    bool json_log;
    bool systemd; /* take the sockets of socket activation, notify readiness and the watchdog */

    struct arena mem;
};
#define SERVER_CONFIG_INIT                                                                                             \
    {                                                                                                                  \
        .runtime = RKF_RUNTIME_OPTIONS_INIT, .defaults = {.open = RKF_MODEL_OPTIONS_INIT }                             \
    }

/* "[NAME=]PATH[,key=value...]" as -m takes it: mask, device, dtype, revision, file-name, subfolder, priority,
 * max-length, limit, pack-cache, exclusive, cpu-fallback (the last two also without a value). */
rkf_status server_config_add_model(struct server_config *c, const char *spec, rkf_error *err) MUST_CHECK;
/* One setting by its name in docs/server.md ("listen", "cache", "core-mask", ...); "model" is server_config_add_model.
 * What is set already stays; lists grow. RKF_INVALID. */
rkf_status server_config_set(struct server_config *c, const char *name, const char *value, rkf_error *err) MUST_CHECK;
/* A YAML file with the same names as the command's options and a list `models`. What is set already stays. */
rkf_status server_config_load(struct server_config *c, const char *path, rkf_error *err) MUST_CHECK;
/* The same from memory; `path` is for messages. */
rkf_status server_config_parse(struct server_config *c, const char *text, size_t len, const char *path,
                               rkf_error *err) MUST_CHECK;
void server_config_free(struct server_config *c);

struct server;
/* Errors: RKF_INVALID, RKF_UNAVAILABLE, RKF_IO (an address is taken), and all of rkf_runtime_open and rkf_model_open.
 */
rkf_status server_start(const struct server_config *c, struct server **out, rkf_error *err) MUST_CHECK;
/* No new connections and requests; waits for those in flight up to drain_ms, cancels the rest. NULL is fine. */
void server_stop(struct server *s);

#endif
