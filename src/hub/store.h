/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where files go: the Hugging Face cache (base/hf_cache.h), or a plain directory as huggingface_hub's local_dir:
 *
 *   cache   blobs/ETAG.incomplete -> blobs/ETAG, snapshots/COMMIT/NAME is a relative link to it
 *   local   DIR/.cache/huggingface/download/NAME.ETAG.incomplete -> DIR/NAME, and NAME.metadata beside the former:
 *           commit, etag and time, which say what DIR/NAME is without reading it
 *
 * Where links are not possible a snapshot holds the files themselves.
 */
#ifndef RKF_HUB_STORE_H
#define RKF_HUB_STORE_H

#include "hub/listing.h"

#include <limits.h>

struct store {
    char cache[PATH_MAX];
    char folder[256];     /* "models--org--name" */
    char local[PATH_MAX]; /* "" the cache */
    char commit[41];
    bool no_links;
};
struct place {
    char target[PATH_MAX]; /* where the content lies in the end */
    char part[PATH_MAX];   /* while it is fetched */
    char lock[PATH_MAX];
    char link[PATH_MAX]; /* in the snapshot; "" in a plain directory */
    char blob[PATH_MAX]; /* in the cache, also of a plain directory: may be copied */
};

rkf_status store_root(const struct store *s, char *out, size_t cap, rkf_error *err) MUST_CHECK; /* what a pull is for */
rkf_status store_place(const struct store *s, const struct hub_entry *e, struct place *out, rkf_error *err) MUST_CHECK;
/* The file is there, of the right length (in a plain directory: and of the right content). Its path goes to path. */
bool store_has(const struct store *s, const struct hub_entry *e, char path[PATH_MAX]);
/* The folders of a place. */
rkf_status store_prepare(const struct place *p, rkf_error *err) MUST_CHECK;
/* flock; waits for who holds it after telling. A file system without locks is no error: *fd is -1 then. */
rkf_status store_lock(const char *path, const char *name, rkf_log_fn *log, void *cookie, int *fd,
                      rkf_error *err) MUST_CHECK;
void store_unlock(int fd);
/* Puts what is complete in its place, if it is not there yet: renames the part or copies from the cache, then links. */
bool store_have_content(const struct place *p, const struct hub_entry *e); /* target or blob is there already */
rkf_status store_keep(const struct store *s, const struct place *p, const struct hub_entry *e, bool fresh,
                      rkf_error *err) MUST_CHECK;
/* refs/REVISION holds the commit from now on. Nothing to do for a commit or in a plain directory. */
rkf_status store_ref(const struct store *s, const char *revision, rkf_error *err) MUST_CHECK;
/* There is room for so many more bytes. */
rkf_status store_room(const struct store *s, uint64_t bytes, rkf_error *err) MUST_CHECK;

/* The etag's hash over a file's content: sha256 (64 digits) or git's sha1 (40). False: the etag is neither. */
struct sha;
bool store_hash_begin(struct sha *s, const struct hub_entry *e);

#endif
