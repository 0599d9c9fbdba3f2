/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Added tokens: looked for before everything else, leftmost and longest first. Those with normalized = false are looked
 * for in the raw text, the others, in their normalised form, in the normalised text.
 */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

enum { MAX_ADDED = 1 << 20 };

void added_free(struct added *a)
{
    for (uint32_t i = 0; a->tokens && i < a->n; i++) {
        if (a->tokens[i].pattern != a->tokens[i].content)
            mem_free(a->tokens[i].pattern);
        mem_free(a->tokens[i].content);
    }
    mem_free(a->tokens);
    mem_free(a->by_id);
    vocab_free(&a->contents);
    for (int i = 0; i < 2; i++) {
        vocab_free(&a->sets[i].patterns);
        trie_free(&a->sets[i].trie);
    }
    *a = (struct added){ 0 };
}

const struct added_token *added_by_id(const struct added *a, int32_t id)
{
    return id >= 0 && (uint32_t)id < a->n_ids && a->by_id[id] ? &a->tokens[a->by_id[id] - 1] : NULL;
}

/* ---- finding */

static bool word_at(const char *s, size_t n, size_t at)
{
    uint32_t w;
    return at < n && (unicode_flags(utf8_next(s + at, &w)) & UNI_WORD);
}

static bool word_before(const char *s, size_t at)
{
    uint32_t w;
    return at > 0 && (unicode_flags(utf8_previous(s, at, &w)) & UNI_WORD);
}

/* Leftmost-longest match at or after `at`; false: none. */
static bool find(const struct added_set *set, const char *s, size_t n, size_t at, struct added_match *m)
{
    for (; at < n; at++) {
        if (!set->first[(unsigned char)s[at]])
            continue;
        size_t len = trie_longest(&set->trie, (struct trie_pos){ 0, 0 }, s + at, n - at, &m->index);
        if (len) {
            m->begin = at;
            m->end = at + len;
            return true;
        }
    }
    return false;
}

bool added_next(const struct added *a, int which, const char *s, size_t n, struct added_cursor *c,
                struct added_match *out)
{
    const struct added_set *set = &a->sets[which];
    struct added_match m;
    if (c->has_held) {
        *out = c->held;
        c->has_held = false;
        return true;
    }
    while (set->n && find(set, s, n, c->at, &m)) {
        const struct added_token *t = &a->tokens[m.index];
        c->at = m.end;
        if (t->single_word && (word_before(s, m.begin) || word_at(s, n, m.end)))
            continue;
        uint32_t w;
        while (t->lstrip && m.begin > c->start && (unicode_flags(utf8_previous(s, m.begin, &w)) & UNI_SPACE))
            m.begin -= w;
        while (t->rstrip && m.end < n && (unicode_flags(utf8_next(s + m.end, &w)) & UNI_SPACE))
            m.end += w;
        bool gap = c->start < m.begin;
        if (gap) {
            *out = (struct added_match){ c->start, m.begin, -1 };
            c->held = m;
            c->has_held = true;
        } else {
            *out = m;
        }
        c->start = m.end;
        return true;
    }
    if (c->start >= n)
        return false;
    *out = (struct added_match){ c->start, n, -1 };
    c->start = c->at = n;
    return true;
}

/* ---- loading */

/* The token as it looks in normalised text. */
static rkf_status set_pattern(struct tokenizer *t, struct tokenizer_scratch *s, struct added_token *a, rkf_error *err)
{
    if (!a->normalized || !t->n_normalizers)
        return RKF_OK;
    struct text *text = scratch_text(s);
    text->n = 0;
    text->track = false;
    text_add(text, a->content, a->len, 0);
    rkf_status rc = normalize_run(t, s, err);
    if (rc)
        return rc;
    text = scratch_text(s);
    char *copy = mem_strndup(text->p, text->n);
    if (!copy)
        return rkf_fail_memory(err, text->n, "an added token");
    a->pattern = copy;
    a->pattern_len = text->n;
    return RKF_OK;
}

rkf_status added_append(struct added *a, const char *content, size_t len, yyjson_val *v, bool special, bool normalized,
                        rkf_error *err)
{
    static const char what[] = "added token";
    struct added_token x = { .len = len, .special = special, .normalized = normalized };
    rkf_status rc = RKF_OK;
    if (!len) /* ignored */
        return RKF_OK;
    if (a->n >= MAX_ADDED)
        return rkf_fail(err, RKF_FORMAT, "there are more than %d added tokens", (int)MAX_ADDED);
    if ((rc = json_get_bool(v, "special", &x.special, what, err)) ||
        (rc = json_get_bool(v, "single_word", &x.single_word, what, err)) ||
        (rc = json_get_bool(v, "lstrip", &x.lstrip, what, err)) ||
        (rc = json_get_bool(v, "rstrip", &x.rstrip, what, err)) ||
        (rc = json_get_bool(v, "normalized", &x.normalized, what, err)))
        return rc;
    if (!scratch_room(&a->tokens, &a->cap, a->n + 1, sizeof x) || !(x.content = mem_strndup(content, len)))
        return rkf_fail_memory(err, len, what);
    x.pattern = x.content;
    x.pattern_len = len;
    a->tokens[a->n++] = x;
    return RKF_OK;
}

rkf_status added_list(struct added *a, yyjson_val *list, rkf_error *err)
{
    size_t i, count;
    yyjson_val *v;
    if (list && !yyjson_is_null(list) && !yyjson_is_arr(list))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: \"added_tokens\" must be an array");
    yyjson_arr_foreach(list, i, count, v)
    {
        yyjson_val *content = yyjson_obj_get(v, "content");
        if (!yyjson_is_str(content))
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: added_tokens: an entry has no \"content\"");
        rkf_status rc = added_append(a, yyjson_get_str(content), yyjson_get_len(content), v, false, true, err);
        if (rc)
            return rc;
    }
    return RKF_OK;
}

bool added_has(const struct added *a, const char *content, size_t len)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (a->tokens[i].len == len && !memcmp(a->tokens[i].content, content, len))
            return true;
    return false;
}

/* Ids are given as `tokenizers` gives them: the model's if it has the token, else the next free one, in order; the ids
 * in the file are only remarks. */
static int32_t next_free(const struct tokenizer *t, int64_t top)
{
    int64_t size = t->model.size;
    return (int32_t)(top < 0 ? size : top >= size || size == 0 ? top + 1 : size);
}

static rkf_status give_ids(struct tokenizer *t, rkf_error *err)
{
    struct added *a = &t->added;
    size_t bytes = 0;
    for (uint32_t i = 0; i < a->n; i++)
        bytes += a->tokens[i].len;
    rkf_status rc = vocab_init(&a->contents, a->n, bytes, err);
    if (rc)
        return rc;
    int32_t next = next_free(t, -1), top = -1;
    for (uint32_t i = 0; i < a->n; i++) {
        struct added_token *x = &a->tokens[i];
        x->id = vocab_find(&a->contents, x->content, x->len);
        if (x->id < 0)
            x->id = vocab_find(&t->model.vocab, x->content, x->len);
        if (x->id < 0)
            x->id = next++;
        vocab_put(&a->contents, x->content, x->len, x->id);
        if (x->id > top)
            top = x->id;
    }
    a->n_ids = (uint32_t)(top + 1);
    a->by_id = mem_zalloc(a->n_ids, sizeof *a->by_id);
    if (!a->by_id)
        return rkf_fail_memory(err, a->n_ids * sizeof *a->by_id, "added tokens");
    for (uint32_t i = 0; i < a->n; i++) { /* of two with one id the later one counts */
        uint32_t *slot = &a->by_id[a->tokens[i].id];
        if (*slot)
            a->tokens[*slot - 1].replaced = true;
        *slot = i + 1;
    }
    return RKF_OK;
}

static rkf_status build_set(struct added *a, int which, rkf_error *err)
{
    struct added_set *set = &a->sets[which];
    size_t bytes = 0;
    char quoted[80];
    for (uint32_t i = 0; i < a->n; i++)
        if (a->tokens[i].normalized == (which == 1)) {
            bytes += a->tokens[i].pattern_len;
            set->n++;
        }
    rkf_status rc = vocab_init(&set->patterns, set->n, bytes, err);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct added_token *x = &a->tokens[i];
        if (x->normalized != (which == 1) || x->replaced)
            continue;
        if (!x->pattern_len || vocab_find(&set->patterns, x->pattern, x->pattern_len) >= 0)
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: added token '%s' is %s once it is normalised",
                            rkf_quote(quoted, sizeof quoted, x->content, x->len),
                            x->pattern_len ? "the same as another one" : "empty");
        vocab_put(&set->patterns, x->pattern, x->pattern_len, (int32_t)i);
        set->first[(unsigned char)x->pattern[0]] = true;
    }
    return trie_build(&set->trie, &set->patterns, err);
}

rkf_status added_finish(struct tokenizer *t, rkf_error *err)
{
    struct tokenizer_scratch *s = NULL;
    rkf_status rc = give_ids(t, err);
    if (!rc)
        rc = tokenizer_scratch_create(&s, err);
    for (uint32_t i = 0; !rc && i < t->added.n; i++)
        rc = set_pattern(t, s, &t->added.tokens[i], err);
    for (int i = 0; !rc && i < 2; i++)
        rc = build_set(&t->added, i, err);
    tokenizer_scratch_free(s);
    return rc;
}
