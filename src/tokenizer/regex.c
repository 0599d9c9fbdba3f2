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

/* ---- general categories are written out as ranges: the Oniguruma of the system knows another Unicode version than the
 * one in `tokenizers`, ours are from there */

/* Order as in tools/make_unicode_tables.py. */
static const char *const category_names[UNICODE_CATEGORIES] = {
    "cn", "lu", "ll", "lt", "lm", "lo", "mn", "mc", "me", "nd", "nl", "no", "pc", "pd", "ps",
    "pe", "pi", "pf", "po", "sm", "sc", "sk", "so", "zs", "zl", "zp", "cc", "cf", "co",
};
static const char *const group_names[][2] = {
    { "letter", "l" }, { "mark", "m" },      { "number", "n" }, { "punctuation", "p" },
    { "symbol", "s" }, { "separator", "z" }, { "other", "c" },
};

/* Set of categories (bits) for a property name such as L, Lu or Letter; 0: not a general category. */
static uint32_t category_set(const char *name, size_t len)
{
    char low[16];
    uint32_t set = 0;
    if (!len || len >= sizeof low)
        return 0;
    for (size_t i = 0; i < len; i++)
        low[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    low[len] = 0;
    for (size_t i = 0; i < sizeof group_names / sizeof *group_names; i++)
        if (!strcmp(low, group_names[i][0]))
            strcpy(low, group_names[i][1]);
    for (uint32_t i = 0; i < UNICODE_CATEGORIES; i++)
        if (!strcmp(low, category_names[i]) || (!low[1] && low[0] == category_names[i][0]))
            set |= 1u << i;
    return set;
}

static void put_ranges(struct buf *b, uint32_t set, bool negative)
{
    uint32_t begin = UINT32_MAX;
    buf_puts(b, negative ? "[^" : "[");
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        bool in = cp < 0x110000 && (cp < 0xd800 || cp > 0xdfff) && (set >> unicode_category(cp) & 1);
        if (in && begin == UINT32_MAX) {
            begin = cp;
        } else if (!in && begin != UINT32_MAX) {
            buf_printf(b, "\\x{%x}-\\x{%x}", begin, cp - 1);
            begin = UINT32_MAX;
        }
    }
    buf_putc(b, ']');
}

/* pattern with \p{..} of categories written out. */
static rkf_status write_out(const char *p, size_t len, struct buf *out, rkf_error *err)
{
    for (size_t i = 0; i < len;) {
        if (p[i] != '\\' || i + 1 == len) {
            buf_putc(out, p[i++]);
            continue;
        }
        const char *end = i + 3 < len && p[i + 2] == '{' ? memchr(p + i + 3, '}', len - i - 3) : NULL;
        bool property = end && (p[i + 1] == 'p' || p[i + 1] == 'P'), negative = p[i + 1] == 'P';
        size_t name = i + 3;
        if (property && p[name] == '^') {
            negative = !negative;
            name++;
        }
        uint32_t set = property ? category_set(p + name, (size_t)(end - p) - name) : 0;
        if (set) {
            put_ranges(out, set, negative);
            i = (size_t)(end - p) + 1;
        } else {
            buf_append(out, p + i, 2);
            i += 2;
        }
    }
    if (!out->failed)
        return RKF_OK;
    if (out->max - out->len > 64)
        return rkf_fail_memory(err, out->len, "a regular expression");
    return rkf_fail(err, RKF_FORMAT, "a regular expression is too long once its classes are written out");
}

/* Every character of s as itself: what is not a letter, digit or beyond ASCII gets a backslash. */
static rkf_status escape(const char *s, size_t len, struct buf *out, rkf_error *err)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        bool plain = c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c < ' ';
        if (!plain)
            buf_putc(out, '\\');
        buf_putc(out, s[i]);
    }
    return out->failed ? rkf_fail_memory(err, 2 * len, "a regular expression") : RKF_OK;
}

rkf_status regex_compile(const char *pattern, size_t len, bool literal, const char *what, struct regex **out,
                         rkf_error *err)
{
    enum { MAX_PATTERN = 4 << 20 };
    char quoted[160];
    struct buf text;
    OnigErrorInfo info;
    struct regex *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return rkf_fail_memory(err, sizeof *r, "a regular expression");
    snprintf(r->what, sizeof r->what, "%s", what);
    buf_init(&text, MAX_PATTERN);
    rkf_status rc = literal ? escape(pattern, len, &text, err) : write_out(pattern, len, &text, err);
    if (!rc) {
        int code = compile(text.p ? text.p : "", text.len, &r->re, &info);
        if (code != ONIG_NORMAL) {
            UChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
            onig_error_code_to_str(message, code, &info);
            rc = rkf_fail(err, code == ONIGERR_MEMORY ? RKF_NO_MEMORY : RKF_FORMAT,
                          "%s: bad regular expression '%s': %s", what, rkf_quote(quoted, sizeof quoted, pattern, len),
                          (const char *)message);
        }
    }
    buf_free(&text);
    if (rc)
        mem_free(r);
    else
        *out = r;
    return rc;
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
