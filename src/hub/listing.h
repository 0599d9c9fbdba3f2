/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a repository holds, from the hub's answer to /api/models/ID/revision/REV, and which of it is needed. Pure:
 * bounded text in, a table out. Refuses names that lead out of the repository's folder and etags that are no file
 * names.
 */
#ifndef RKF_HUB_LISTING_H
#define RKF_HUB_LISTING_H

#include "base/json.h"

enum { HUB_FILES_MAX = 100000, HUB_ETAG = 80, HUB_NAME = 1024 };

struct hub_entry {
    char *name;          /* relative, with slashes */
    int64_t bytes;       /* -1 unknown */
    char etag[HUB_ETAG]; /* git's sha1 (40 digits), or sha256 of a large file (64); "" unknown */
    bool wanted;
};
struct hub_listing {
    char commit[41];
    struct hub_entry *files; /* [n] by name */
    uint32_t n;
};
/* `what` names the answer in messages. RKF_FORMAT says what is wrong with it. */
rkf_status hub_listing_parse(const char *text, size_t len, const char *what, struct hub_listing *out,
                             rkf_error *err) MUST_CHECK;
void hub_listing_free(struct hub_listing *l);
struct hub_entry *hub_listing_find(const struct hub_listing *l, const char *name); /* NULL: none */

bool hub_name_valid(const char *name, size_t len); /* a file below the repository's folder, and nowhere else */
/* ETag: "..." or W/"..." -> what stands between the quotes; false if that is no name for a file. */
bool hub_etag(const char *header, char out[HUB_ETAG]);

/* ---- which files are needed */
struct hub_rules {
    const char *subfolder; /* "" none */
    const char *platform;  /* whose .rknn files: "rk3588" ...; "cpu": none */
    const char *const *include, *const *exclude;
    size_t n_include, n_exclude;
    bool all;
};
struct hub_texts { /* files that say which others are needed; NULL: the repository has none */
    const char *modules, *config;
    size_t modules_len, config_len;
};
/* Patterns as huggingface_hub's: fnmatch over the whole name, a folder with its slash means all in it. */
bool hub_glob(const char *pattern, const char *name);
/* Marks what is needed as wanted, but for the shards of sharded weights. Where the rules name patterns they replace the
 * choice: only what matches. */
rkf_status hub_choose(struct hub_listing *l, const struct hub_rules *r, const struct hub_texts *t,
                      rkf_error *err) MUST_CHECK;
/* Marks the shards that an index names; `index` is its entry, text what it says. */
rkf_status hub_choose_shards(struct hub_listing *l, const struct hub_rules *r, const struct hub_entry *index,
                             const char *text, size_t len, rkf_error *err) MUST_CHECK;

struct hub_kinds {                         /* what a listing has: to tell why a model cannot be run */
    bool weights;                          /* wanted safetensors of the model itself */
    bool rknn, rknn_wanted, pickle, other; /* other: ONNX, OpenVINO, TensorFlow, Flax, GGUF */
};
struct hub_kinds hub_kinds(const struct hub_listing *l, const char *subfolder);

#endif
