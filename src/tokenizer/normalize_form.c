/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFC, NFD, NFKC, NFKD with origins. `tokenizers` decides origins by a script of changes: every output character says
 * how many input characters it uses up: 0: one, 1: none (it is new), -k: one and k more. Reordered marks keep their
 * number but not their place, so that origins follow the order of the output; the same here.
 */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

struct mark { /* one decomposed character */
    uint32_t cp;
    int32_t change;
    uint8_t ccc;
};

static inline void skip_char(struct writer *w)
{
    if (w->at < w->in->n)
        w->at += utf8_width(w->in->p[w->at]);
}

void writer_put(struct writer *w, uint32_t cp, int32_t change)
{
    uint32_t at = 0;
    if (w->in->track && change > 0)
        at = w->at ? w->in->at[w->at - 1] : w->in->at[0] | AT_EMPTY;
    else if (w->in->track)
        at = w->in->at[w->at < w->in->n ? w->at : w->in->n - 1];
    text_put(w->out, cp, at);
    if (w->in->track)
        for (int32_t i = change; i <= 0; i++)
            skip_char(w);
}

/* Recomposition: a starter (composee) and the marks after it that did not compose. */
struct composer {
    struct writer *w;
    struct mark composee;
    bool has;
    int32_t last_ccc; /* of the marks kept in `held`; -1: none */
    struct mark *held;
    size_t n_held, cap;
};

static void flush_held(struct composer *c)
{
    for (size_t i = 0; i < c->n_held; i++)
        writer_put(c->w, c->held[i].cp, c->held[i].change);
    c->n_held = 0;
    c->last_ccc = -1;
}

/* false: out of memory */
static bool compose_push(struct composer *c, struct mark m)
{
    if (!c->has) {
        if (m.ccc) {
            writer_put(c->w, m.cp, m.change);
        } else {
            c->composee = m;
            c->has = true;
        }
        return true;
    }
    if (c->last_ccc < m.ccc) { /* not blocked */
        uint32_t r = unicode_compose(c->composee.cp, m.cp);
        if (r) {
            c->composee.cp = r;
            c->composee.change += m.change - 1;
            return true;
        }
    }
    if (m.ccc == 0) {
        writer_put(c->w, c->composee.cp, c->composee.change);
        flush_held(c);
        c->composee = m;
        return true;
    }
    if (!scratch_room(&c->held, &c->cap, c->n_held + 1, sizeof *c->held))
        return false;
    c->held[c->n_held++] = m;
    c->last_ccc = m.ccc;
    return true;
}

/* Stable insertion sort: runs of marks are short; long ones (an attack) go through counting. */
static bool sort_marks(struct mark *m, size_t n)
{
    if (n <= 32) {
        for (size_t i = 1; i < n; i++) {
            struct mark x = m[i];
            size_t j = i;
            for (; j > 0 && m[j - 1].ccc > x.ccc; j--)
                m[j] = m[j - 1];
            m[j] = x;
        }
        return true;
    }
    size_t start[257] = { 0 };
    struct mark *copy = mem_array(n, sizeof *copy);
    if (!copy)
        return false;
    memcpy(copy, m, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        start[copy[i].ccc + 1]++;
    for (int i = 0; i < 256; i++)
        start[i + 1] += start[i];
    for (size_t i = 0; i < n; i++)
        m[start[copy[i].ccc]++] = copy[i];
    mem_free(copy);
    return true;
}

struct form {
    struct writer w;
    struct composer c;
    bool compose;
    struct mark *run; /* a starter and the marks after it */
    size_t n_run, cap;
};

static bool flush_run(struct form *f)
{
    size_t first = f->n_run && !f->run[0].ccc;
    if (f->n_run - first > 1 && !sort_marks(f->run + first, f->n_run - first))
        return false;
    for (size_t i = 0; i < f->n_run; i++) {
        if (!f->compose)
            writer_put(&f->w, f->run[i].cp, f->run[i].change);
        else if (!compose_push(&f->c, f->run[i]))
            return false;
    }
    f->n_run = 0;
    return true;
}

static bool push(struct form *f, uint32_t cp, int32_t change)
{
    uint8_t ccc = cp < 0x300 ? 0 : unicode_ccc(cp);
    if (!ccc && f->n_run && !flush_run(f))
        return false;
    if (!scratch_room(&f->run, &f->cap, f->n_run + 1, sizeof *f->run))
        return false;
    f->run[f->n_run++] = (struct mark){ cp, change, ccc };
    return true;
}

static bool run_form(struct form *f, const struct text *in, bool compatible)
{
    uint32_t d[UNICODE_MAX_DECOMPOSITION];
    for (size_t i = 0; i < in->n;) {
        uint32_t w, cp = utf8_next(in->p + i, &w);
        uint32_t n = unicode_decompose(cp, compatible, d);
        if (!n) {
            d[0] = cp;
            n = 1;
        }
        for (uint32_t k = 0; k < n; k++)
            if (!push(f, d[k], k > 0))
                return false;
        i += w;
    }
    if (!flush_run(f))
        return false;
    if (f->c.has)
        writer_put(&f->w, f->c.composee.cp, f->c.composee.change);
    flush_held(&f->c);
    return true;
}

rkf_status normalize_form(struct tokenizer_scratch *s, const struct text *in, struct text *out, bool compatible,
                          bool compose, rkf_error *err)
{
    (void)s;
    size_t ascii = 0;
    while (ascii < in->n && (unsigned char)in->p[ascii] < 0x80)
        ascii++;
    if (ascii == in->n) {
        text_copy(out, in, 0, in->n);
        return RKF_OK;
    }
    struct form f = { .w = { in, out, 0 }, .compose = compose };
    f.c = (struct composer){ .w = &f.w, .last_ccc = -1 };
    bool ok = run_form(&f, in, compatible);
    mem_free(f.run);
    mem_free(f.c.held);
    return ok ? RKF_OK : rkf_fail_memory(err, in->n, "a normalised text");
}
