/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hub id -> directory in the Hugging Face cache, without the network:
 *
 *   CACHE/models--ORG--NAME/refs/REVISION        holds the commit
 *   CACHE/models--ORG--NAME/snapshots/COMMIT/    the files
 *
 * CACHE is $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
 * ~/.cache/huggingface/hub: the first that is set.
 */
#include "base/mem.h"
#include "model/model.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool model_cache_dir(char *out, size_t cap)
{
    static const struct {
        const char *variable, *below;
    } places[] = {
        { "HF_HUB_CACHE", "" },
        { "HUGGINGFACE_HUB_CACHE", "" },
        { "HF_HOME", "/hub" },
        { "XDG_CACHE_HOME", "/huggingface/hub" },
        { "HOME", "/.cache/huggingface/hub" },
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *v = getenv(places[i].variable);
        if (v && *v)
            return (size_t)snprintf(out, cap, "%s%s", v, places[i].below) < cap;
    }
    return false;
}

/* "name" or "org/name", of the characters the hub allows. */
static bool is_hub_id(const char *id)
{
    int slashes = 0;
    if (!*id || *id == '/' || *id == '.' || strlen(id) > 200 || id[strlen(id) - 1] == '/' || strstr(id, ".."))
        return false;
    for (const char *p = id; *p; p++) {
        slashes += *p == '/';
        if (!isalnum((unsigned char)*p) && !strchr("-_./", *p))
            return false;
    }
    return slashes <= 1;
}

static bool is_revision(const char *r)
{
    for (const char *p = r; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_./+", *p))
            return false;
    return *r && *r != '/' && *r != '.' && !strstr(r, "..") && strlen(r) < 200;
}

/* CACHE/models--a--b of id, with "prefix--" before it if prefix is not empty. */
static bool repo_dir(const char *cache, const char *prefix, const char *id, char *out, size_t cap)
{
    size_t used = (size_t)snprintf(out, cap, "%s/models--%s", cache, prefix);
    for (const char *p = id; *p && used + 2 < cap; p++)
        if (*p == '/') {
            out[used++] = '-';
            out[used++] = '-';
        } else {
            out[used++] = *p;
        }
    if (used + 2 >= cap)
        return false;
    out[used] = 0;
    return path_is_dir(out);
}

static bool snapshot(const char *repo, const char *revision, char *out, size_t cap)
{
    char path[PATH_MAX], commit[128] = "";
    char *text;
    size_t len;
    if ((size_t)snprintf(path, sizeof path, "%s/refs/%s", repo, revision) >= sizeof path)
        return false;
    if (!file_read(path, sizeof commit - 1, &text, &len, NULL)) {
        snprintf(commit, sizeof commit, "%.*s", (int)strcspn(text, " \r\n\t"), text);
        mem_free(text);
        if (strchr(commit, '/') || !is_revision(commit))
            return false;
    }
    int n = snprintf(out, cap, "%s/snapshots/%s", repo, *commit ? commit : revision);
    return n >= 0 && (size_t)n < cap && path_is_dir(out);
}

rkf_status model_locate(const char *id_or_path, const char *revision, char *out, size_t cap, rkf_error *err)
{
    char cache[PATH_MAX], repo[PATH_MAX + 256], found[PATH_MAX + 512], q[128];
    /* a name alone is looked up among sentence-transformers' own models too, as that library does */
    static const char *const prefixes[] = { "", "sentence-transformers--" };
    const char *rev = revision && *revision ? revision : "main";
    rkf_quote(q, sizeof q, id_or_path, strlen(id_or_path));
    if (path_is_dir(id_or_path) || path_is_file(id_or_path)) {
        if ((size_t)snprintf(out, cap, "%s", id_or_path) >= cap)
            return rkf_fail(err, RKF_INVALID, "path too long: %s...", q);
        return RKF_OK;
    }
    if (!is_hub_id(id_or_path))
        return rkf_fail(err, RKF_NOT_FOUND, "there is no model directory %s", q);
    if (!is_revision(rev))
        return rkf_fail(err, RKF_INVALID, "'%s' cannot be a revision", rkf_quote(q, sizeof q, rev, strlen(rev)));
    if (!model_cache_dir(cache, sizeof cache))
        return rkf_fail(err, RKF_NOT_FOUND,
                        "there is no directory %s, and no Hugging Face cache to look it up in: set HF_HOME", q);
    bool have_repo = false;
    for (size_t i = 0; i < (strchr(id_or_path, '/') ? 1 : 2); i++) {
        if (!repo_dir(cache, prefixes[i], id_or_path, repo, sizeof repo))
            continue;
        have_repo = true;
        if (snapshot(repo, rev, found, sizeof found) && strlen(found) < cap) {
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
                    "%s is neither a directory nor a model in the Hugging Face cache %s: fetch it (huggingface-cli "
                    "download %s) or name a directory",
                    q, cache, q);
}
