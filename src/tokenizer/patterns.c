/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns known by heart, scanned by hand, and the characters that stand for bytes. */
#include "tokenizer/internal.h"

#include <string.h>

/* ---- byte-level characters: printable bytes of Latin-1 stand for themselves, the others for U+0100 and on, in order
 */

static bool prints_itself(unsigned b)
{
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

uint32_t byte_level_char(uint8_t b)
{
    if (prints_itself(b))
        return b;
    return b <= ' ' ? 0x100u + b : b <= 0xa0 ? 0x121u + (b - 0x7fu) : 0x143u;
}

int byte_level_byte(uint32_t cp)
{
    if (cp < 0x100)
        return prints_itself(cp) ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 0x7f);
    return cp == 0x143 ? 0xad : -1;
}

/* ---- classes of characters for the scanners */

enum { LETTER = UNI_RE_LETTER, NUMBER = UNI_RE_NUMBER, SPACE = UNI_RE_SPACE };

static inline uint32_t class_at(const char *s, size_t n, size_t at, uint32_t *w)
{
    *w = 0;
    return at < n ? unicode_flags(utf8_next(s + at, w)) : 0;
}

static inline size_t run_of(const char *s, size_t n, size_t at, uint32_t flags)
{
    uint32_t w;
    while (class_at(s, n, at, &w) & flags)
        at += w;
    return at;
}

/* Characters that have none of the flags. */
static inline size_t run_not(const char *s, size_t n, size_t at, uint32_t flags)
{
    uint32_t w;
    while (at < n && !(class_at(s, n, at, &w) & flags))
        at += w;
    return at;
}

/* \s+(?!\S)|\s+ : a run of white space leaves its last character to what follows, if it has more than one. */
static size_t spaces(const char *s, size_t n, size_t at)
{
    size_t end = run_of(s, n, at, SPACE);
    uint32_t w;
    if (end == n)
        return end;
    utf8_previous(s, end, &w);
    return end - w > at ? end - w : end;
}

/* 's|'t|'re|'ve|'m|'ll|'d */
static size_t contraction(const char *s, size_t n, size_t at)
{
    if (s[at] != '\'' || n - at < 2)
        return 0;
    char a = s[at + 1], b = n - at > 2 ? s[at + 2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t scan_gpt2(const char *s, size_t n, size_t at)
{
    size_t end = contraction(s, n, at), from = at + (s[at] == ' ' && at + 1 < n);
    uint32_t w;
    if (end)
        return end;
    uint32_t flags = class_at(s, n, from, &w);
    if (flags & LETTER)
        return run_of(s, n, from, LETTER);
    if (flags & NUMBER)
        return run_of(s, n, from, NUMBER);
    if (!(flags & SPACE))
        return run_not(s, n, from, LETTER | NUMBER | SPACE);
    return spaces(s, n, at);
}

scan_fn *scanner_find(const char *pattern, size_t len)
{
    static const struct {
        const char *pattern;
        scan_fn *scan;
    } known[] = {
        { "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].pattern) == len && !memcmp(known[i].pattern, pattern, len))
            return known[i].scan;
    return NULL;
}
