/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts about code points as the `tokenizers` library sees them. It mixes several Unicode versions (its crates are of
 * different ages), so every fact has its own origin; the tables in unicode_data.c are probed from its behaviour.
 */
#ifndef RKF_TOKENIZER_UNICODE_H
#define RKF_TOKENIZER_UNICODE_H

#include "tokenizer/unicode_data.h"

#include <stdbool.h>
#include <stddef.h>

/* Order as in tools/make_unicode_tables.py. */
enum unicode_flag {
    UNI_CONTROL = 1 << 0,    /* BertNormalizer's clean_text removes it */
    UNI_SPACE = 1 << 1,      /* Rust's char::is_whitespace, and \s of its regex crate */
    UNI_PUNCT = 1 << 2,      /* Punctuation and BertPreTokenizer */
    UNI_MN = 1 << 3,         /* BertNormalizer's strip_accents removes it */
    UNI_NUMERIC = 1 << 4,    /* Digits */
    UNI_MARK = 1 << 5,       /* StripAccents removes it */
    UNI_WORD = 1 << 6,       /* \w of Rust's regex crate: Whitespace, single_word */
    UNI_CJK = 1 << 7,        /* BertNormalizer puts spaces around it */
    UNI_RE_LETTER = 1 << 8,  /* from here on: Oniguruma's classes. \p{L} */
    UNI_RE_NUMBER = 1 << 9,  /* \p{N} */
    UNI_RE_SPACE = 1 << 10,  /* \s */
    UNI_RE_UPPER = 1 << 11,  /* [\p{Lu}\p{Lt}] */
    UNI_RE_LOWER = 1 << 12,  /* \p{Ll} */
    UNI_RE_OTHER = 1 << 13,  /* [\p{Lm}\p{Lo}] */
    UNI_RE_MARK = 1 << 14,   /* \p{M} */
    UNI_RE_PUNCT = 1 << 15,  /* \p{P} */
    UNI_RE_SYMBOL = 1 << 16, /* \p{S} */
    UNI_RE_WORD = 1 << 17,   /* \w */
    UNI_RE_DIGIT = 1 << 18,  /* \d */
    UNI_JOINS = 1 << 19,     /* grapheme clusters (normalize_spm.c): belongs to what is before it */
    UNI_PREPENDS = 1 << 20,  /* takes in what is after it */
    UNI_BREAKS = 1 << 21,    /* takes in nothing */
    UNI_PICTURE = 1 << 22,   /* joins a picture and a zero-width joiner before it */
};

static inline uint32_t unicode_flags(uint32_t cp)
{
    return unicode_flag_sets[unicode_flags_stage2[(uint32_t)unicode_flags_stage1[cp >> 7] << 7 | (cp & 127)]];
}

/* General category as Oniguruma in `tokenizers` knows it: an index into regex.c's category_names. */
enum { UNICODE_CATEGORIES = 29 };
static inline uint32_t unicode_category(uint32_t cp)
{
    return unicode_flags(cp) >> 23;
}

/* Rank of the canonical combining class; 0: a starter. */
static inline uint8_t unicode_ccc(uint32_t cp)
{
    return unicode_ccc_stage2[(uint32_t)unicode_ccc_stage1[cp >> 7] << 7 | (cp & 127)];
}

enum { HANGUL_S = 0xac00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11a7 };
enum { HANGUL_NT = 28, HANGUL_NV = 21, HANGUL_NL = 19, HANGUL_NS = 11172 };
enum { UNICODE_MAX_DECOMPOSITION = 18 };

/* Full decomposition of cp (not yet ordered) in out; returns its length, 0 if cp stands for itself. */
static inline uint32_t unicode_decompose(uint32_t cp, bool compatible, uint32_t out[UNICODE_MAX_DECOMPOSITION])
{
    if (cp < 0xa0)
        return 0;
    if (cp - HANGUL_S < HANGUL_NS) {
        uint32_t s = cp - HANGUL_S, t = s % HANGUL_NT;
        out[0] = HANGUL_L + s / (HANGUL_NV * HANGUL_NT);
        out[1] = HANGUL_V + s % (HANGUL_NV * HANGUL_NT) / HANGUL_NT;
        out[2] = HANGUL_T + t;
        return t ? 3 : 2;
    }
    uint32_t at = compatible ? unicode_nfkd_stage2[(uint32_t)unicode_nfkd_stage1[cp >> 6] << 6 | (cp & 63)]
                             : unicode_nfd_stage2[(uint32_t)unicode_nfd_stage1[cp >> 6] << 6 | (cp & 63)];
    if (!at)
        return 0;
    uint32_t n = unicode_pool[at];
    for (uint32_t i = 0; i < n; i++)
        out[i] = unicode_pool[at + 1 + i];
    return n;
}

/* The character that a and b compose to; 0: none. */
uint32_t unicode_compose(uint32_t a, uint32_t b);

/* Lower case of cp, without context. Only U+0130 becomes two: 'i' and U+0307. */
static inline uint32_t unicode_lower(uint32_t cp)
{
    uint32_t at = unicode_lower_stage2[(uint32_t)unicode_lower_stage1[cp >> 6] << 6 | (cp & 63)];
    return cp + (uint32_t)unicode_lower_delta[at];
}

/* Code point at s of valid UTF-8; *n: its bytes. */
static inline uint32_t utf8_next(const char *str, uint32_t *n)
{
    const unsigned char *s = (const unsigned char *)str;
    if (s[0] < 0x80) {
        *n = 1;
        return s[0];
    }
    if (s[0] < 0xe0) {
        *n = 2;
        return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    }
    if (s[0] < 0xf0) {
        *n = 3;
        return (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    }
    *n = 4;
    return (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

/* Bytes of the character whose first byte is c. */
static inline uint32_t utf8_width(char c)
{
    unsigned char u = (unsigned char)c;
    return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

/* Code point that ends just before s + at (at > 0); *n: its bytes. */
static inline uint32_t utf8_previous(const char *s, size_t at, uint32_t *n)
{
    size_t i = at - 1;
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80)
        i--;
    return utf8_next(s + i, n);
}

#endif
