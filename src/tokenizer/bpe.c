/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte pair encoding: a piece becomes symbols, one per character, and the pair with the lowest rank is merged, leftmost
 * first, until none is left. Behind a ByteLevel pre-tokeniser the characters that stand for bytes are never made:
 * symbols are looked up by byte.
 */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <stdio.h>
#include <string.h>

enum { NONE = UINT32_MAX };

struct merge { /* of a pair of ids; rank NONE: free slot */
    int32_t left, right;
    uint32_t rank;
    int32_t result;
};

struct bpe {
    struct merge *merges; /* open addressing */
    uint32_t mask;
    char *prefix, *suffix; /* of inner and of last symbols; NULL: none */
    size_t prefix_len, suffix_len;
    bool fuse_unk, byte_fallback, ignore_merges, raw;
    int32_t bytes[256];    /* raw: id of the character that stands for a byte */
    int32_t fallback[256]; /* byte_fallback: id of <0x..>, -1: none */
    struct vocab words;    /* raw and ignore_merges: tokens as bytes */
};

struct bpe_symbol {
    int32_t id;
    uint32_t len;        /* bytes of the piece; 0: merged into the one before */
    uint32_t prev, next; /* NONE: none */
    uint32_t rank;       /* of the pair that begins here, NONE: none */
    int32_t result;
};

struct bpe_merge { /* a pair that may be merged, smallest first; stale if the symbol's rank is another by now */
    uint32_t rank, at;
};

/* ---- merges */

static inline uint32_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 15);
}

static inline struct merge *find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    uint32_t i = pair_hash(left, right) & b->mask;
    while (b->merges[i].rank != NONE && (b->merges[i].left != left || b->merges[i].right != right))
        i = (i + 1) & b->mask;
    return &b->merges[i];
}

/* ---- merging one word; symbols[0..n) are linked */

static inline void rank_pair(const struct bpe *b, struct bpe_symbol *s, uint32_t at)
{
    uint32_t next = s[at].next;
    const struct merge *m = next == NONE ? NULL : find_merge(b, s[at].id, s[next].id);
    s[at].rank = m ? m->rank : NONE;
    s[at].result = m ? m->result : -1;
}

/* Symbol `at` takes in the one after it; the ranks of the pairs around change. */
static inline void merge_at(const struct bpe *b, struct bpe_symbol *s, uint32_t at)
{
    uint32_t gone = s[at].next;
    s[at].id = s[at].result;
    s[at].len += s[gone].len;
    s[at].next = s[gone].next;
    s[gone].len = 0;
    s[gone].rank = NONE;
    if (s[at].next != NONE)
        s[s[at].next].prev = at;
    rank_pair(b, s, at);
    if (s[at].prev != NONE)
        rank_pair(b, s, s[at].prev);
}

/* A few symbols: looking at all of them is the fastest way to the smallest rank. */
static void merge_short(const struct bpe *b, struct bpe_symbol *s)
{
    for (;;) {
        uint32_t best = NONE, rank = NONE;
        for (uint32_t i = 0; i != NONE; i = s[i].next)
            if (s[i].rank < rank) {
                rank = s[i].rank;
                best = i;
            }
        if (best == NONE)
            return;
        merge_at(b, s, best);
    }
}

static inline bool before(struct bpe_merge a, struct bpe_merge b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static bool heap_push(struct tokenizer_scratch *s, size_t *n, uint32_t rank, uint32_t at)
{
    if (!scratch_room(&s->heap, &s->heap_cap, *n + 1, sizeof *s->heap))
        return false;
    struct bpe_merge x = { rank, at };
    size_t i = (*n)++;
    for (; i > 0 && before(x, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = x;
    return true;
}

static struct bpe_merge heap_pop(struct bpe_merge *h, size_t *n)
{
    struct bpe_merge top = h[0], x = h[--*n];
    size_t i = 0;
    for (size_t kid; (kid = 2 * i + 1) < *n; i = kid) {
        if (kid + 1 < *n && before(h[kid + 1], h[kid]))
            kid++;
        if (!before(h[kid], x))
            break;
        h[i] = h[kid];
    }
    h[i] = x;
    return top;
}

static bool merge_long(const struct bpe *b, struct tokenizer_scratch *scratch, uint32_t n)
{
    struct bpe_symbol *s = scratch->symbols;
    size_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (s[i].rank != NONE && !heap_push(scratch, &count, s[i].rank, i))
            return false;
    while (count) {
        struct bpe_merge top = heap_pop(scratch->heap, &count);
        if (s[top.at].rank != top.rank)
            continue;
        merge_at(b, s, top.at);
        if (s[top.at].rank != NONE && !heap_push(scratch, &count, s[top.at].rank, top.at))
            return false;
        uint32_t prev = s[top.at].prev;
        if (prev != NONE && s[prev].rank != NONE && !heap_push(scratch, &count, s[prev].rank, prev))
            return false;
    }
    return true;
}

/* ---- symbols of a piece */

struct builder {
    struct tokenizer_scratch *s;
    uint32_t n;
    bool failed;
};

static inline void add_symbol(struct builder *w, int32_t id, size_t len)
{
    if (w->failed || !scratch_room(&w->s->symbols, &w->s->symbols_cap, w->n + 1, sizeof *w->s->symbols)) {
        w->failed = true;
        return;
    }
    w->s->symbols[w->n] = (struct bpe_symbol){ .id = id, .len = (uint32_t)len, .prev = w->n - 1, .next = w->n + 1 };
    w->n++;
}

/* All bytes of p[0..n) as <0x..> tokens; false if one is missing. */
static bool add_fallback(const struct bpe *b, struct builder *w, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b->fallback[(unsigned char)p[i]] < 0)
            return false;
    for (size_t i = 0; i < n; i++)
        add_symbol(w, b->fallback[(unsigned char)p[i]], 1);
    return true;
}

/* The text of a symbol: a character with what the model wants around it. */
static const char *symbol_text(const struct bpe *b, struct buf *buf, const char *p, size_t at, size_t len, bool last,
                               size_t *n)
{
    bool prefix = at && b->prefix_len, suffix = last && b->suffix_len;
    *n = len;
    if (!prefix && !suffix)
        return p + at;
    buf_clear(buf);
    if (prefix)
        buf_append(buf, b->prefix, b->prefix_len);
    buf_append(buf, p + at, len);
    if (suffix)
        buf_append(buf, b->suffix, b->suffix_len);
    *n = buf->len;
    return buf->failed ? p + at : buf->p;
}

static rkf_status build_symbols(const struct model *m, struct builder *w, const char *p, size_t n, rkf_error *err)
{
    const struct bpe *b = m->bpe;
    size_t unk = 0; /* bytes of an unknown symbol that is not yet added */
    struct buf buf;
    buf_init(&buf, 1 << 20);
    for (size_t at = 0, len, text_len; at < n; at += len) {
        len = utf8_width(p[at]);
        const char *text = symbol_text(b, &buf, p, at, len, at + len == n, &text_len);
        int32_t id = vocab_find(&m->vocab, text, text_len);
        if (id >= 0) {
            if (unk)
                add_symbol(w, m->unk, unk);
            unk = 0;
            add_symbol(w, id, len);
        } else if (b->byte_fallback && add_fallback(b, w, text, text_len)) {
            continue; /* an unknown symbol before it waits, as in `tokenizers` */
        } else if (m->unk_token && m->unk < 0) {
            buf_free(&buf);
            return rkf_fail(err, RKF_FORMAT, "the text has an unknown character, and the vocabulary has no '%s' for it",
                            m->unk_token);
        } else if (m->unk_token) {
            if (unk && !b->fuse_unk)
                add_symbol(w, m->unk, unk);
            unk = unk && b->fuse_unk ? unk + len : len;
        }
    }
    if (unk)
        add_symbol(w, m->unk, unk);
    w->failed |= buf.failed;
    buf_free(&buf);
    return RKF_OK;
}

static bool whole_word(const struct model *m, const char *p, size_t n, int32_t *id)
{
    if (!m->bpe->ignore_merges)
        return false;
    *id = vocab_find(m->bpe->raw ? &m->bpe->words : &m->vocab, p, n);
    return *id >= 0;
}

rkf_status bpe_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n, rkf_error *err)
{
    enum { SHORT = 40 };
    const struct bpe *b = m->bpe;
    struct builder w = { .s = s };
    int32_t id;
    rkf_status rc = RKF_OK;
    if (whole_word(m, p, n, &id))
        return model_add(s, id, 0, n) ? RKF_OK : rkf_fail_memory(err, 64, "tokens");
    if (b->raw)
        for (size_t i = 0; i < n; i++)
            add_symbol(&w, b->bytes[(unsigned char)p[i]], 1);
    else
        rc = build_symbols(m, &w, p, n, err);
    if (rc || !(w.n || w.failed))
        return rc;
    if (!w.failed) {
        s->symbols[w.n - 1].next = NONE;
        for (uint32_t i = 0; i < w.n; i++)
            rank_pair(b, s->symbols, i);
        if (w.n <= SHORT)
            merge_short(b, s->symbols);
        else
            w.failed = !merge_long(b, s, w.n);
    }
    uint32_t at = 0;
    for (uint32_t i = 0; !w.failed && i != NONE; i = s->symbols[i].next) {
        w.failed = !model_add(s, s->symbols[i].id, at, at + s->symbols[i].len);
        at += s->symbols[i].len;
    }
    return w.failed ? rkf_fail_memory(err, n * sizeof *s->symbols, "tokens") : RKF_OK;
}

/* ---- loading */

static rkf_status missing(const char *p, size_t n, rkf_error *err)
{
    char quoted[80];
    return rkf_fail(err, RKF_FORMAT, "tokenizer.json: a merge uses the token '%s', which the vocabulary does not have",
                    rkf_quote(quoted, sizeof quoted, p, n));
}

/* One merge: left and right are tokens, and so is what they make: right without the prefix of inner symbols. */
static rkf_status add_merge(struct model *m, uint32_t rank, const char *left, size_t left_len, const char *right,
                            size_t right_len, struct buf *buf, rkf_error *err)
{
    struct bpe *b = m->bpe;
    int32_t l = vocab_find(&m->vocab, left, left_len), r = vocab_find(&m->vocab, right, right_len);
    if (l < 0 || r < 0)
        return l < 0 ? missing(left, left_len, err) : missing(right, right_len, err);
    if (right_len < b->prefix_len)
        return missing(right, right_len, err);
    buf_clear(buf);
    buf_append(buf, left, left_len);
    buf_append(buf, right + b->prefix_len, right_len - b->prefix_len);
    if (buf->failed)
        return rkf_fail_memory(err, left_len + right_len, "a merge");
    int32_t result = vocab_find(&m->vocab, buf->p ? buf->p : "", buf->len);
    if (result < 0)
        return missing(buf->p ? buf->p : "", buf->len, err);
    *find_merge(b, l, r) = (struct merge){ l, r, rank, result };
    return RKF_OK;
}

static rkf_status alloc_merges(struct bpe *b, size_t n, rkf_error *err)
{
    size_t slots = 16;
    if (n >= 1u << 28)
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json has %zu merges, which is too many", n);
    while (slots < n + n / 2)
        slots *= 2;
    b->merges = mem_array(slots, sizeof *b->merges);
    if (!b->merges)
        return rkf_fail_memory(err, slots * sizeof *b->merges, "merges");
    b->mask = (uint32_t)slots - 1;
    memset(b->merges, 0xff, slots * sizeof *b->merges); /* ranks become NONE */
    return RKF_OK;
}

/* "left right", in files and in old tokenizer.json. */
rkf_status bpe_add_line(struct model *m, uint32_t rank, const char *line, size_t len, struct buf *buf, rkf_error *err)
{
    const char *space = memchr(line, ' ', len), *end = line + len;
    char quoted[80];
    if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
        return rkf_fail(err, RKF_FORMAT, "merge %u, '%s', is not two tokens with a space between them", rank + 1,
                        rkf_quote(quoted, sizeof quoted, line, len));
    return add_merge(m, rank, line, (size_t)(space - line), space + 1, (size_t)(end - space - 1), buf, err);
}

static rkf_status load_merges(struct model *m, yyjson_val *list, rkf_error *err)
{
    size_t i, n;
    uint32_t rank = 0;
    yyjson_val *v;
    struct buf buf;
    if (!yyjson_is_arr(list))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: the BPE model has no \"merges\"");
    rkf_status rc = alloc_merges(m->bpe, yyjson_arr_size(list), err);
    if (rc)
        return rc;
    buf_init(&buf, INT32_MAX);
    yyjson_arr_foreach(list, i, n, v)
    {
        yyjson_val *left = yyjson_arr_get(v, 0), *right = yyjson_arr_get(v, 1);
        if (yyjson_is_str(v)) {
            if (yyjson_get_len(v) >= 8 && !memcmp(yyjson_get_str(v), "#version", 8))
                continue;
            rc = bpe_add_line(m, rank++, yyjson_get_str(v), yyjson_get_len(v), &buf, err);
        } else if (yyjson_is_str(left) && yyjson_is_str(right) && yyjson_arr_size(v) == 2) {
            rc = add_merge(m, rank++, yyjson_get_str(left), yyjson_get_len(left), yyjson_get_str(right),
                           yyjson_get_len(right), &buf, err);
        } else {
            rc = rkf_fail(err, RKF_FORMAT, "tokenizer.json: merge %zu is not a pair of tokens", i + 1);
        }
        if (rc)
            break;
    }
    buf_free(&buf);
    return rc;
}

static rkf_status load_affix(yyjson_val *v, const char *key, char **out, size_t *len, rkf_error *err)
{
    yyjson_val *x = yyjson_obj_get(v, key);
    return !x || yyjson_is_null(x) ? RKF_OK : copy_str(x, "tokenizer.json: BPE", out, len, err);
}

static void find_fallback(struct model *m)
{
    char name[8];
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        m->bpe->fallback[i] = vocab_find(&m->vocab, name, 6);
    }
}

/* An empty model with room for n merges. */
rkf_status bpe_create(struct model *m, size_t n_merges, rkf_error *err)
{
    m->bpe = mem_zalloc(1, sizeof *m->bpe);
    if (!m->bpe)
        return rkf_fail_memory(err, sizeof *m->bpe, "merges");
    find_fallback(m);
    return n_merges ? alloc_merges(m->bpe, n_merges, err) : RKF_OK;
}

rkf_status bpe_load(struct model *m, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: BPE";
    double dropout = 0;
    rkf_status rc = bpe_create(m, 0, err);
    if (rc || (rc = json_get_num(v, "dropout", &dropout, what, err)))
        return rc;
    if (dropout != 0)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: dropout is not supported: it makes ids random", what);
    struct bpe *b = m->bpe;
    if ((rc = load_affix(v, "continuing_subword_prefix", &b->prefix, &b->prefix_len, err)) ||
        (rc = load_affix(v, "end_of_word_suffix", &b->suffix, &b->suffix_len, err)) ||
        (rc = json_get_bool(v, "fuse_unk", &b->fuse_unk, what, err)) ||
        (rc = json_get_bool(v, "byte_fallback", &b->byte_fallback, what, err)) ||
        (rc = json_get_bool(v, "ignore_merges", &b->ignore_merges, what, err)))
        return rc;
    return load_merges(m, yyjson_obj_get(v, "merges"), err);
}

/* Tokens made of byte characters only, as bytes. */
static bool add_words(struct model *m)
{
    struct vocab *words = &m->bpe->words;
    size_t longest = 0;
    for (uint32_t i = 0; i < m->vocab.n; i++)
        longest = m->vocab.entries[i].len > longest ? m->vocab.entries[i].len : longest;
    char *bytes = mem_alloc(longest);
    if (!bytes || vocab_init(words, m->vocab.n, m->vocab.blob_len, NULL)) {
        mem_free(bytes);
        return false;
    }
    for (uint32_t i = 0; i < m->vocab.n; i++) {
        const struct vocab_entry *e = &m->vocab.entries[i];
        const char *p = m->vocab.blob + e->off;
        size_t n = 0;
        uint32_t w;
        for (size_t k = 0; k < e->len; k += w) {
            int b = byte_level_byte(utf8_next(p + k, &w));
            if (b < 0) {
                n = SIZE_MAX;
                break;
            }
            bytes[n++] = (char)b;
        }
        if (n != SIZE_MAX)
            vocab_put(words, bytes, n, e->id);
    }
    mem_free(bytes);
    return true;
}

bool bpe_use_bytes(struct model *m)
{
    struct bpe *b = m->bpe;
    if (b->prefix_len || b->suffix_len)
        return false;
    for (uint32_t i = 0; i < 256; i++) {
        char c[4];
        uint32_t cp = byte_level_char((uint8_t)i), n = cp < 0x80 ? 1 : 2;
        c[0] = (char)(n == 1 ? cp : 0xc0 | cp >> 6);
        c[1] = (char)(0x80 | (cp & 63));
        b->bytes[i] = vocab_find(&m->vocab, c, n);
        if (b->bytes[i] < 0)
            return false;
    }
    if (b->ignore_merges && !add_words(m))
        return false;
    b->raw = true;
    return true;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    vocab_free(&b->words);
    mem_free(b->merges);
    mem_free(b->prefix);
    mem_free(b->suffix);
    mem_free(b);
}
