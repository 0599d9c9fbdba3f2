/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Normalisers that go character by character. Each reads the current working text and writes the other one, together
 * with the origin of every byte. The rules for origins are those of `tokenizers`: a character that replaces another
 * inherits its origin, one that is inserted takes the origin of the one before it.
 */
#include "tokenizer/internal.h"

#include <string.h>

/* The general form of a map: f appends what becomes of cp. */
typedef void map_fn(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out);

static void map_text(const struct normalizer *n, const struct text *in, struct text *out, map_fn *f)
{
    for (size_t i = 0; i < in->n;) {
        uint32_t w, cp = utf8_next(in->p + i, &w);
        f(n, cp, in->track ? in->at[i] : 0, out);
        i += w;
    }
}

static inline void put_lower(uint32_t cp, uint32_t at, struct text *out)
{
    if (cp == 0x130) {
        text_put(out, 'i', at);
        text_put(out, 0x307, at);
    } else {
        text_put(out, unicode_lower(cp), at);
    }
}

/* ---- BertNormalizer */

/* One character through all four steps; false: marks would have to be put in order, which needs the whole text. */
static bool bert_char(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    uint32_t flags = unicode_flags(cp), d[UNICODE_MAX_DECOMPOSITION];
    if (n->clean && (flags & UNI_CONTROL))
        return true;
    if (n->clean && (flags & UNI_SPACE))
        cp = ' ';
    bool cjk = n->cjk && (flags & UNI_CJK);
    if (cjk)
        text_put(out, ' ', at);
    uint32_t count = n->accents ? unicode_decompose(cp, false, d) : 0;
    if (!count) {
        d[0] = cp;
        count = 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (n->accents && d[i] >= 0x300) {
            if (unicode_flags(d[i]) & UNI_MN)
                continue;
            if (unicode_ccc(d[i]))
                return false;
        }
        if (n->lower)
            put_lower(d[i], at, out);
        else
            text_put(out, d[i], at);
    }
    if (cjk)
        text_put(out, ' ', at);
    return true;
}

bool normalize_bert(const struct normalizer *n, const struct text *in, struct text *out)
{
    size_t i = 0;
    while (i < in->n) {
        size_t room = in->n - i;
        if (!text_room(out, room))
            return true;
        char *to = out->p + out->n;
        for (; i < in->n && (unsigned char)in->p[i] < 0x80; i++) {
            uint8_t c = n->ascii[(unsigned char)in->p[i]];
            if (!c && (n->clean || in->p[i])) /* removed; without clean_text a NUL stays one */
                continue;
            *to++ = (char)c;
            if (out->track)
                out->at[to - 1 - out->p] = in->at[i];
        }
        out->n = (size_t)(to - out->p);
        while (i < in->n && (unsigned char)in->p[i] >= 0x80) {
            uint32_t w, cp = utf8_next(in->p + i, &w);
            if (!bert_char(n, cp, in->track ? in->at[i] : 0, out))
                return false;
            i += w;
        }
    }
    return true;
}

static void bert_clean(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    uint32_t flags = unicode_flags(cp);
    if (!(flags & UNI_CONTROL))
        text_put(out, flags & UNI_SPACE ? ' ' : cp, at);
}

static void bert_cjk(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    bool cjk = unicode_flags(cp) & UNI_CJK;
    if (cjk)
        text_put(out, ' ', at);
    text_put(out, cp, at);
    if (cjk)
        text_put(out, ' ', at);
}

static void bert_drop_mn(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    if (!(unicode_flags(cp) & UNI_MN))
        text_put(out, cp, at);
}

static void lowercase(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    put_lower(cp, at, out);
}

static void step(struct tokenizer_scratch *s, const struct normalizer *n, map_fn *f)
{
    struct text *out = scratch_next(s);
    map_text(n, scratch_text(s), out, f);
    scratch_swap(s);
}

static rkf_status run_form(struct tokenizer_scratch *s, bool compatible, bool compose, rkf_error *err)
{
    struct text *out = scratch_next(s);
    rkf_status rc = normalize_form(s, scratch_text(s), out, compatible, compose, err);
    scratch_swap(s);
    return rc;
}

static rkf_status run_bert(struct tokenizer_scratch *s, const struct normalizer *n, rkf_error *err)
{
    struct text *out = scratch_next(s);
    if (normalize_bert(n, scratch_text(s), out)) {
        scratch_swap(s);
        return RKF_OK;
    }
    if (n->clean)
        step(s, n, bert_clean);
    if (n->cjk)
        step(s, n, bert_cjk);
    if (n->accents) {
        rkf_status rc = run_form(s, false, false, err);
        if (rc)
            return rc;
        step(s, n, bert_drop_mn);
    }
    if (n->lower)
        step(s, n, lowercase);
    return RKF_OK;
}

/* ---- the small ones */

static void strip_accents(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    if (!(unicode_flags(cp) & UNI_MARK))
        text_put(out, cp, at);
}

static void nmt(const struct normalizer *n, uint32_t cp, uint32_t at, struct text *out)
{
    (void)n;
    if ((cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f || cp == 0x8f || cp == 0x9f)
        return;
    bool space = cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680 || (cp >= 0x200b && cp <= 0x200f) ||
                 cp == 0x2028 || cp == 0x2029 || cp == 0x2581 || cp == 0xfeff || cp == 0xfffd;
    text_put(out, space ? ' ' : cp, at);
}

static void run_strip(struct tokenizer_scratch *s, bool left, bool right)
{
    const struct text *in = scratch_text(s);
    size_t b = 0, e = in->n;
    uint32_t w;
    while (left && b < e && (unicode_flags(utf8_next(in->p + b, &w)) & UNI_SPACE))
        b += w;
    while (right && e > b && (unicode_flags(utf8_previous(in->p, e, &w)) & UNI_SPACE))
        e -= w;
    text_copy(scratch_next(s), in, b, e);
    scratch_swap(s);
}

static void run_prepend(struct tokenizer_scratch *s, const struct normalizer *n)
{
    const struct text *in = scratch_text(s);
    if (!in->n)
        return;
    struct text *out = scratch_next(s);
    text_add(out, n->content, n->content_len, in->track ? in->at[0] : 0);
    text_copy(out, in, 0, in->n);
    scratch_swap(s);
}

static void run_byte_level(struct tokenizer_scratch *s)
{
    const struct text *in = scratch_text(s);
    struct text *out = scratch_next(s);
    for (size_t i = 0; i < in->n; i++)
        text_put(out, byte_level_char((uint8_t)in->p[i]), in->track ? in->at[i] : 0);
    scratch_swap(s);
}

/* ---- Replace */

struct replace {
    const struct normalizer *n;
    const struct text *in;
    struct text *out;
    size_t done; /* bytes of in that are dealt with */
};

/* The content takes the origin of the last character of what it replaces. */
static void replace_one(void *arg, size_t begin, size_t end)
{
    struct replace *r = arg;
    text_copy(r->out, r->in, r->done, begin);
    uint32_t at = !r->in->track ? 0 : end ? r->in->at[end - 1] : r->in->n ? r->in->at[0] | AT_EMPTY : AT_EMPTY;
    text_add(r->out, r->n->content, r->n->content_len, at);
    r->done = end;
}

static void replace_spaces(struct replace *r) /* " {2,}" */
{
    const char *p = r->in->p;
    for (size_t i = 0, j; i < r->in->n; i = j) {
        const char *space = memchr(p + i, ' ', r->in->n - i);
        if (!space)
            return;
        i = (size_t)(space - p);
        for (j = i + 1; j < r->in->n && p[j] == ' '; j++)
            ;
        if (j - i > 1)
            replace_one(r, i, j);
    }
}

static void replace_literal(struct replace *r)
{
    const struct normalizer *n = r->n;
    const char *p = r->in->p, *hit;
    for (size_t i = 0; i < r->in->n; i = (size_t)(hit - p) + n->literal_len) {
        hit = memmem(p + i, r->in->n - i, n->literal, n->literal_len);
        if (!hit)
            return;
        replace_one(r, (size_t)(hit - p), (size_t)(hit - p) + n->literal_len);
    }
}

static rkf_status run_replace(struct tokenizer_scratch *s, const struct normalizer *n, rkf_error *err)
{
    struct replace r = { n, scratch_text(s), scratch_next(s), 0 };
    rkf_status rc = RKF_OK;
    if (n->spaces)
        replace_spaces(&r);
    else if (n->literal)
        replace_literal(&r);
    else
        rc = regex_each(n->regex, r.in->p, r.in->n, replace_one, &r, err);
    text_copy(r.out, r.in, r.done, r.in->n);
    scratch_swap(s);
    return rc;
}

static rkf_status run_one(struct tokenizer_scratch *s, const struct normalizer *n, rkf_error *err)
{
    switch (n->kind) {
    case NORM_BERT:
        return run_bert(s, n, err);
    case NORM_FORM:
        return run_form(s, n->compatible, n->compose, err);
    case NORM_LOWERCASE:
        step(s, n, lowercase);
        return RKF_OK;
    case NORM_STRIP_ACCENTS:
        step(s, n, strip_accents);
        return RKF_OK;
    case NORM_STRIP:
        run_strip(s, n->clean, n->cjk);
        return RKF_OK;
    case NORM_REPLACE:
        return run_replace(s, n, err);
    case NORM_PREPEND:
        run_prepend(s, n);
        return RKF_OK;
    case NORM_PRECOMPILED: {
        struct text *out = scratch_next(s);
        normalize_precompiled(n->map, scratch_text(s), out);
        scratch_swap(s);
        return RKF_OK;
    }
    case NORM_NMT:
        step(s, n, nmt);
        return RKF_OK;
    case NORM_BYTE_LEVEL:
        run_byte_level(s);
        return RKF_OK;
    }
    return rkf_fail(err, RKF_INTERNAL, "normalizer %d", (int)n->kind);
}

rkf_status normalize_run(const struct tokenizer *t, struct tokenizer_scratch *s, rkf_error *err)
{
    for (uint32_t i = 0; i < t->n_normalizers; i++) {
        rkf_status rc = run_one(s, &t->normalizers[i], err);
        if (rc)
            return rc;
        if (scratch_text(s)->failed)
            return rkf_fail_memory(err, scratch_text(s)->n, "a normalised text");
    }
    return RKF_OK;
}
