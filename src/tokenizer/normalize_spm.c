/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Precompiled: the character map of SentencePiece. It is a base64 string of
 *
 *     u32 bytes of the array | u32 array[] | replacements, each ended by a NUL
 *
 * The array is a double array over UTF-8 bytes whose leaves are offsets of replacements. As in `tokenizers`, grapheme
 * clusters of less than six bytes are replaced as a whole, by the replacement of their shortest known beginning; all
 * other characters one by one.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

#include <string.h>

struct charsmap {
    uint32_t *units;
    uint32_t n_units;
    char *texts; /* ends with a NUL */
    size_t n_texts;
    bool plain[128]; /* an ASCII character that stays what it is */
};

/* ---- loading */

static int sextet(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Standard alphabet, padded. out has room for len / 4 * 3 bytes. */
static bool decode_base64(const char *s, size_t len, uint8_t *out, size_t *n)
{
    size_t pad = len && s[len - 1] == '=' ? 1 + (len > 1 && s[len - 2] == '=') : 0;
    *n = 0;
    if (len % 4)
        return false;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int x = i + k >= len - pad ? 0 : sextet((unsigned char)s[i + k]);
            if (x < 0)
                return false;
            v = v << 6 | (uint32_t)x;
        }
        size_t bytes = i + 4 == len ? 3 - pad : 3;
        for (size_t k = 0; k < bytes; k++)
            out[(*n)++] = (uint8_t)(v >> (16 - 8 * k));
    }
    return true;
}

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    mem_free(m->units);
    mem_free(m->texts);
    mem_free(m);
}

static const char *lookup(const struct charsmap *m, const char *p, size_t n, size_t *len);

static rkf_status cut_blob(struct charsmap *m, const uint8_t *blob, size_t n, rkf_error *err)
{
    static const char what[] = "tokenizer.json: precompiled_charsmap";
    uint32_t bytes;
    if (n < 4)
        return rkf_fail(err, RKF_FORMAT, "%s is too short", what);
    memcpy(&bytes, blob, 4); /* little endian, as every machine this runs on */
    m->n_units = bytes / 4;
    if (!m->n_units || (size_t)m->n_units * 4 > n - 4)
        return rkf_fail(err, RKF_FORMAT, "%s says its array has %u bytes, but there are %zu", what, bytes, n - 4);
    m->n_texts = n - 4 - (size_t)m->n_units * 4;
    m->units = mem_array(m->n_units, 4);
    m->texts = mem_strndup((const char *)blob + 4 + (size_t)m->n_units * 4, m->n_texts);
    if (!m->units || !m->texts)
        return rkf_fail_memory(err, n, what);
    memcpy(m->units, blob + 4, (size_t)m->n_units * 4);
    if (utf8_valid_prefix(m->texts, m->n_texts) != m->n_texts)
        return rkf_fail(err, RKF_FORMAT, "%s: its replacements are not UTF-8", what);
    for (int c = 0; c < 128; c++) {
        size_t len;
        m->plain[c] = c != '\r' && !lookup(m, (char[]){ (char)c }, 1, &len);
    }
    return RKF_OK;
}

rkf_status charsmap_create(const char *base64, size_t len, struct charsmap **out, rkf_error *err)
{
    size_t n;
    struct charsmap *m = mem_zalloc(1, sizeof *m);
    uint8_t *blob = mem_alloc(len / 4 * 3 + 3);
    rkf_status rc;
    if (!m || !blob)
        rc = rkf_fail_memory(err, len, "precompiled_charsmap");
    else if (!decode_base64(base64, len, blob, &n))
        rc = rkf_fail(err, RKF_FORMAT, "tokenizer.json: precompiled_charsmap is not base64");
    else
        rc = cut_blob(m, blob, n, err);
    mem_free(blob);
    if (rc)
        charsmap_free(m);
    else
        *out = m;
    return rc;
}

/* ---- looking up */

/* The replacement of the shortest prefix of p[0..n) that has one; NULL: none. */
static const char *lookup(const struct charsmap *m, const char *p, size_t n, size_t *len)
{
    uint32_t unit = m->units[0], at = 0;
    at ^= (unit >> 10) << ((unit & 1u << 9) >> 6);
    for (size_t i = 0; i < n && p[i]; i++) {
        at ^= (unsigned char)p[i];
        if (at >= m->n_units)
            return NULL;
        unit = m->units[at];
        if ((unit & (1u << 31 | 0xff)) != (unsigned char)p[i])
            return NULL;
        at ^= (unit >> 10) << ((unit & 1u << 9) >> 6);
        if (!(unit >> 8 & 1))
            continue;
        size_t begin = at < m->n_units ? m->units[at] & 0x7fffffffu : SIZE_MAX;
        if (begin >= m->n_texts || ((unsigned char)m->texts[begin] & 0xc0) == 0x80)
            return NULL; /* a broken map */
        *len = strlen(m->texts + begin);
        return m->texts + begin;
    }
    return NULL;
}

/* ---- grapheme clusters. Only those of less than six bytes matter, so that rules about flags and Indic conjuncts,
 * whose clusters are longer, are not needed. */

static int hangul(uint32_t cp) /* 1: L, 2: V, 3: T, 4: LV, 5: LVT */
{
    if (cp - HANGUL_S < HANGUL_NS)
        return (cp - HANGUL_S) % HANGUL_NT ? 5 : 4;
    if ((cp >= 0x1100 && cp <= 0x115f) || (cp >= 0xa960 && cp <= 0xa97c))
        return 1;
    if ((cp >= 0x1160 && cp <= 0x11a7) || (cp >= 0xd7b0 && cp <= 0xd7c6))
        return 2;
    return (cp >= 0x11a8 && cp <= 0x11ff) || (cp >= 0xd7cb && cp <= 0xd7fb) ? 3 : 0;
}

static bool hangul_joins(uint32_t a, uint32_t b)
{
    int x = hangul(a), y = hangul(b);
    return (x == 1 && (y == 1 || y == 2 || y >= 4)) || ((x == 2 || x == 4) && (y == 2 || y == 3)) ||
           ((x == 3 || x == 5) && y == 3);
}

static size_t cluster_end(const char *p, size_t n, size_t at)
{
    enum { ZWJ = 0x200d };
    uint32_t w, cp = utf8_next(p + at, &w), flags = unicode_flags(cp);
    size_t end = at + w;
    bool picture = flags & UNI_PICTURE;
    if (cp == '\r' && end < n && p[end] == '\n')
        return end + 1;
    while (end < n && !(flags & UNI_BREAKS)) {
        uint32_t next = utf8_next(p + end, &w), next_flags = unicode_flags(next);
        bool joins = (next_flags & UNI_JOINS) || ((flags & UNI_PREPENDS) && !(next_flags & UNI_BREAKS)) ||
                     (cp == ZWJ && picture && (next_flags & UNI_PICTURE)) || hangul_joins(cp, next);
        if (!joins)
            break;
        picture = (next_flags & UNI_PICTURE) || (picture && (next_flags & UNI_JOINS));
        cp = next;
        flags = next_flags;
        end += w;
    }
    return end;
}

/* ---- rewriting, with origins as in normalize_form.c: characters are replaced one by one; if there are more new than
 * old ones, the rest is new; if there are fewer, the last character of the output uses up the rest, even one that is
 * not of this replacement; without any output yet the rest is forgotten, and all that follows takes the origins before
 * its own. */

struct rewriter {
    struct writer w;
    uint32_t cp; /* the last character, whose change may still grow */
    int32_t change;
    bool has;
};

static inline void flush(struct rewriter *r)
{
    if (r->has)
        writer_put(&r->w, r->cp, r->change);
    r->has = false;
}

static void put_replaced(struct rewriter *r, const char *p, size_t len, size_t old_chars)
{
    size_t k = 0;
    for (uint32_t i = 0, w; i < len; i += w, k++) {
        flush(r);
        r->cp = utf8_next(p + i, &w);
        r->change = k >= old_chars;
        r->has = true;
    }
    if (k < old_chars)
        r->change -= (int32_t)(old_chars - k);
}

static void rewrite(struct rewriter *r, const struct charsmap *m, size_t begin, size_t end)
{
    const char *p = r->w.in->p, *to;
    size_t len;
    if (end - begin < 6 && (to = lookup(m, p + begin, end - begin, &len))) {
        put_replaced(r, to, len, utf8_count(p + begin, end - begin));
        return;
    }
    for (size_t i = begin; i < end;) {
        uint32_t w = utf8_width(p[i]);
        to = lookup(m, p + i, w, &len);
        put_replaced(r, to ? to : p + i, to ? len : w, 1);
        i += w;
    }
}

void normalize_precompiled(const struct charsmap *m, const struct text *in, struct text *out)
{
    struct rewriter r = { .w = { in, out, 0 } };
    for (size_t i = 0; i < in->n;) {
        size_t j = i;
        while (j < in->n && (unsigned char)in->p[j] < 0x80 && m->plain[(unsigned char)in->p[j]])
            j++;
        if (j < in->n && j > i)
            j--; /* it may be joined by what follows, or have to use up what follows */
        if (j > i) {
            flush(&r);
            if (r.w.at == i || !in->track) {
                text_copy(out, in, i, j);
                r.w.at = i = j;
                continue;
            }
        }
        j = cluster_end(in->p, in->n, i);
        rewrite(&r, m, i, j);
        i = j;
    }
    flush(&r);
}
