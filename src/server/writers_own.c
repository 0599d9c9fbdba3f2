/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of our own routes: the pipelines' fields, one list per input where the client sent a list. */
#include "server/writers.h"

#include <string.h>

static void put_str(struct buf *out, const char *key, rkf_str s)
{
    buf_puts(out, key);
    json_put_str(out, s.ptr ? s.ptr : "", s.len);
}

/* Runs `put` for the one input, or for each in a list. */
static void put_each(const struct api_answer *a, struct buf *out, bool nested,
                     void (*put)(const struct api_answer *a, const struct api_item *item, struct buf *out))
{
    if (a->req->single && !nested) {
        put(a, &a->items[0], out);
        return;
    }
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        put(a, &a->items[i], out);
    }
    buf_putc(out, ']');
}

static bool ignored(const struct api_request *r, rkf_str label)
{
    for (size_t i = 0; i < r->n_labels; i++)
        if (r->labels[i].len == label.len && !memcmp(r->labels[i].ptr, label.ptr, label.len))
            return true;
    return false;
}

static void put_entities(const struct api_answer *a, const struct api_item *item, struct buf *out)
{
    bool plain = a->req->rq.aggregation == RKF_AGGREGATE_NONE;
    const char *comma = "";
    buf_putc(out, '[');
    for (size_t k = 0; k < item->n; k++) {
        const rkf_span *s = &item->spans[k];
        if (ignored(a->req, s->label))
            continue;
        buf_puts(out, comma);
        put_str(out, plain ? "{\"entity\":" : "{\"entity_group\":", s->label);
        buf_puts(out, ",\"score\":");
        put_score(out, s->score);
        if (plain)
            buf_printf(out, ",\"index\":%d", s->index);
        put_str(out, ",\"word\":", s->text);
        buf_printf(out, ",\"start\":%lld,\"end\":%lld}", (long long)s->start, (long long)s->end);
        comma = ",";
    }
    buf_putc(out, ']');
}

bool write_ner(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_each(a, out, false, put_entities);
    return true;
}

static void put_answer(const rkf_span *s, struct buf *out)
{
    buf_puts(out, "{\"score\":");
    put_score(out, s->score);
    buf_printf(out, ",\"start\":%lld,\"end\":%lld", (long long)s->start, (long long)s->end);
    put_str(out, ",\"answer\":", s->text);
    buf_putc(out, '}');
}

/* The pipeline gives an object, and a list for top_k above 1. */
static void put_answers(const struct api_answer *a, const struct api_item *item, struct buf *out)
{
    static const rkf_span none = { .text = { "", 0 } };
    if (a->req->rq.top_k <= 1) {
        put_answer(item->n ? &item->spans[0] : &none, out);
        return;
    }
    buf_putc(out, '[');
    for (size_t k = 0; k < item->n; k++) {
        if (k)
            buf_putc(out, ',');
        put_answer(&item->spans[k], out);
    }
    buf_putc(out, ']');
}

bool write_qa(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_each(a, out, false, put_answers);
    return true;
}

static void put_fill(const rkf_fill *f, struct buf *out)
{
    buf_puts(out, "{\"score\":");
    put_score(out, f->score);
    buf_printf(out, ",\"token\":%d", f->token);
    put_str(out, ",\"token_str\":", f->token_str);
    put_str(out, ",\"sequence\":", f->sequence);
    buf_putc(out, '}');
}

/* One mask: a list of fills; several: a list of lists. */
static void put_fills(const struct api_answer *a, const struct api_item *item, struct buf *out)
{
    bool several = item->n && item->fills[item->n - 1].mask > 0;
    (void)a;
    buf_puts(out, several ? "[[" : "[");
    for (size_t k = 0; k < item->n; k++) {
        if (k)
            buf_puts(out, item->fills[k].mask != item->fills[k - 1].mask ? "],[" : ",");
        put_fill(&item->fills[k], out);
    }
    buf_puts(out, several ? "]]" : "]");
}

bool write_fill_mask(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_each(a, out, false, put_fills);
    return true;
}

static void put_labels(const struct api_answer *a, const struct api_item *item, struct buf *out)
{
    (void)a;
    buf_putc(out, '[');
    for (size_t k = 0; k < item->n; k++) {
        put_str(out, k ? ",{\"label\":" : "{\"label\":", item->labels[k].label);
        buf_puts(out, ",\"score\":");
        put_score(out, item->labels[k].score);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

/* Hugging Face's API nests also a single input's labels. */
bool write_classify(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_each(a, out, true, put_labels);
    return true;
}

bool write_zero_shot(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_each(a, out, false, put_labels);
    return true;
}

bool write_choose(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    size_t best = 0;
    (void)e;
    for (size_t i = 1; i < a->n; i++)
        if (a->items[i].labels[0].score > a->items[best].labels[0].score)
            best = i;
    buf_printf(out, "{\"choice\":%zu,\"scores\":[", best);
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        put_score(out, a->items[i].labels[0].score);
    }
    buf_puts(out, "]}");
    return true;
}
