/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/settings.h"
#include "base/file.h"
#include "base/hf_cache.h"
#include "base/mem.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *first_set(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return v;
    }
    return NULL;
}

static bool is_true(const char *name)
{
    static const char *const words[] = { "1", "on", "yes", "true" };
    const char *v = getenv(name);
    for (size_t i = 0; v && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(v, words[i]))
            return true;
    return false;
}

/* Without blanks and line ends around it. */
static rkf_status set_token(const char *from, const char *where, char *out, rkf_error *err)
{
    while (isspace((unsigned char)*from))
        from++;
    size_t n = strlen(from);
    while (n && isspace((unsigned char)from[n - 1]))
        n--;
    if (n >= HUB_TOKEN_MAX)
        return rkf_fail(err, RKF_INVALID, "the token of %s is too long to be one", where);
    snprintf(out, HUB_TOKEN_MAX, "%.*s", (int)n, from);
    return RKF_OK;
}

static rkf_status find_token(char *out, rkf_error *err)
{
    static const char *const names[] = { "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN" };
    char home[PATH_MAX], path[PATH_MAX];
    const char *token = first_set(names, 2), *file = getenv("HF_TOKEN_PATH");
    char *text;
    size_t len;
    if (token)
        return set_token(token, "HF_TOKEN", out, err);
    if (!file || !*file) {
        if (!hf_home_dir(home, sizeof home) || !path_join(path, sizeof path, home, "token"))
            return RKF_OK;
        file = path;
    }
    if (file_read(file, 2 * HUB_TOKEN_MAX, &text, &len, NULL)) /* not logged in */
        return RKF_OK;
    rkf_status rc = set_token(text, file, out, err);
    mem_free(text);
    return rc;
}

rkf_status hub_settings_read(const char *token, struct hub_settings *out, rkf_error *err)
{
    struct hub_settings s = { .timeout_s = 10 };
    const char *endpoint = getenv("HF_ENDPOINT"), *timeout = getenv("HF_HUB_DOWNLOAD_TIMEOUT");
    rkf_status rc = RKF_OK;
    if (!endpoint || !*endpoint)
        endpoint = "https://huggingface.co";
    size_t n = strlen(endpoint);
    while (n && endpoint[n - 1] == '/')
        n--;
    if (n >= sizeof s.endpoint)
        return rkf_fail(err, RKF_INVALID, "HF_ENDPOINT is too long to be an address");
    snprintf(s.endpoint, sizeof s.endpoint, "%.*s", (int)n, endpoint);
    if (timeout && *timeout) {
        char *end;
        double seconds = strtod(timeout, &end);
        if (*end || !(seconds > 0) || seconds > 86400)
            return rkf_fail(err, RKF_INVALID, "HF_HUB_DOWNLOAD_TIMEOUT must be a number of seconds, such as 10");
        s.timeout_s = seconds < 1 ? 1 : (int32_t)seconds;
    }
    if (token)
        rc = set_token(token, "--token", s.token, err);
    else if (!is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        rc = find_token(s.token, err);
    if (rc)
        return rc;
    s.offline = is_true("HF_HUB_OFFLINE") || is_true("TRANSFORMERS_OFFLINE");
    s.no_links = is_true("HF_HUB_DISABLE_SYMLINKS");
    *out = s;
    return RKF_OK;
}
