/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loaded models by name, what each can do, and how many requests use them. Models may come and go while requests
 * run: who works with one holds a reference; unloading waits for the last.
 */
#ifndef RKF_SERVER_MODELS_H
#define RKF_SERVER_MODELS_H

#include "server/api.h"
#include "server/server.h"

#include <stdatomic.h>

/* What a model is for, as rkf_model_describe says it. */
enum model_kind { KIND_EMBED, KIND_FILL_MASK, KIND_RERANK, KIND_CLASSIFY, KIND_NER, KIND_QA, KIND_CHOOSE, KIND_COUNT };
#define KIND_BIT(kind) (1u << (kind))

struct model {
    struct model *next;
    rkf_model *handle;
    char *name; /* to be called by */
    char *path;
    char *describe;  /* rkf_model_describe's document */
    yyjson_doc *doc; /* the same, parsed */
    enum model_kind kind;
    uint64_t serial; /* unlike any other load's */
    uint32_t n_labels;
    int64_t max_length, dimension;
    int64_t limit;          /* most inputs in the queue; 0: the server's */
    int64_t created;        /* seconds since 1970 */
    _Atomic int64_t queued; /* inputs accepted and not yet answered */
    int refs;               /* registry.lock */
    bool leaving;           /* registry.lock: not to be found any more */
};

struct registry;
rkf_status registry_create(rkf_runtime *rt, struct registry **out, rkf_error *err) MUST_CHECK;
/* Closes all models; nobody may hold one. NULL is fine. */
void registry_destroy(struct registry *r);

/* Blocking. RKF_CONFLICT if the name is taken. */
rkf_status registry_load(struct registry *r, const struct server_model *spec, rkf_error *err) MUST_CHECK;
/* Blocking: waits until nobody uses it. RKF_NOT_FOUND. */
rkf_status registry_unload(struct registry *r, rkf_str name, rkf_error *err) MUST_CHECK;

/* A reference to the model of this name (its path, its path's last part and NAME:latest count too), or NULL. */
struct model *registry_find(struct registry *r, rkf_str name);
/* The first whose kind is in `kinds` (bits), in the order of the bits of `prefer` first; NULL. */
struct model *registry_first(struct registry *r, uint32_t prefer, uint32_t kinds);
/* The longest name that is the beginning of `path` and ends there or at a slash; *len: its length. */
struct model *registry_find_prefix(struct registry *r, const char *path, size_t *len);
struct model *registry_at(struct registry *r, size_t i);    /* in order of loading; NULL past the end */
void registry_release(struct registry *r, struct model *m); /* NULL is fine */

/* The model's prompt for what the client says its texts are; {NULL, 0}: none. */
rkf_str model_prompt_for(const struct model *m, enum input_type type);

#endif
