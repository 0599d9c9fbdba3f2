/* SPDX-License-Identifier: Apache-2.0 */
/* One text into tokens, and the word cache. */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

#include <string.h>

/* ---- the model, through the cache */

static rkf_status run_model(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n, rkf_error *err)
{
    s->model.n = 0;
    switch (m->kind) {
    case MODEL_BPE:
        return bpe_tokenize(m, s, p, n, err);
    case MODEL_UNIGRAM:
        return unigram_tokenize(m, s, p, n, err);
    default:
        return wordpiece_tokenize(m, s, p, n, err);
    }
}

static void remember(struct tokenizer_scratch *s, struct cached *c, uint32_t hash, const char *p, size_t n)
{
    c->hash = hash;
    c->len = (uint8_t)n;
    c->n = (uint8_t)s->model.n;
    memcpy(c->key, p, n);
    for (size_t i = 0; i < s->model.n; i++) {
        c->ids[i] = s->model.p[i].id;
        c->ends[i] = (uint8_t)s->model.p[i].end;
    }
}

/* A few tokens that follow each other without gaps can be kept as their ends. */
static bool memorable(const struct tokenizer_scratch *s, size_t n)
{
    uint32_t at = 0;
    if (s->model.n > CACHE_TOKENS)
        return false;
    for (size_t i = 0; i < s->model.n; i++) {
        if (s->model.p[i].begin != at || s->model.p[i].end > n)
            return false;
        at = s->model.p[i].end;
    }
    return true;
}

struct run { /* one text on its way */
    const struct tokenizer *t;
    struct tokenizer_scratch *s;
    bool offsets, spaces; /* spaces: tokens need lead and trail */
    uint32_t word;
};

static bool is_space(uint32_t cp)
{
    return cp == 0x120 || (unicode_flags(cp) & UNI_SPACE); /* U+0120 stands for the space in byte-level tokens */
}

/* What trim_offsets looks at: characters of the token's own text. */
static void count_spaces(struct token *tok, const char *p, size_t n)
{
    uint32_t w;
    tok->lead = tok->trail = 0;
    for (size_t i = 0; i < n && is_space(utf8_next(p + i, &w)); i += w)
        tok->lead++;
    for (size_t i = n; i > 0 && is_space(utf8_previous(p, i, &w)); i -= w)
        tok->trail++;
}

static void model_spaces(const struct run *r, struct token *tok, const char *piece, const struct model_token *m)
{
    size_t n;
    const char *text = vocab_token(&r->t->model.vocab, tok->id, &n);
    if (r->t->model.kind == MODEL_UNIGRAM && tok->id == r->t->model.unk)
        count_spaces(tok, piece + m->begin, m->end - m->begin);
    else if (text)
        count_spaces(tok, text, n);
}

/* Begin and end in the caller's code points of bytes [begin, end) of the working text. */
static void set_offsets(struct token *tok, const struct text *t, size_t begin, size_t end)
{
    uint32_t b = t->at[begin], e = t->at[end - 1];
    tok->begin = b & ~AT_EMPTY;
    tok->end = e & AT_EMPTY ? e & ~AT_EMPTY : e + 1;
}

static rkf_status add_piece(struct run *r, struct piece piece, rkf_error *err)
{
    struct tokenizer_scratch *s = r->s;
    const struct text *t = scratch_text(s);
    const char *p = t->p + piece.begin;
    size_t n = piece.end - piece.begin;
    struct cached *hit = NULL;
    if (n <= CACHE_KEY) {
        uint32_t hash = hash_bytes(0x2545f4914f6cdd1du, p, n);
        hit = &s->cache[hash % CACHE_SLOTS];
        if (hit->len != n || hit->hash != hash || memcmp(hit->key, p, n)) {
            rkf_status rc = run_model(&r->t->model, s, p, n, err);
            if (rc)
                return rc;
            if (memorable(s, n))
                remember(s, hit, hash, p, n);
            hit = NULL;
        }
    } else {
        rkf_status rc = run_model(&r->t->model, s, p, n, err);
        if (rc)
            return rc;
    }
    size_t count = hit ? hit->n : s->model.n;
    if (s->tokens.cap - s->tokens.n < count && !tokens_grow(&s->tokens, count))
        return rkf_fail_memory(err, count * sizeof *s->tokens.p, "tokens");
    struct token *out = s->tokens.p + s->tokens.n;
    uint32_t at = 0;
    for (size_t i = 0; i < count; i++, out++) {
        struct model_token m = hit ? (struct model_token){ hit->ids[i], at, hit->ends[i] } : s->model.p[i];
        at = m.end;
        out->id = m.id;
        if (!r->offsets)
            continue;
        set_offsets(out, t, piece.begin + (m.begin < n ? m.begin : n - 1), piece.begin + (m.end < n ? m.end : n));
        out->word = r->word;
        if (r->spaces)
            model_spaces(r, out, p, &m);
    }
    s->tokens.n += count;
    return RKF_OK;
}

/* ---- from the raw text down to pieces */

static rkf_status add_added(struct run *r, const struct added_token *a, const char *p, size_t n, uint32_t begin,
                            uint32_t end, rkf_error *err)
{
    struct tokens *list = &r->s->tokens;
    if (list->cap == list->n && !tokens_grow(list, 1))
        return rkf_fail_memory(err, sizeof *list->p, "tokens");
    struct token *tok = &list->p[list->n++];
    tok->id = a->id;
    if (r->offsets) {
        tok->begin = begin;
        tok->end = end;
        tok->word = r->word;
        if (r->spaces)
            count_spaces(tok, p, n);
    }
    r->word++;
    return RKF_OK;
}

/* Bytes [begin, end) of the working text, which hold no added token. */
static rkf_status add_split(struct run *r, size_t begin, size_t end, rkf_error *err)
{
    struct tokenizer_scratch *s = r->s;
    struct pieces *pieces = scratch_pieces(s);
    pieces->n = 0;
    pieces->failed = false;
    pieces_add(pieces, begin, end);
    if (pieces->failed)
        return rkf_fail_memory(err, sizeof *pieces->p, "the pieces of a text");
    rkf_status rc = pretokenize_run(r->t, s, err);
    if (rc)
        return rc;
    pieces = scratch_pieces(s);
    for (size_t i = 0; i < pieces->n; i++, r->word++)
        if ((rc = add_piece(r, pieces->p[i], err)))
            return rc;
    return RKF_OK;
}

/* Normalised text with added tokens in it: their parts are cut out one after the other; since pre-tokenisers may
 * rewrite the working text, it is set aside first. */
static rkf_status add_normalised(struct run *r, rkf_error *err)
{
    struct tokenizer_scratch *s = r->s;
    struct text *t = scratch_text(s), whole = { 0 };
    struct added_cursor c = { 0 };
    struct added_match m;
    rkf_status rc = RKF_OK;
    if (!t->n)
        return RKF_OK;
    if (!added_next(&r->t->added, 1, t->p, t->n, &c, &m))
        return RKF_OK;
    if (m.index < 0 && m.end == t->n)
        return add_split(r, 0, t->n, err);
    whole.track = t->track;
    text_copy(&whole, t, 0, t->n);
    if (whole.failed)
        rc = rkf_fail_memory(err, t->n, "a text");
    while (!rc) {
        if (m.index >= 0) {
            struct token at = { 0 };
            if (r->offsets)
                set_offsets(&at, &whole, m.begin, m.end);
            rc = add_added(r, &r->t->added.tokens[m.index], whole.p + m.begin, m.end - m.begin, at.begin, at.end, err);
        } else {
            t = scratch_text(s);
            t->n = 0;
            text_copy(t, &whole, m.begin, m.end);
            rc = t->failed ? rkf_fail_memory(err, m.end - m.begin, "a text") : add_split(r, 0, t->n, err);
        }
        if (!added_next(&r->t->added, 1, whole.p, whole.n, &c, &m))
            break;
    }
    mem_free(whole.p);
    mem_free(whole.at);
    return rc;
}

/* Raw text between added tokens; its first character is code point `first` of the caller's text. */
static rkf_status add_raw(struct run *r, const char *p, size_t n, uint32_t first, rkf_error *err)
{
    struct text *t = scratch_text(r->s);
    t->n = 0;
    t->failed = false;
    t->track = r->offsets || r->t->track;
    if (!text_room(t, n))
        return rkf_fail_memory(err, n, "a text");
    memcpy(t->p, p, n);
    t->n = n;
    if (t->track) {
        uint32_t at = first - 1;
        for (size_t i = 0; i < n; i++) {
            at += ((unsigned char)p[i] & 0xc0) != 0x80;
            t->at[i] = at;
        }
    }
    rkf_status rc = normalize_run(r->t, r->s, err);
    return rc ? rc : add_normalised(r, err);
}

static rkf_status encode_text(struct run *r, const char *p, size_t n, rkf_error *err)
{
    struct added_cursor c = { 0 };
    struct added_match m;
    size_t counted = 0;
    uint32_t chars = 0; /* code points before p[counted] */
    rkf_status rc = RKF_OK;
    r->word = 0;
    while (!rc && added_next(&r->t->added, 0, p, n, &c, &m)) {
        chars += (uint32_t)utf8_count(p + counted, m.begin - counted);
        counted = m.begin;
        if (m.index < 0) {
            rc = add_raw(r, p + m.begin, m.end - m.begin, chars, err);
        } else {
            uint32_t end = chars + (uint32_t)utf8_count(p + m.begin, m.end - m.begin);
            rc = add_added(r, &r->t->added.tokens[m.index], p + m.begin, m.end - m.begin, chars, end, err);
        }
    }
    return rc;
}

rkf_status tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len,
                            const char *pair, size_t pair_len, const struct encode_options *options,
                            struct encoding *out, rkf_error *err)
{
    if (len > MAX_TEXT || (pair && pair_len > MAX_TEXT))
        return rkf_fail(err, RKF_TOO_LONG, "a text of %zu bytes is too long: at most %d",
                        len > MAX_TEXT ? len : pair_len, (int)MAX_TEXT);
    if (s->serial != t->serial) {
        memset(s->cache, 0, CACHE_SLOTS * sizeof *s->cache);
        s->serial = t->serial;
    }
    struct run r = { .t = t, .s = s, .offsets = options->offsets, .spaces = options->offsets && t->post.trim };
    s->tokens.n = 0;
    s->tokens.failed = false;
    rkf_status rc = encode_text(&r, text, len, err);
    size_t first = s->tokens.n;
    if (!rc && pair)
        rc = encode_text(&r, pair, pair_len, err);
    if (!rc)
        rc = post_finish(t, s, first, pair != NULL, options, out, err);
    scratch_tidy(s);
    return rc;
}
