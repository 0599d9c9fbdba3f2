/* SPDX-License-Identifier: Apache-2.0 */
/* Hub id -> directory in the Hugging Face cache, without the network. */
#include "base/hf_cache.h"
#include "model/model.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

bool model_cache_dir(char *out, size_t cap)
{
    return hf_cache_dir(out, cap);
}

rkf_status model_locate(const char *id_or_path, const char *revision, char *out, size_t cap, rkf_error *err)
{
    char cache[PATH_MAX], found[PATH_MAX], full[256], repo[300], path[PATH_MAX], q[128];
    /* a name alone is looked up among sentence-transformers' own models too, as that library does */
    static const char *const prefixes[] = { "", "sentence-transformers/" };
    const char *rev = revision && *revision ? revision : "main";
    rkf_quote(q, sizeof q, id_or_path, strlen(id_or_path));
    if (path_is_dir(id_or_path) || path_is_file(id_or_path)) {
        if ((size_t)snprintf(out, cap, "%s", id_or_path) >= cap)
            return rkf_fail(err, RKF_INVALID, "path too long: %s...", q);
        return RKF_OK;
    }
    if (!hf_id_valid(id_or_path))
        return rkf_fail(err, RKF_NOT_FOUND, "there is no model directory %s", q);
    if (!hf_revision_valid(rev))
        return rkf_fail(err, RKF_INVALID, "'%s' cannot be a revision", rkf_quote(q, sizeof q, rev, strlen(rev)));
    if (!hf_cache_dir(cache, sizeof cache))
        return rkf_fail(err, RKF_NOT_FOUND,
                        "there is no directory %s, and no Hugging Face cache to look it up in: set HF_HOME", q);
    bool have_repo = false;
    for (size_t i = 0; i < (strchr(id_or_path, '/') ? 1 : 2); i++) {
        snprintf(full, sizeof full, "%s%s", prefixes[i], id_or_path);
        if (!hf_repo_folder(full, repo, sizeof repo) || !path_join(path, sizeof path, cache, repo) ||
            !path_is_dir(path))
            continue;
        have_repo = true;
        if (hf_snapshot(cache, full, rev, found, sizeof found) && strlen(found) < cap) {
            strcpy(out, found);
            return RKF_OK;
        }
    }
    if (have_repo)
        return rkf_fail(err, RKF_NOT_FOUND,
                        "%s is in the Hugging Face cache %s, but not its revision %s: rkformer "
                        "pull %s --revision %s fetches it",
                        q, cache, rev, q, rev);
    return rkf_fail(err, RKF_NOT_FOUND,
                    "%s is neither a directory nor a model in the Hugging Face cache %s: rkformer pull %s fetches it",
                    q, cache, q);
}
