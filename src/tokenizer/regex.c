/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions of tokenizer files, run by Oniguruma, which is the engine inside `tokenizers`, with its default
 * syntax. A pattern that explodes runs into the retry limit and is reported.
 */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <oniguruma.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { RETRY_LIMIT = 10000000 }; /* Oniguruma's own default for one match; per search, so that long texts end too */

struct regex {
    regex_t *re;
    char what[96]; /* for messages */
};

/* onig_new is not safe in parallel, and the library wants to be initialised once. */
static pthread_mutex_t compile_lock = PTHREAD_MUTEX_INITIALIZER;

static int compile(const char *p, size_t len, regex_t **re, OnigErrorInfo *info)
{
    pthread_mutex_lock(&compile_lock);
    OnigEncoding use[] = { ONIG_ENCODING_UTF8 };
    int r = onig_initialize(use, 1);
    if (r == ONIG_NORMAL)
        r = onig_new(re, (const UChar *)p, (const UChar *)p + len, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                     OnigDefaultSyntax, info);
    pthread_mutex_unlock(&compile_lock);
    return r;
}

/* Every character of s as itself: what is not a letter, digit or beyond ASCII gets a backslash. */
static char *escape(const char *s, size_t len, size_t *n)
{
    char *out = mem_array(len, 2);
    *n = 0;
    for (size_t i = 0; out && i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain = c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c < ' ';
        if (!plain)
            out[(*n)++] = '\\';
        out[(*n)++] = s[i];
    }
    return out;
}

rkf_status regex_compile(const char *pattern, size_t len, bool literal, const char *what, struct regex **out,
                         rkf_error *err)
{
    char quoted[160];
    char *escaped = NULL;
    struct regex *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return rkf_fail_memory(err, sizeof *r, "a regular expression");
    snprintf(r->what, sizeof r->what, "%s", what);
    if (literal && !(escaped = escape(pattern, len, &len))) {
        mem_free(r);
        return rkf_fail_memory(err, 2 * len, "a regular expression");
    }
    OnigErrorInfo info;
    int code = compile(escaped ? escaped : pattern, len, &r->re, &info);
    if (code != ONIG_NORMAL) {
        UChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, code, &info);
        rkf_fail(err, code == ONIGERR_MEMORY ? RKF_NO_MEMORY : RKF_FORMAT, "%s: bad regular expression '%s': %s", what,
                 rkf_quote(quoted, sizeof quoted, escaped ? escaped : pattern, len), (const char *)message);
        mem_free(escaped);
        mem_free(r);
        return code == ONIGERR_MEMORY ? RKF_NO_MEMORY : RKF_FORMAT;
    }
    mem_free(escaped);
    *out = r;
    return RKF_OK;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    onig_free(r->re);
    mem_free(r);
}

static rkf_status search_failed(const struct regex *r, int code, rkf_error *err)
{
    if (code == ONIGERR_MEMORY)
        return rkf_fail(err, RKF_NO_MEMORY, "out of memory in a regular expression");
    UChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
    onig_error_code_to_str(message, code);
    return rkf_fail(err, RKF_FORMAT, "%s: its regular expression gives up on this text (%s)", r->what,
                    (const char *)message);
}

/* An empty match just after a match does not count; the search goes on a character further. */
rkf_status regex_each(const struct regex *r, const char *s, size_t n, void (*match)(void *arg, size_t b, size_t e),
                      void *arg, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    const UChar *p = (const UChar *)s;
    OnigRegion *region = onig_region_new();
    OnigMatchParam *param = onig_new_match_param();
    if (!region || !param) {
        rc = rkf_fail_memory(err, 256, "a regular expression");
        goto end;
    }
    onig_initialize_match_param(param);
    onig_set_retry_limit_in_match_of_match_param(param, RETRY_LIMIT);
    onig_set_retry_limit_in_search_of_match_param(param, RETRY_LIMIT);
    size_t at = 0, last = SIZE_MAX;
    while (at <= n && n) {
        int code = onig_search_with_param(r->re, p, p + n, p + at, p + n, region, ONIG_OPTION_NONE, param);
        if (code == ONIG_MISMATCH)
            break;
        if (code < 0) {
            rc = search_failed(r, code, err);
            goto end;
        }
        size_t b = (size_t)region->beg[0], e = (size_t)region->end[0];
        if (b == e && e == last) {
            at += at < n ? utf8_width(s[at]) : 1;
            continue;
        }
        match(arg, b, e);
        at = last = e;
    }
end:
    if (region)
        onig_region_free(region, 1);
    if (param)
        onig_free_match_param(param);
    return rc;
}
