/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/record.h"

#include <string.h>

enum { CHUNK = 4096 }; /* numbers between two looks at the size of the output */

void record_put_int(struct buf *b, int64_t v)
{
    char digits[24], *p = digits + sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0)
        *--p = '-';
    buf_append(b, p, (size_t)(digits + sizeof digits - p));
}

void record_begin(struct buf *b, uint64_t index)
{
    buf_puts(b, "{\"index\":");
    record_put_int(b, (int64_t)index);
}

void record_end(struct buf *b, int64_t truncated)
{
    if (truncated > 0) {
        buf_puts(b, ",\"truncated\":");
        record_put_int(b, truncated);
    }
    buf_puts(b, "}\n");
}

int64_t record_truncated(const rkf_result *result)
{
    rkf_info info;
    return rkf_result_info(result, RKF_ALL, &info) ? 0 : info.truncated;
}

void record_put_ints(struct buf *b, const int32_t *v, size_t n)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(b, ',');
        record_put_int(b, v[i]);
    }
    buf_putc(b, ']');
}

void record_put_str(struct buf *b, const char *key, rkf_str text)
{
    json_put_str(b, key, strlen(key));
    buf_putc(b, ':');
    json_put_str(b, text.ptr ? text.ptr : "", text.len);
}

void record_put_score(struct buf *b, float score)
{
    buf_puts(b, ",\"score\":");
    json_put_f32(b, score);
}

/* ---- tensors */

size_t record_tensor_size(const rkf_tensor *t)
{
    size_t n = 1;
    for (int32_t i = 0; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

void record_put_shape(struct buf *b, const rkf_tensor *t)
{
    buf_putc(b, '[');
    for (int32_t i = 0; i < t->ndim; i++) {
        if (i)
            buf_putc(b, ',');
        record_put_int(b, t->shape[i]);
    }
    buf_putc(b, ']');
}

/* [a,b,c] of elements begin..begin + n */
static void put_chunk(struct buf *b, const rkf_tensor *t, size_t begin, size_t n)
{
    if (t->type == RKF_F32) {
        json_put_f32s(b, (const float *)t->data + begin, n);
        return;
    }
    buf_putc(b, '[');
    for (size_t i = begin; i < begin + n; i++) {
        if (i > begin)
            buf_putc(b, ',');
        record_put_int(b, t->type == RKF_I8   ? ((const int8_t *)t->data)[i]
                          : t->type == RKF_U8 ? ((const uint8_t *)t->data)[i]
                                              : ((const int32_t *)t->data)[i]);
    }
    buf_putc(b, ']');
}

rkf_status record_put_tensor(struct output *to, const rkf_tensor *t, rkf_error *err)
{
    struct buf *b = &to->text;
    size_t total = record_tensor_size(t);
    for (size_t i = 0; i < total || !i; i += CHUNK) {
        size_t at = b->len;
        put_chunk(b, t, i, total - i < CHUNK ? total - i : CHUNK);
        if (b->failed)
            return rkf_fail_memory(err, total, "output");
        if (i)
            b->p[at] = ','; /* goes on where the last chunk left its bracket open */
        if (total - i <= CHUNK)
            break;
        b->p[--b->len] = 0;
        rkf_status rc = output_spill(to, err);
        if (rc)
            return rc;
    }
    return RKF_OK;
}

/* ---- lists of answers */

void record_put_labels(struct buf *b, const rkf_label *labels, size_t n)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i ? ",{" : "{");
        record_put_str(b, "label", labels[i].label);
        record_put_score(b, labels[i].score);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

static void put_range(struct buf *b, const rkf_span *span)
{
    buf_puts(b, ",\"start\":");
    record_put_int(b, span->start);
    buf_puts(b, ",\"end\":");
    record_put_int(b, span->end);
}

void record_put_entities(struct buf *b, const rkf_span *spans, size_t n)
{
    buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        const struct rkf_span *s = &spans[i];
        buf_puts(b, i ? ",{" : "{");
        record_put_str(b, s->index < 0 ? "entity_group" : "entity", s->label);
        record_put_score(b, s->score);
        if (s->index >= 0) {
            buf_puts(b, ",\"index\":");
            record_put_int(b, s->index);
        }
        buf_putc(b, ',');
        record_put_str(b, "word", s->text);
        put_range(b, s);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

void record_put_fills(struct buf *b, const rkf_fill *fills, size_t n)
{
    bool several = false;
    for (size_t i = 0; i < n; i++)
        several = several || fills[i].mask > 0;
    buf_putc(b, '[');
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i ? ",{" : "{");
        if (several) {
            buf_puts(b, "\"mask\":");
            record_put_int(b, fills[i].mask);
            buf_putc(b, ',');
        }
        buf_puts(b, "\"token\":");
        record_put_int(b, fills[i].token);
        buf_putc(b, ',');
        record_put_str(b, "token_str", fills[i].token_str);
        record_put_score(b, fills[i].score);
        buf_putc(b, ',');
        record_put_str(b, "sequence", fills[i].sequence);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}
