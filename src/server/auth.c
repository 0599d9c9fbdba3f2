/* SPDX-License-Identifier: Apache-2.0 */
#include "server/auth.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>
#include <strings.h>

enum { KEY_FILE_MAX = 1 << 20, KEY_MAX = 4096 };

rkf_status keys_add(struct keys *k, const char *key, rkf_error *err)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return rkf_fail(err, RKF_INVALID,
                            "an API key has a character that headers cannot carry: use letters, digits and signs");
    if (!len || len > KEY_MAX)
        return rkf_fail(err, RKF_INVALID, "an API key is %s: use 1 to %d characters", len ? "too long" : "empty",
                        KEY_MAX);
    char **p = mem_grow(k->p, k->n + 1, sizeof *p);
    if (!p)
        return rkf_fail_memory(err, sizeof *p, "API keys");
    k->p = p;
    if (!(p[k->n] = mem_strdup(key)))
        return rkf_fail_memory(err, len, "an API key");
    k->n++;
    return RKF_OK;
}

rkf_status keys_load(struct keys *k, const char *path, rkf_error *err)
{
    char *text = NULL, *save = NULL;
    size_t len, before = k->n;
    rkf_status rc = file_read(path, KEY_FILE_MAX, &text, &len, err);
    if (rc)
        return rc;
    for (char *line = strtok_r(text, "\r\n", &save); line && !rc; line = strtok_r(NULL, "\r\n", &save)) {
        line += strspn(line, " \t");
        line[strcspn(line, " \t")] = 0;
        if (*line && *line != '#')
            rc = keys_add(k, line, err);
    }
    mem_free(text);
    if (!rc && k->n == before)
        rc = rkf_fail(err, RKF_INVALID, "%s holds no API key: write one per line", path);
    return rc;
}

void keys_free(struct keys *k)
{
    for (size_t i = 0; i < k->n; i++)
        mem_free(k->p[i]);
    mem_free(k->p);
    *k = (struct keys){ 0 };
}

/* All of the candidate's bytes against all of the key's, whatever their lengths. */
static unsigned differs(const char *key, const char *given, size_t given_len)
{
    size_t len = strlen(key);
    volatile unsigned diff = (unsigned)(len ^ given_len) | (unsigned)((len ^ given_len) >> 32);
    for (size_t i = 0; i < given_len; i++)
        diff |= (unsigned char)(given[i] ^ key[i % len]);
    return diff;
}

bool keys_allow(const struct keys *k, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    unsigned found = 0;
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1))
        return false;
    const char *given = authorization + sizeof scheme - 1;
    size_t len = strnlen(given, KEY_MAX + 1);
    for (size_t i = 0; i < k->n; i++)
        found |= !differs(k->p[i], given, len);
    return found && len;
}
