/* SPDX-License-Identifier: Apache-2.0 */
/* Working memory: buffers that grow and are kept from one text to the next. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

enum { KEEP = 1 << 20 }; /* elements of a buffer that survive a call; larger ones are given back */

bool scratch_room(void *p, size_t *cap, size_t need, size_t size)
{
    void **q = p;
    if (need <= *cap)
        return true;
    size_t want = *cap + *cap / 2 + 64;
    if (want < need)
        want = need;
    void *bigger = mem_grow(*q, want, size);
    if (!bigger)
        return false;
    *q = bigger;
    *cap = want;
    return true;
}

bool text_room(struct text *t, size_t more)
{
    if (t->failed || more > INT32_MAX - t->n) {
        t->failed = true;
        return false;
    }
    if (t->cap - t->n >= more)
        return true;
    size_t cap = t->cap, at_cap = t->cap;
    if (!scratch_room(&t->p, &cap, t->n + more, 1) || !scratch_room(&t->at, &at_cap, cap, sizeof *t->at)) {
        t->failed = true;
        return false;
    }
    t->cap = cap;
    return true;
}

void text_add(struct text *t, const char *s, size_t n, uint32_t at)
{
    if (!text_room(t, n))
        return;
    memcpy(t->p + t->n, s, n);
    if (t->track)
        for (size_t i = 0; i < n; i++)
            t->at[t->n + i] = at;
    t->n += n;
}

void text_copy(struct text *t, const struct text *from, size_t begin, size_t end)
{
    size_t n = end - begin;
    if (!n || !text_room(t, n))
        return;
    memcpy(t->p + t->n, from->p + begin, n);
    if (t->track)
        memcpy(t->at + t->n, from->at + begin, n * sizeof *t->at);
    t->n += n;
}

bool pieces_grow(struct pieces *list)
{
    if (list->failed || !scratch_room(&list->p, &list->cap, list->n + 1, sizeof *list->p))
        list->failed = true;
    return !list->failed;
}

bool tokens_grow(struct tokens *list, size_t more)
{
    if (list->failed || !scratch_room(&list->p, &list->cap, list->n + more, sizeof *list->p))
        list->failed = true;
    return !list->failed;
}

struct text *scratch_next(struct tokenizer_scratch *s)
{
    struct text *next = &s->text[s->cur ^ 1];
    next->n = 0;
    next->failed = s->text[s->cur].failed;
    next->track = s->text[s->cur].track;
    return next;
}

void scratch_swap(struct tokenizer_scratch *s)
{
    s->cur ^= 1;
}

struct pieces *scratch_next_pieces(struct tokenizer_scratch *s)
{
    struct pieces *next = &s->pieces[s->cur_pieces ^ 1];
    next->n = 0;
    next->failed = s->pieces[s->cur_pieces].failed;
    return next;
}

rkf_status tokenizer_scratch_create(struct tokenizer_scratch **out, rkf_error *err)
{
    struct tokenizer_scratch *s = mem_zalloc(1, sizeof *s);
    if (!s)
        return rkf_fail_memory(err, sizeof *s, "tokenizer scratch");
    s->cache = mem_zalloc(CACHE_SLOTS, sizeof *s->cache);
    if (!s->cache) {
        mem_free(s);
        return rkf_fail_memory(err, CACHE_SLOTS * sizeof *s->cache, "tokenizer scratch");
    }
    *out = s;
    return RKF_OK;
}

static void drop(void *p, size_t *cap, size_t keep)
{
    void **q = p;
    if (*cap > keep || !keep) { /* keep 0: also what a failed growth left with a capacity of 0 */
        mem_free(*q);
        *q = NULL;
        *cap = 0;
    }
}

static void trim(struct tokenizer_scratch *s, size_t keep)
{
    for (int i = 0; i < 2; i++) {
        size_t cap = s->text[i].cap;
        drop(&s->text[i].p, &s->text[i].cap, keep);
        drop(&s->text[i].at, &cap, keep);
        drop(&s->pieces[i].p, &s->pieces[i].cap, keep);
    }
    drop(&s->tokens.p, &s->tokens.cap, keep);
    drop(&s->model.p, &s->model.cap, keep);
    drop(&s->symbols, &s->symbols_cap, keep);
    drop(&s->heap, &s->heap_cap, keep);
    drop(&s->nodes, &s->nodes_cap, keep);
    drop(&s->marks, &s->marks_cap, keep);
}

void scratch_tidy(struct tokenizer_scratch *s)
{
    trim(s, KEEP);
}

void tokenizer_scratch_free(struct tokenizer_scratch *s)
{
    if (!s)
        return;
    trim(s, 0);
    mem_free(s->cache);
    mem_free(s);
}
