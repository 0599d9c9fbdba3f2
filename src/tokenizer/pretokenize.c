/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-tokenisers: they cut the pieces of the working text into smaller ones; some also rewrite the text. A Sequence is
 * run step by step over all pieces.
 */
#include "tokenizer/internal.h"

#include <string.h>

static inline uint32_t at_of(const struct text *t, size_t i)
{
    return t->track ? t->at[i] : 0;
}

/* ---- cutting at matches. A pattern reports matches in order; what is between them is reported as no match. */

struct splitter {
    const struct text *text;
    struct pieces *out;
    enum split_behavior behavior;
    bool invert;
    size_t base, end, done; /* of the piece being cut */
    bool last_match;        /* MERGED_*, CONTIGUOUS: what the part before was */
    bool has_open;          /* MERGED_NEXT, MERGED_PREVIOUS, CONTIGUOUS: a part that may still grow */
    size_t open_begin, open_end;
};

static void close_open(struct splitter *s)
{
    if (s->has_open && s->open_end > s->open_begin)
        pieces_add(s->out, s->open_begin, s->open_end);
    s->has_open = false;
}

static void part(struct splitter *s, size_t b, size_t e, bool match)
{
    bool grows = false;
    switch (s->behavior) {
    case SPLIT_REMOVED:
        if (!match && e > b)
            pieces_add(s->out, b, e);
        return;
    case SPLIT_ISOLATED:
        if (e > b)
            pieces_add(s->out, b, e);
        return;
    case SPLIT_CONTIGUOUS: /* runs of matches together, too */
        grows = match == s->last_match;
        break;
    case SPLIT_MERGED_PREVIOUS:
        grows = match && !s->last_match;
        break;
    case SPLIT_MERGED_NEXT: /* the part before was a match that had not yet been merged with one before it */
        grows = !match && s->last_match;
        break;
    }
    if (grows && s->has_open) {
        s->open_end = e;
    } else {
        close_open(s);
        s->open_begin = b;
        s->open_end = e;
        s->has_open = true;
    }
    s->last_match = match;
}

/* Offsets within the piece. */
static void on_match(void *arg, size_t b, size_t e)
{
    struct splitter *s = arg;
    b += s->base;
    e += s->base;
    if (s->done != b)
        part(s, s->done, b, s->invert);
    part(s, b, e, !s->invert);
    s->done = e;
}

static void begin_piece(struct splitter *s, struct piece p)
{
    s->base = s->done = p.begin;
    s->end = p.end;
    s->last_match = false;
    s->has_open = false;
}

static void end_piece(struct splitter *s)
{
    if (s->done != s->end)
        part(s, s->done, s->end, s->invert);
    close_open(s);
}

/* Matches are single characters with one of the flags (or equal to `symbol`). */
static void split_chars(struct splitter *s, struct piece p, uint32_t flags, const char *symbol, uint32_t symbol_len)
{
    begin_piece(s, p);
    const char *t = s->text->p;
    for (size_t i = p.begin; i < p.end;) {
        uint32_t w, cp = utf8_next(t + i, &w);
        if (symbol ? w == symbol_len && !memcmp(t + i, symbol, w) : (unicode_flags(cp) & flags) != 0)
            on_match(s, i - p.begin, i - p.begin + w);
        i += w;
    }
    end_piece(s);
}

/* ---- the kinds */

static const uint8_t ascii_bert[128] = {
    /* 1: space, 2: punctuation */
    ['\t'] = 1, ['\n'] = 1, ['\v'] = 1, ['\f'] = 1, ['\r'] = 1, [' '] = 1, ['!'] = 2, ['"'] = 2, ['#'] = 2, ['$'] = 2,
    ['%'] = 2,  ['&'] = 2,  ['\''] = 2, ['('] = 2,  [')'] = 2,  ['*'] = 2, ['+'] = 2, [','] = 2, ['-'] = 2, ['.'] = 2,
    ['/'] = 2,  [':'] = 2,  [';'] = 2,  ['<'] = 2,  ['='] = 2,  ['>'] = 2, ['?'] = 2, ['@'] = 2, ['['] = 2, ['\\'] = 2,
    [']'] = 2,  ['^'] = 2,  ['_'] = 2,  ['`'] = 2,  ['{'] = 2,  ['|'] = 2, ['}'] = 2, ['~'] = 2,
};

static void split_bert(const struct text *t, struct piece p, struct pieces *out)
{
    size_t word = p.begin;
    for (size_t i = p.begin; i < p.end;) {
        unsigned char c = (unsigned char)t->p[i];
        uint32_t w = 1;
        unsigned kind;
        if (c < 0x80) {
            kind = ascii_bert[c];
        } else {
            uint32_t flags = unicode_flags(utf8_next(t->p + i, &w));
            kind = flags & UNI_SPACE ? 1 : flags & UNI_PUNCT ? 2 : 0;
        }
        if (kind) {
            if (i > word)
                pieces_add(out, word, i);
            if (kind == 2)
                pieces_add(out, i, i + w);
            word = i + w;
        }
        i += w;
    }
    if (p.end > word)
        pieces_add(out, word, p.end);
}

static void split_fixed(const struct text *t, struct piece p, size_t length, struct pieces *out)
{
    size_t begin = p.begin, chars = 0;
    for (size_t i = p.begin; i < p.end;) {
        i += utf8_width(t->p[i]);
        if (++chars == length || i == p.end) {
            pieces_add(out, begin, i);
            begin = i;
            chars = 0;
        }
    }
}

/* \w+|[^\w\s]+ of Rust's regex crate, the rest removed */
static void split_whitespace(const struct text *t, struct piece p, struct pieces *out)
{
    size_t begin = p.begin;
    int last = 0;
    for (size_t i = p.begin; i < p.end;) {
        uint32_t w, flags = unicode_flags(utf8_next(t->p + i, &w));
        int kind = flags & UNI_WORD ? 1 : flags & UNI_SPACE ? 0 : 2;
        if (kind != last) {
            if (last)
                pieces_add(out, begin, i);
            begin = i;
            last = kind;
        }
        i += w;
    }
    if (last)
        pieces_add(out, begin, p.end);
}

/* ---- rewriting ones: every piece is copied, changed, into the other text */

static void metaspace_piece(const struct pretokenizer *p, const struct text *in, struct piece piece, struct text *out)
{
    bool has = piece.end - piece.begin >= p->symbol_len && !memcmp(in->p + piece.begin, p->symbol, p->symbol_len);
    bool starts = has || in->p[piece.begin] == ' ';
    if (!starts && p->prepend != PREPEND_NEVER &&
        (p->prepend == PREPEND_ALWAYS || (at_of(in, piece.begin) & ~AT_EMPTY) == 0))
        text_add(out, p->symbol, p->symbol_len, at_of(in, piece.begin));
    for (size_t i = piece.begin; i < piece.end;) {
        const char *space = memchr(in->p + i, ' ', piece.end - i);
        size_t stop = space ? (size_t)(space - in->p) : piece.end;
        text_copy(out, in, i, stop);
        if (space)
            text_add(out, p->symbol, p->symbol_len, at_of(in, stop));
        i = stop + (space != NULL);
    }
}

static void run_metaspace(struct tokenizer_scratch *s, const struct pretokenizer *p)
{
    const struct text *in = scratch_text(s);
    struct text *out = scratch_next(s);
    const struct pieces *from = scratch_pieces(s);
    struct pieces *to = scratch_next_pieces(s);
    struct splitter split = { .text = out, .out = to, .behavior = SPLIT_MERGED_NEXT };
    for (size_t i = 0; i < from->n; i++) {
        size_t begin = out->n;
        metaspace_piece(p, in, from->p[i], out);
        struct piece whole = { (uint32_t)begin, (uint32_t)out->n };
        if (p->split)
            split_chars(&split, whole, 0, p->symbol, p->symbol_len);
        else if (out->n > begin)
            pieces_add(to, begin, out->n);
    }
    scratch_swap(s);
    s->cur_pieces ^= 1;
}

/* The pieces of ByteLevel before bytes become characters. */
static void byte_level_prefix(struct tokenizer_scratch *s)
{
    const struct text *in = scratch_text(s);
    struct text *out = scratch_next(s);
    struct pieces *list = scratch_pieces(s);
    for (size_t i = 0; i < list->n; i++) {
        struct piece *p = &list->p[i];
        size_t begin = out->n;
        if (in->p[p->begin] != ' ')
            text_add(out, " ", 1, at_of(in, p->begin));
        text_copy(out, in, p->begin, p->end);
        *p = (struct piece){ (uint32_t)begin, (uint32_t)out->n };
    }
    scratch_swap(s);
}

static void byte_level_map(struct tokenizer_scratch *s)
{
    const struct text *in = scratch_text(s);
    struct text *out = scratch_next(s);
    struct pieces *list = scratch_pieces(s);
    for (size_t i = 0; i < list->n; i++) {
        struct piece *p = &list->p[i];
        size_t begin = out->n;
        for (size_t k = p->begin; k < p->end; k++)
            text_put(out, byte_level_char((uint8_t)in->p[k]), at_of(in, k));
        *p = (struct piece){ (uint32_t)begin, (uint32_t)out->n };
    }
    scratch_swap(s);
}

static void scan_pieces(struct tokenizer_scratch *s, scan_fn *scan)
{
    const struct pieces *from = scratch_pieces(s);
    struct pieces *to = scratch_next_pieces(s);
    const struct text *t = scratch_text(s);
    for (size_t i = 0; i < from->n; i++) {
        struct piece p = from->p[i];
        for (size_t at = 0, n = p.end - p.begin, next; at < n; at = next) {
            next = scan(t->p + p.begin, n, at);
            pieces_add(to, p.begin + at, p.begin + next);
        }
    }
    s->cur_pieces ^= 1;
}

static rkf_status regex_pieces(struct tokenizer_scratch *s, const struct pretokenizer *p, rkf_error *err)
{
    const struct pieces *from = scratch_pieces(s);
    struct pieces *to = scratch_next_pieces(s);
    const struct text *t = scratch_text(s);
    struct splitter split = { .text = t, .out = to, .behavior = p->behavior, .invert = p->invert };
    for (size_t i = 0; i < from->n; i++) {
        struct piece piece = from->p[i];
        begin_piece(&split, piece);
        rkf_status rc = regex_each(p->regex, t->p + piece.begin, piece.end - piece.begin, on_match, &split, err);
        if (rc)
            return rc;
        end_piece(&split);
    }
    s->cur_pieces ^= 1;
    return RKF_OK;
}

static void cut_pieces(struct tokenizer_scratch *s, const struct pretokenizer *p)
{
    const struct pieces *from = scratch_pieces(s);
    struct pieces *to = scratch_next_pieces(s);
    const struct text *t = scratch_text(s);
    struct splitter split = { .text = t, .out = to, .behavior = p->behavior };
    for (size_t i = 0; i < from->n; i++) {
        if (p->kind == PRE_BERT)
            split_bert(t, from->p[i], to);
        else if (p->kind == PRE_WHITESPACE)
            split_whitespace(t, from->p[i], to);
        else if (p->kind == PRE_FIXED_LENGTH)
            split_fixed(t, from->p[i], p->length, to);
        else if (p->kind == PRE_CHAR_DELIMITER)
            split_chars(&split, from->p[i], 0, p->symbol, p->symbol_len);
        else
            split_chars(&split, from->p[i],
                        p->kind == PRE_PUNCTUATION ? UNI_PUNCT
                        : p->kind == PRE_DIGITS    ? UNI_NUMERIC
                                                   : UNI_SPACE,
                        NULL, 0);
    }
    s->cur_pieces ^= 1;
}

rkf_status pretokenize_run(const struct tokenizer *t, struct tokenizer_scratch *s, rkf_error *err)
{
    for (uint32_t i = 0; i < t->n_pretokenizers; i++) {
        const struct pretokenizer *p = &t->pretokenizers[i];
        rkf_status rc = RKF_OK;
        if (p->kind == PRE_METASPACE) {
            run_metaspace(s, p);
        } else if (p->kind == PRE_BYTE_LEVEL) {
            if (p->add_prefix_space)
                byte_level_prefix(s);
            if (p->use_regex)
                scan_pieces(s, p->scan);
            if (!p->raw)
                byte_level_map(s);
        } else if (p->kind == PRE_SPLIT && p->scan) {
            scan_pieces(s, p->scan);
        } else if (p->kind == PRE_SPLIT) {
            rc = regex_pieces(s, p, err);
        } else {
            cut_pieces(s, p);
        }
        if (rc)
            return rc;
        if (scratch_text(s)->failed || scratch_pieces(s)->failed)
            return rkf_fail_memory(err, scratch_text(s)->n, "the pieces of a text");
    }
    return RKF_OK;
}
