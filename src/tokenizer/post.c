/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Truncation, windows, special tokens. A text that is too long becomes several windows; the encoding is made of the
 * first window of each text, its overflow of all other combinations, in the order in which `tokenizers` makes them.
 */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

enum { MAX_WINDOWS = 1 << 20, MAX_WINDOW_TOKENS = 1 << 28 };

/* ---- windows over n tokens: at most `max` each, `step` apart */

struct windows {
    uint32_t first; /* in s->tokens */
    uint32_t n, max, step, count;
    bool left, whole_after; /* whole_after: the first window is empty, the second holds everything */
};

static void window(const struct windows *w, uint32_t i, uint32_t *begin, uint32_t *end)
{
    if (w->whole_after) {
        *begin = 0;
        *end = i ? w->n : 0;
    } else if (w->left) {
        *end = w->n - i * w->step;
        *begin = *end > w->max ? *end - w->max : 0;
    } else {
        *begin = i * w->step;
        *end = w->n - *begin > w->max ? *begin + w->max : w->n;
    }
}

static rkf_status cut(struct windows *w, uint32_t max, const struct encode_options *o, rkf_error *err)
{
    if (w->n <= max)
        return RKF_OK;
    w->max = max;
    w->left = o->side == TRUNCATE_LEFT;
    w->whole_after = max == 0;
    if (w->whole_after) {
        w->count = o->overflow ? 2 : 1;
        return RKF_OK;
    }
    if (!o->overflow)
        return RKF_OK;
    if (o->stride >= max)
        return rkf_fail(err, RKF_INVALID, "a stride of %u tokens does not fit into windows of %u: use a smaller stride",
                        o->stride, max);
    w->step = max - o->stride;
    w->count = 1 + (w->n - max + w->step - 1) / w->step;
    return RKF_OK;
}

/* How many tokens each text keeps so that together they have `max` (> 0), the longer one cut first. */
static void longest_first(uint32_t a, uint32_t b, uint32_t max, uint32_t keep[2])
{
    uint32_t small = a < b ? a : b, large;
    if (small > max)
        large = small;
    else
        large = small > max - small ? small : max - small;
    if (small + large > max) {
        small = max / 2;
        large = small + max % 2;
    }
    keep[0] = a > b ? large : small;
    keep[1] = a > b ? small : large;
}

static rkf_status truncate(struct windows w[2], bool pair, uint32_t max, const struct encode_options *o, rkf_error *err)
{
    uint64_t total = (uint64_t)w[0].n + w[1].n;
    uint32_t keep[2] = { w[0].n, w[1].n };
    if (max == 0) {
        keep[0] = keep[1] = 0;
    } else if (total <= max) {
        return RKF_OK;
    } else if (o->strategy == TRUNCATE_LONGEST_FIRST) {
        if (pair)
            longest_first(w[0].n, w[1].n, max, keep);
        else
            keep[0] = max;
    } else {
        int target = o->strategy == TRUNCATE_ONLY_SECOND;
        if (target && !pair)
            return rkf_fail(err, RKF_INVALID, "only the second text may be truncated, and there is none");
        if (w[target].n <= total - max)
            return rkf_fail(err, RKF_TOO_LONG, "the %s text alone has more tokens than fit: truncate it too",
                            target ? "first" : "second");
        keep[target] = (uint32_t)(w[target].n - (total - max));
    }
    rkf_status rc = cut(&w[0], keep[0], o, err);
    return rc ? rc : cut(&w[1], keep[1], o, err);
}

/* ---- one window of the encoding: a choice of one window for every piece of the template */

struct frame {
    const struct tokenizer *t;
    const struct tokenizer_scratch *s;
    const struct post_template *template;
    struct windows w[2];
    bool special, pair, offsets;
};

/* Choice number i of all but the first (which is all zeros): see Encoding::merge in `tokenizers` for the order. */
static void choose(const struct frame *f, uint32_t i, uint32_t choice[MAX_PIECES])
{
    uint64_t others[MAX_PIECES + 1]; /* combinations of the pieces before, without the first */
    uint64_t all = 1;
    for (uint32_t k = 0; k < f->template->n; k++) {
        others[k] = all - 1;
        choice[k] = 0;
        if (f->template->pieces[k].sequence >= 0)
            all *= f->w[f->template->pieces[k].sequence].count;
    }
    uint64_t left = i;
    for (uint32_t k = f->template->n; k-- > 0;) {
        if (f->template->pieces[k].sequence < 0)
            continue;
        uint32_t count = f->w[f->template->pieces[k].sequence].count;
        if (left >= others[k] * count) { /* the first of all pieces before, another of this one */
            choice[k] = (uint32_t)(left - others[k] * count) + 1;
            return;
        }
        choice[k] = (uint32_t)(left % count);
        left /= count;
    }
}

static uint64_t combinations(const struct frame *f)
{
    uint64_t all = 1;
    for (uint32_t k = 0; k < f->template->n && all <= MAX_WINDOWS; k++)
        if (f->template->pieces[k].sequence >= 0)
            all *= f->w[f->template->pieces[k].sequence].count;
    return all;
}

static uint32_t count_tokens(const struct frame *f, const uint32_t choice[MAX_PIECES])
{
    uint32_t n = 0, b, e;
    for (uint32_t k = 0; k < f->template->n; k++) {
        const struct post_piece *p = &f->template->pieces[k];
        if (p->sequence < 0) {
            n += f->special ? p->n : 0;
        } else {
            window(&f->w[p->sequence], choice[k], &b, &e);
            n += e - b;
        }
    }
    return n;
}

enum { BYTES_IDS = 5, BYTES_ALL = 5 + 8 + 4 + 1 + 1 }; /* of an encoding, per token */

/* Points the arrays of e into a block of n * BYTES_* bytes that is aligned to 4. */
static void lay_out(struct encoding *e, char *block, uint32_t n, bool offsets)
{
    *e = (struct encoding){ .n = n, .ids = (int32_t *)(void *)block };
    block += (size_t)n * 4;
    if (offsets) {
        e->offsets = (int32_t(*)[2])(void *)block;
        e->word_ids = (int32_t *)(void *)(block + (size_t)n * 8);
        block += (size_t)n * 12;
    }
    e->type_ids = (uint8_t *)block;
    if (offsets) {
        e->sequence_ids = (int8_t *)block + n;
        e->special = (uint8_t *)block + 2 * (size_t)n;
    }
}

static void put_special(const struct frame *f, const struct post_piece *p, struct encoding *e, uint32_t at)
{
    for (uint32_t i = 0; i < p->n; i++, at++) {
        e->ids[at] = f->t->post.ids[p->first + i];
        e->type_ids[at] = p->type_id;
        if (!f->offsets)
            continue;
        e->offsets[at][0] = e->offsets[at][1] = 0;
        e->word_ids[at] = -1;
        e->sequence_ids[at] = -1;
        e->special[at] = 1;
    }
}

/* trim_offsets: white space at the ends of a token is not part of it. index: in its window. */
static void trim(const struct post *post, const struct token *t, uint32_t index, int32_t offsets[2])
{
    uint32_t b = t->begin, e = t->end, lead = t->lead;
    if (lead == 1 && post->trim_space && (index == 0 || b == 0)) /* that space may be one that was added */
        lead = 0;
    if (lead)
        b = b + lead < e ? b + lead : e;
    if (t->trail && e >= t->trail)
        e = e - t->trail > b ? e - t->trail : b;
    offsets[0] = (int32_t)b;
    offsets[1] = (int32_t)e;
}

static void put_tokens(const struct frame *f, const struct token *tok, uint32_t n, uint8_t type, struct encoding *e,
                       uint32_t at)
{
    for (uint32_t i = 0; i < n; i++)
        e->ids[at + i] = tok[i].id;
    memset(e->type_ids + at, type, n);
    if (!f->offsets)
        return;
    for (uint32_t i = 0; i < n; i++) {
        if (f->t->post.trim) {
            trim(&f->t->post, &tok[i], i, e->offsets[at + i]);
        } else {
            e->offsets[at + i][0] = (int32_t)tok[i].begin;
            e->offsets[at + i][1] = (int32_t)tok[i].end;
        }
        e->word_ids[at + i] = (int32_t)tok[i].word;
    }
    memset(e->sequence_ids + at, -1, n);
    memset(e->special + at, 0, n);
}

/* Which tokens belong to which text. `tokenizers` keeps one range per text, takes "everything" for a text without one,
 * and counts the texts by the ranges it has. */
static void put_sequences(struct encoding *e, uint32_t range[2][2], const bool has[2])
{
    int texts = has[0] + has[1];
    for (int i = 0; i < (texts ? texts : 1); i++) {
        uint32_t b = has[i] ? range[i][0] : 0, end = has[i] ? range[i][1] : e->n;
        memset(e->sequence_ids + b, i, end - b);
    }
}

static void fill(const struct frame *f, const uint32_t choice[MAX_PIECES], struct encoding *e)
{
    const struct post *post = &f->t->post;
    uint32_t range[2][2] = { { 0 } }, at = 0;
    bool has[2] = { false, false };
    for (uint32_t k = 0; k < f->template->n; k++) {
        const struct post_piece *p = &f->template->pieces[k];
        if (p->sequence < 0) {
            if (f->special) {
                put_special(f, p, e, at);
                at += p->n;
            }
            continue;
        }
        const struct windows *w = &f->w[p->sequence];
        uint32_t b, end;
        window(w, choice[k], &b, &end);
        uint8_t type = !choice[k] ? p->type_id : post->roberta && !f->special ? (uint8_t)p->sequence : p->overflow_type;
        if (end > b)
            put_tokens(f, f->s->tokens.p + w->first + b, end - b, type, e, at);
        range[p->sequence][0] = at;
        at += end - b;
        range[p->sequence][1] = at;
        has[p->sequence] = !post->none || (f->pair && !choice[k]);
    }
    if (f->offsets && e->n)
        put_sequences(e, range, has);
}

/* ---- all of it */

static rkf_status fill_overflow(const struct frame *f, uint32_t n, struct encoding *out, rkf_error *err)
{
    uint32_t choice[MAX_PIECES];
    uint64_t total = 0;
    size_t per = f->offsets ? BYTES_ALL : BYTES_IDS;
    for (uint32_t i = 0; i < n; i++) {
        choose(f, i, choice);
        total += (count_tokens(f, choice) + 3) & ~3u; /* keeps every block aligned */
        if (total > MAX_WINDOW_TOKENS)
            return rkf_fail(err, RKF_TOO_LONG, "the text makes too many overlapping windows: use a smaller stride");
    }
    struct encoding *list = mem_alloc(n * sizeof *list + (size_t)total * per);
    if (!list)
        return rkf_fail_memory(err, n * sizeof *list + (size_t)total * per, "windows");
    char *block = (char *)(list + n);
    for (uint32_t i = 0; i < n; i++) {
        choose(f, i, choice);
        uint32_t count = count_tokens(f, choice);
        lay_out(&list[i], block, count, f->offsets);
        fill(f, choice, &list[i]);
        block += ((size_t)(count + 3) & ~(size_t)3) * per;
    }
    out->overflow = list;
    out->n_overflow = n;
    return RKF_OK;
}

static rkf_status make(const struct frame *f, const struct encode_options *o, struct encoding *out, rkf_error *err)
{
    uint32_t choice[MAX_PIECES] = { 0 };
    uint64_t all = o->overflow ? combinations(f) : 1;
    if (all > MAX_WINDOWS)
        return rkf_fail(err, RKF_TOO_LONG, "the text makes over %d overlapping windows: use a smaller stride",
                        (int)MAX_WINDOWS);
    uint32_t n = count_tokens(f, choice);
    size_t bytes = (size_t)n * (f->offsets ? BYTES_ALL : BYTES_IDS);
    char *block = mem_alloc(bytes);
    if (!block)
        return rkf_fail_memory(err, bytes, "an encoding");
    struct encoding e;
    lay_out(&e, block, n, f->offsets);
    fill(f, choice, &e);
    for (int i = 0; i < 2; i++) {
        uint32_t b, end;
        window(&f->w[i], 0, &b, &end);
        e.truncated += f->w[i].n - (end - b);
    }
    if (all > 1) {
        rkf_status rc = fill_overflow(f, (uint32_t)all - 1, &e, err);
        if (rc) {
            mem_free(block);
            return rc;
        }
    }
    *out = e;
    return RKF_OK;
}

rkf_status post_finish(const struct tokenizer *t, struct tokenizer_scratch *s, size_t n_first, bool pair,
                       const struct encode_options *o, struct encoding *out, rkf_error *err)
{
    if (s->tokens.n > INT32_MAX)
        return rkf_fail(err, RKF_TOO_LONG, "the text has too many tokens");
    uint32_t first = (uint32_t)n_first, second = (uint32_t)(s->tokens.n - n_first);
    struct frame f = { .t = t, .s = s, .template = pair ? &t->post.pair : &t->post.single };
    f.special = o->add_special_tokens;
    f.pair = pair;
    f.offsets = o->offsets;
    f.w[0] = (struct windows){ .n = first, .max = first, .count = 1 };
    f.w[1] = (struct windows){ .first = first, .n = second, .max = second, .count = 1 };
    if (o->max_length) {
        uint32_t added = f.special ? f.template->n_special : 0;
        if (o->max_length < added)
            return rkf_fail(err, RKF_INVALID, "max_length %u is too small: this model adds %u special tokens",
                            o->max_length, added);
        rkf_status rc = truncate(f.w, pair, o->max_length - added, o, err);
        if (rc)
            return rc;
    }
    return make(&f, o, out, err);
}

void encoding_free(struct encoding *e)
{
    mem_free(e->ids);
    mem_free(e->overflow);
    *e = (struct encoding){ 0 };
}
