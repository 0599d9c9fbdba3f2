/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub: model id -> directory on this machine. Owns everything of rkformer that downloads. What it fetches lies in
 * the Hugging Face cache (base/hf_cache.h), shared with huggingface_hub, or in a plain directory.
 *
 * Content is written to blobs/ETAG.incomplete under the lock that huggingface_hub takes, checked (length; sha256 or
 * git's sha1), then renamed; a revision's ref moves last. So nothing half written is ever visible, a killed pull goes
 * on where it was, and two processes do not fetch the same file. Blocking; one pull at a time per thread.
 */
#ifndef RKF_HUB_HUB_H
#define RKF_HUB_HUB_H

#include "base/status.h"

/* done and total in bytes of this pull, those that were there already not counted; fresh: bytes that came over the
 * network. */
typedef void hub_progress_fn(void *cookie, uint64_t done, uint64_t fresh, uint64_t total);

struct hub_options {
    const char *id;        /* "org/name", or "name" (which may be sentence-transformers/name) */
    const char *revision;  /* branch, tag, commit or refs/pr/N; NULL: main */
    const char *subfolder; /* where the model lies in the repository; NULL: at the top */
    const char *platform;  /* whose .rknn files: "rk3588" ..., "cpu": none, and the base model of what has only those */
    const char *cache_dir; /* NULL: as the environment says */
    const char *local_dir; /* plain files here instead of the cache; NULL: the cache */
    const char *token;     /* NULL: HF_TOKEN, then the token file; "": none */
    const char *const *include, *const *exclude; /* patterns; include replaces the choice of files */
    size_t n_include, n_exclude;
    bool all;        /* every file */
    bool force;      /* fetch again what is there */
    bool dry_run;    /* say what would be fetched; writes nothing */
    int32_t retries; /* attempts without progress after the first; negative: 5 */
    rkf_log_fn *log; /* NULL: silent */
    void *log_cookie;
    hub_progress_fn *progress; /* NULL: none */
    void *progress_cookie;
};

struct hub_file {
    char *name;
    int64_t bytes;
    bool cached; /* was there already */
};
struct hub_pulled {
    char *id; /* as found: "all-MiniLM-L6-v2" may be sentence-transformers/all-MiniLM-L6-v2 */
    char *path, *revision;
    char commit[41];
    struct hub_file *files; /* [n_files] in order of names; empty where the hub was not asked */
    uint32_t n_files;
    uint64_t bytes, fetched;
    struct hub_pulled *base; /* the base model of .rknn files that this platform does not run; NULL: none */
};

/* Errors: RKF_INVALID (an id, revision, endpoint or token that cannot be one), RKF_NOT_FOUND (no such model, revision
 * or file; nothing in the cache while offline), RKF_UNSUPPORTED (no weights that rkformer reads: says how to convert),
 * RKF_IO (the hub, the network, the disk), RKF_FORMAT (the hub's answer is broken, or what came is not what was
 * announced). */
rkf_status hub_pull(const struct hub_options *o, struct hub_pulled **out, rkf_error *err) MUST_CHECK;
void hub_pulled_free(struct hub_pulled *p); /* NULL is fine */

#endif
