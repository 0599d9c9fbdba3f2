/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hf_cache.h"
#include "base/file.h"
#include "base/mem.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place {
    const char *variable, *below;
};

static bool first_set(const struct place *places, size_t n, char *out, size_t cap)
{
    for (size_t i = 0; i < n; i++) {
        const char *v = getenv(places[i].variable), *home = getenv("HOME");
        if (!v || !*v)
            continue;
        bool tilde = !strncmp(v, "~/", 2) && home;
        return (size_t)snprintf(out, cap, "%s%s%s", tilde ? home : "", tilde ? v + 1 : v, places[i].below) < cap;
    }
    return false;
}

bool hf_cache_dir(char *out, size_t cap)
{
    static const struct place places[] = {
        { "HF_HUB_CACHE", "" },
        { "HUGGINGFACE_HUB_CACHE", "" },
        { "HF_HOME", "/hub" },
        { "XDG_CACHE_HOME", "/huggingface/hub" },
        { "HOME", "/.cache/huggingface/hub" },
    };
    return first_set(places, sizeof places / sizeof *places, out, cap);
}

bool hf_home_dir(char *out, size_t cap)
{
    static const struct place places[] = {
        { "HF_HOME", "" },
        { "XDG_CACHE_HOME", "/huggingface" },
        { "HOME", "/.cache/huggingface" },
    };
    return first_set(places, sizeof places / sizeof *places, out, cap);
}

bool hf_id_valid(const char *id)
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

bool hf_revision_valid(const char *r)
{
    for (const char *p = r; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_./+", *p))
            return false;
    return *r && *r != '/' && *r != '.' && !strstr(r, "..") && strlen(r) < 200;
}

bool hf_commit_valid(const char *commit)
{
    return strlen(commit) == 40 && strspn(commit, "0123456789abcdef") == 40;
}

bool hf_repo_folder(const char *id, char *out, size_t cap)
{
    const char *slash = strchr(id, '/');
    int n = slash ? snprintf(out, cap, "models--%.*s--%s", (int)(slash - id), id, slash + 1)
                  : snprintf(out, cap, "models--%s", id);
    return n >= 0 && (size_t)n < cap;
}

bool hf_snapshot(const char *cache, const char *id, const char *revision, char *out, size_t cap)
{
    char path[PATH_MAX], repo[256], commit[128] = "";
    char *text;
    size_t len;
    if (!hf_repo_folder(id, repo, sizeof repo) ||
        (size_t)snprintf(path, sizeof path, "%s/%s/refs/%s", cache, repo, revision) >= sizeof path)
        return false;
    if (!file_read(path, sizeof commit - 1, &text, &len, NULL)) {
        snprintf(commit, sizeof commit, "%.*s", (int)strcspn(text, " \r\n\t"), text);
        mem_free(text);
        if (strchr(commit, '/') || !hf_revision_valid(commit))
            return false;
    }
    int n = snprintf(path, sizeof path, "%s/%s/snapshots/%s", cache, repo, *commit ? commit : revision);
    if (n < 0 || (size_t)n >= sizeof path || (size_t)n >= cap || !path_is_dir(path))
        return false;
    memcpy(out, path, (size_t)n + 1);
    return true;
}
