/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notations that are read:
 *
 *   base_model: a/b            base_model:            base_model: [a/b, "c/d"]
 *   base_model: "a/b" # why      - a/b                base_model: >-
 *   base_model:                - 'c/d'                  a/b
 *     a/b
 */
#include "base/front_matter.h"
#include "base/hf_cache.h"

#include <string.h>

struct span {
    const char *p, *end;
};

struct reader {
    struct span left; /* what follows the current line */
    struct span line; /* without its line break */
    int lines;
    char (*out)[FRONT_MATTER_VALUE];
    size_t n, max;
};

static bool next_line(struct reader *r)
{
    if (r->left.p == r->left.end || ++r->lines > FRONT_MATTER_LINES)
        return false;
    const char *nl = memchr(r->left.p, '\n', (size_t)(r->left.end - r->left.p));
    r->line = (struct span){ r->left.p, nl ? nl : r->left.end };
    r->left.p = nl ? nl + 1 : r->left.end;
    if (r->line.p < r->line.end && r->line.end[-1] == '\r')
        r->line.end--;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.p < s.end && is_blank(*s.p))
        s.p++;
    while (s.p < s.end && is_blank(s.end[-1]))
        s.end--;
    return s;
}

static size_t indent_of(struct span s)
{
    const char *p = s.p;
    while (p < s.end && *p == ' ')
        p++;
    return (size_t)(p - s.p);
}

/* A line of dashes (or of dots) ends the front matter. */
static bool is_fence(struct span s)
{
    while (s.p < s.end && is_blank(s.end[-1]))
        s.end--;
    return s.end - s.p == 3 && (!memcmp(s.p, "---", 3) || !memcmp(s.p, "...", 3));
}

static bool is_word(struct span s, const char *word)
{
    return (size_t)(s.end - s.p) == strlen(word) && !memcmp(s.p, word, strlen(word));
}

static void add(struct reader *r, struct span s)
{
    size_t n = (size_t)(s.end - s.p);
    if (r->n == r->max || !n || n >= FRONT_MATTER_VALUE || memchr(s.p, 0, n))
        return;
    memcpy(r->out[r->n], s.p, n);
    r->out[r->n++][n] = 0;
}

/* Takes a quoted scalar off the front of s; escapes are not undone: no name needs one. */
static bool take_quoted(struct span *s, struct span *out)
{
    char quote = *s->p;
    const char *end = memchr(s->p + 1, quote, (size_t)(s->end - s->p - 1));
    if (!end)
        return false;
    *out = (struct span){ s->p + 1, end };
    s->p = end + 1;
    return true;
}

/* A plain scalar without its comment; "key: value" and the words for nothing are none. */
static void add_plain(struct reader *r, struct span s)
{
    static const char *const nothing[] = { "null", "Null", "NULL", "~" };
    for (const char *p = s.p; p < s.end; p++) {
        if (*p == '#' && (p == s.p || is_blank(p[-1]))) {
            s.end = p;
            break;
        }
        if (*p == ':' && (p + 1 == s.end || is_blank(p[1])))
            return;
    }
    s = trim(s);
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (is_word(s, nothing[i]))
            return;
    if (s.p < s.end && !strchr("[]{}&*!|>%@`,", *s.p))
        add(r, s);
}

static void add_scalar(struct reader *r, struct span s)
{
    struct span quoted;
    s = trim(s);
    if (s.p < s.end && (*s.p == '"' || *s.p == '\'')) {
        if (take_quoted(&s, &quoted))
            add(r, quoted);
    } else {
        add_plain(r, s);
    }
}

/* [a, "b", c], over as many lines as it takes; s begins after the bracket. */
static void read_flow(struct reader *r, struct span s)
{
    for (;;) {
        s = trim(s);
        if (s.p == s.end || *s.p == '#') {
            if (!next_line(r) || is_fence(r->line))
                return;
            s = r->line;
        } else if (*s.p == ']') {
            return;
        } else if (*s.p == ',') {
            s.p++;
        } else if (*s.p == '"' || *s.p == '\'') {
            struct span quoted;
            if (!take_quoted(&s, &quoted))
                return;
            add(r, quoted);
        } else if (strchr("[{", *s.p)) { /* nothing nested */
            return;
        } else {
            struct span item = s;
            while (s.p < s.end && *s.p != ',' && *s.p != ']')
                s.p++;
            item.end = s.p;
            add_plain(r, item);
        }
    }
}

/* What stands on the lines below the key: a list, at any indentation, or one indented scalar. */
static void read_block(struct reader *r, bool folded)
{
    while (next_line(r) && !is_fence(r->line)) {
        struct span s = trim(r->line);
        bool item = s.p < s.end && *s.p == '-' && (s.p + 1 == s.end || is_blank(s.p[1])) && !folded;
        if (s.p == s.end || (*s.p == '#' && !folded))
            continue;
        if (item) {
            add_scalar(r, (struct span){ s.p + 1, s.end });
            continue;
        }
        if (indent_of(r->line) && !r->n)
            add_scalar(r, s);
        return;
    }
}

static bool is_key(struct span line, const char *key, struct span *value)
{
    size_t n = strlen(key);
    if ((size_t)(line.end - line.p) <= n || memcmp(line.p, key, n) || line.p[n] != ':')
        return false;
    *value = trim((struct span){ line.p + n + 1, line.end });
    return line.p + n + 1 == line.end || is_blank(line.p[n + 1]);
}

size_t front_matter_values(const char *text, size_t len, const char *key, char (*out)[FRONT_MATTER_VALUE], size_t max)
{
    struct reader r = { .left = { text, text + len }, .out = out, .max = max };
    struct span value;
    if (len >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3))
        r.left.p += 3;
    do { /* blank lines may come first */
        if (!next_line(&r))
            return 0;
        value = trim(r.line);
    } while (value.p == value.end);
    if (!is_fence(r.line) || *r.line.p != '-')
        return 0;
    while (next_line(&r) && !is_fence(r.line)) {
        if (!is_key(r.line, key, &value))
            continue;
        if (value.p == value.end || *value.p == '#')
            read_block(&r, false);
        else if (*value.p == '|' || *value.p == '>')
            read_block(&r, true);
        else if (*value.p == '[')
            read_flow(&r, (struct span){ value.p + 1, value.end });
        else
            add_scalar(&r, value);
        break;
    }
    return r.n;
}

bool front_matter_says(const char *text, size_t len, const char *key, const char *word)
{
    enum { MOST = 64 };
    char values[MOST][FRONT_MATTER_VALUE];
    size_t n = front_matter_values(text, len, key, values, MOST);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(values[i], word))
            return true;
    return false;
}

size_t front_matter_bases(const char *text, size_t len, char (*out)[FRONT_MATTER_VALUE], size_t max)
{
    static const char *const trained[] = { "finetune", "adapter", "merge" };
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++)
        if (front_matter_says(text, len, "base_model_relation", trained[i]))
            return 0;
    size_t n = front_matter_values(text, len, "base_model", out, max), kept = 0;
    for (size_t i = 0; i < n; i++)
        if (hf_id_valid(out[i]))
            memmove(out[kept++], out[i], sizeof *out);
    return kept;
}
