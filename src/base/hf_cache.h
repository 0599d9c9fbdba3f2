/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Hugging Face cache on disk, as huggingface_hub lays it out:
 *
 *   CACHE/models--ORG--NAME/refs/REVISION        holds the commit
 *   CACHE/models--ORG--NAME/snapshots/COMMIT/    the files, links into blobs
 *   CACHE/models--ORG--NAME/blobs/ETAG           their content
 *   CACHE/.locks/models--ORG--NAME/ETAG.lock     flock while a blob is made
 *
 * Names and look-ups only: no network, nothing is written. Who puts files there is src/hub.
 */
#ifndef RKF_BASE_HF_CACHE_H
#define RKF_BASE_HF_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* CACHE: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
 * ~/.cache/huggingface/hub: the first that is set; a leading "~/" is $HOME. False: none, or too long. It need not
 * exist. */
bool hf_cache_dir(char *out, size_t cap);
/* $HF_HOME, $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface. */
bool hf_home_dir(char *out, size_t cap);

bool hf_id_valid(const char *id);             /* "name" or "org/name" of the characters that the hub allows */
bool hf_revision_valid(const char *revision); /* a branch, tag, commit or refs/pr/N that cannot lead elsewhere */
bool hf_commit_valid(const char *commit);     /* 40 hexadecimal digits */

/* "models--org--name"; false if it does not fit. id must be valid. */
bool hf_repo_folder(const char *id, char *out, size_t cap);
/* The directory of a revision's snapshot; false if it is not there. */
bool hf_snapshot(const char *cache, const char *id, const char *revision, char *out, size_t cap);

#endif
