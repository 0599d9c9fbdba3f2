/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of text-embeddings-inference, and what all writers share. */
#include "server/encode.h"
#include "server/writers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void put_key_str(struct buf *out, const char *key, const char *s)
{
    buf_puts(out, key);
    json_put_str(out, s, strlen(s));
}

void put_score(struct buf *out, float f)
{
    json_put_f32(out, f);
}

static void put_bytes(struct buf *out, const struct api_item *item, int64_t n)
{
    const int8_t *s = item->data;
    const uint8_t *u = item->data;
    buf_putc(out, '[');
    for (int64_t i = 0; i < n; i++)
        buf_printf(out, i ? ",%d" : "%d", item->type == RKF_I8 ? s[i] : u[i]);
    buf_putc(out, ']');
}

void put_vector(struct buf *out, const struct api_item *item, bool base64)
{
    size_t n = (size_t)item->dim;
    if (base64) {
        buf_putc(out, '"');
        base64_put(out, item->data, item->type == RKF_F32 ? n * sizeof(float) : n);
        buf_putc(out, '"');
    } else if (item->type == RKF_F32) {
        json_put_f32s(out, item->data, n);
    } else {
        put_bytes(out, item, item->dim);
    }
}

static int by_falling_score(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;
    if (a->score != b->score)
        return a->score < b->score ? 1 : -1;
    return (a->index > b->index) - (a->index < b->index);
}

struct ranked *rank_items(const struct api_answer *a, struct api_error *e)
{
    struct ranked *r = mem_array(a->n, sizeof *r);
    if (!r) {
        api_fail(e, FAULT_INTERNAL, "", "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < a->n; i++) {
        r[i] = (struct ranked){ i, a->items[i].labels[0].score };
        if (isnan(r[i].score)) {
            mem_free(r);
            api_fail(e, FAULT_BACKEND, "", "score is NaN");
            return NULL;
        }
    }
    qsort(r, a->n, sizeof *r, by_falling_score);
    return r;
}

/* The items in the precision that was asked; *mem holds what was made. NULL: out of memory. */
static const struct api_item *in_precision(const struct api_answer *a, struct arena *mem, struct api_error *e)
{
    if (a->req->precision == EMBED_FLOAT)
        return a->items;
    struct api_item *items = arena_array(mem, a->n, sizeof *items);
    if (items && quantize_items(a->items, a->n, (enum embed_type)a->req->precision, mem, items))
        return items;
    api_fail(e, FAULT_INTERNAL, "", "out of memory");
    return NULL;
}

bool write_tei_embed(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    struct arena mem = { 0 };
    const struct api_item *items = in_precision(a, &mem, e);
    buf_putc(out, '[');
    for (size_t i = 0; items && i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        put_vector(out, &items[i], false);
    }
    buf_putc(out, ']');
    arena_free(&mem);
    return items != NULL;
}

bool write_tei_embed_all(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        const struct api_item *item = &a->items[i];
        const float *rows = item->data; /* [rows, dim] */
        buf_puts(out, i ? ",[" : "[");
        for (int64_t r = 0; r < item->rows; r++) {
            if (r)
                buf_putc(out, ',');
            json_put_f32s(out, rows + r * item->dim, (size_t)item->dim);
        }
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
    return true;
}

bool write_tei_embed_sparse(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        buf_puts(out, i ? ",[" : "[");
        for (size_t k = 0; k < a->items[i].n; k++) {
            buf_printf(out, "%s{\"index\":%d,\"value\":", k ? "," : "", a->items[i].sparse[k].index);
            put_score(out, a->items[i].sparse[k].value);
            buf_putc(out, '}');
        }
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
    return true;
}

static bool put_predictions(struct buf *out, const struct api_item *item, struct api_error *e)
{
    buf_putc(out, '[');
    for (size_t k = 0; k < item->n; k++) {
        if (isnan(item->labels[k].score))
            return api_fail(e, FAULT_BACKEND, "", "score is NaN");
        buf_puts(out, k ? ",{\"score\":" : "{\"score\":");
        put_score(out, item->labels[k].score);
        buf_puts(out, ",\"label\":");
        json_put_str(out, item->labels[k].label.ptr, item->labels[k].label.len);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    return true;
}

bool write_tei_predict(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    if (a->req->single)
        return put_predictions(out, &a->items[0], e);
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        if (!put_predictions(out, &a->items[i], e))
            return false;
    }
    buf_putc(out, ']');
    return true;
}

bool write_tei_rerank(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    struct ranked *r = rank_items(a, e);
    if (!r)
        return false;
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        rkf_str text = a->req->inputs[r[i].index].text;
        buf_printf(out, "%s{\"index\":%zu", i ? "," : "", r[i].index);
        if (a->req->return_text == TRI_YES) {
            buf_puts(out, ",\"text\":");
            json_put_str(out, text.ptr, text.len);
        }
        buf_puts(out, ",\"score\":");
        put_score(out, r[i].score);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    mem_free(r);
    return true;
}

float cosine_of(const struct api_item *x, const struct api_item *y)
{
    const float *a = x->data, *b = y->data; /* [dim] */
    double dot = 0, aa = 0, bb = 0;
    for (int64_t d = 0; d < x->dim; d++) {
        dot += (double)a[d] * b[d];
        aa += (double)a[d] * a[d];
        bb += (double)b[d] * b[d];
    }
    return aa > 0 && bb > 0 ? (float)(dot / sqrt(aa * bb)) : 0;
}

/* Item 0 is the source sentence. */
bool write_tei_similarity(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_putc(out, '[');
    for (size_t i = 1; i < a->n; i++) {
        if (i > 1)
            buf_putc(out, ',');
        put_score(out, cosine_of(&a->items[0], &a->items[i]));
    }
    buf_putc(out, ']');
    return true;
}

/* The peer counts start and stop in bytes, our offsets in code points. */
static void put_token(struct buf *out, const struct api_item *item, rkf_str text, size_t k)
{
    const rkf_tokens *t = item->tokenized;
    buf_printf(out, "%s{\"id\":%d,\"text\":", k ? "," : "", t->ids[k]);
    if (t->special[k]) {
        const char *word = item->token_texts[k] ? item->token_texts[k] : "";
        json_put_str(out, word, strlen(word));
        buf_puts(out, ",\"special\":true,\"start\":null,\"stop\":null}");
        return;
    }
    size_t begin = utf8_byte_of(text.ptr, text.len, t->offsets[k][0]);
    size_t end = utf8_byte_of(text.ptr, text.len, t->offsets[k][1]);
    json_put_str(out, text.ptr + begin, end > begin ? end - begin : 0);
    buf_printf(out, ",\"special\":false,\"start\":%zu,\"stop\":%zu}", begin, end);
}

bool write_tei_tokenize(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        buf_puts(out, i ? ",[" : "[");
        for (size_t k = 0; k < a->items[i].tokenized->n; k++)
            put_token(out, &a->items[i], a->req->inputs[i].text, k);
        buf_putc(out, ']');
    }
    buf_putc(out, ']');
    return true;
}

bool write_tei_decode(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++)
        put_key_str(out, i ? "," : "", a->items[i].text);
    buf_putc(out, ']');
    return true;
}
