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

/* (?i:'s|'t|'re|'ve|'m|'ll|'d): the end of it, or 0. Without case the long s is an s, too. */
static size_t contraction_any_case(const char *s, size_t n, size_t at)
{
    if (at >= n || s[at] != '\'' || n - at < 2)
        return 0;
    if (n - at >= 3 && !memcmp(s + at + 1, "\xc5\xbf", 2))
        return at + 3;
    char a = (char)(s[at + 1] | 0x20), b = n - at > 2 ? (char)(s[at + 2] | 0x20) : 0;
    if ((unsigned char)a >= 0x80)
        return 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : 0;
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : up to the last newline of the white space, if there is one. */
static size_t spaces_lines(const char *s, size_t n, size_t at)
{
    size_t end = run_of(s, n, at, SPACE);
    for (size_t i = end; i > at; i--)
        if (is_newline(s[i - 1]))
            return i;
    return spaces(s, n, at);
}

/*  ?[^\s\p{L}\p{N}]+[\r\n]* and, with slash, [\r\n/]* ; 0: no match */
static size_t symbols(const char *s, size_t n, size_t at, bool slash)
{
    size_t from = at + (s[at] == ' ');
    size_t end = run_not(s, n, from, LETTER | NUMBER | SPACE);
    if (end == from)
        return 0;
    while (end < n && (is_newline(s[end]) || (slash && s[end] == '/')))
        end++;
    return end;
}

static size_t numbers(const char *s, size_t n, size_t at, int most)
{
    uint32_t w;
    while (most-- > 0 && (class_at(s, n, at, &w) & NUMBER))
        at += w;
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t scan_lines(const char *s, size_t n, size_t at, int most)
{
    size_t end = contraction_any_case(s, n, at);
    uint32_t w, after, flags = class_at(s, n, at, &w);
    if (end)
        return end;
    if (flags & LETTER)
        return run_of(s, n, at, LETTER);
    if (flags & NUMBER)
        return numbers(s, n, at, most);
    if (!is_newline(s[at]) && (class_at(s, n, at + w, &after) & LETTER))
        return run_of(s, n, at + w, LETTER);
    end = symbols(s, n, at, false);
    return end ? end : spaces_lines(s, n, at);
}

static size_t scan_llama3(const char *s, size_t n, size_t at)
{
    return scan_lines(s, n, at, 3);
}

static size_t scan_qwen2(const char *s, size_t n, size_t at)
{
    return scan_lines(s, n, at, 1);
}

/* In o200k a word is upper case first, then lower case; letters without case and marks are both. */
enum { UPPER = UNI_RE_UPPER | UNI_RE_OTHER | UNI_RE_MARK, LOWER = UNI_RE_LOWER | UNI_RE_OTHER | UNI_RE_MARK };

/* UPPER*LOWER+ ; 0: no match. What is upper and lower goes to the first, and comes back if the second has nothing else.
 */
static size_t upper_lower(const char *s, size_t n, size_t at)
{
    size_t end = run_of(s, n, at, UPPER), lower = run_of(s, n, end, LOWER);
    uint32_t w;
    if (lower > end)
        return lower;
    for (size_t i = end; i > at; i -= w)
        if (unicode_flags(utf8_previous(s, i, &w)) & LOWER)
            return i;
    return 0;
}

/* UPPER+LOWER* where upper_lower has no match */
static size_t upper_only(const char *s, size_t n, size_t at)
{
    size_t end = run_of(s, n, at, UPPER);
    return end > at ? end : 0;
}

static size_t word(const char *s, size_t n, size_t at)
{
    uint32_t w, flags = class_at(s, n, at, &w);
    bool prefix = !is_newline(s[at]) && !(flags & (LETTER | NUMBER)); /* [^\r\n\p{L}\p{N}]? */
    size_t end = prefix ? upper_lower(s, n, at + w) : 0;
    if (!end)
        end = upper_lower(s, n, at);
    if (!end && prefix)
        end = upper_only(s, n, at + w);
    if (!end)
        end = upper_only(s, n, at);
    if (!end)
        return 0;
    size_t more = contraction_any_case(s, n, end);
    return more ? more : end;
}

static size_t scan_o200k(const char *s, size_t n, size_t at)
{
    uint32_t w;
    size_t end = word(s, n, at);
    if (end)
        return end;
    if (class_at(s, n, at, &w) & NUMBER)
        return numbers(s, n, at, 3);
    end = symbols(s, n, at, true);
    return end ? end : spaces_lines(s, n, at);
}

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define O200K_WORD(u, l)                                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]" u "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]" l CONTRACTIONS "?|"
#define LINES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"

scan_fn *scanner_find(const char *pattern, size_t len)
{
    static const struct {
        const char *pattern;
        scan_fn *scan;
    } known[] = {
        { "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", scan_gpt2 },
        { WORDS "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" LINES, scan_llama3 },
        { WORDS "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" LINES, scan_qwen2 },
        { O200K_WORD("*", "+") O200K_WORD("+", "*") "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" LINES, scan_o200k },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].pattern) == len && !memcmp(known[i].pattern, pattern, len))
            return known[i].scan;
    return NULL;
}
