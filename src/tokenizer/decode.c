/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids back to text. Decoders transform a list of strings one after the other; the strings live end to end in a buffer,
 * cut by an array of ends.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

#include <string.h>

enum { MAX_DECODED = 512 << 20 };

struct strings {
    struct buf text;
    size_t *ends;
    size_t n, cap;
    bool failed;
};

static void strings_begin(struct strings *s)
{
    buf_clear(&s->text);
    s->n = 0;
}

static void strings_end(struct strings *s) /* what was appended to text since the last one is a string */
{
    if (s->failed || !scratch_room(&s->ends, &s->cap, s->n + 1, sizeof *s->ends))
        s->failed = true;
    else
        s->ends[s->n++] = s->text.len;
}

static const char *string_at(const struct strings *s, size_t i, size_t *len)
{
    size_t begin = i ? s->ends[i - 1] : 0;
    *len = s->ends[i] - begin;
    return *len ? s->text.p + begin : "";
}

/* p[0..n) with every `from` replaced by `to`. */
static void put_replaced(struct buf *out, const char *p, size_t n, const char *from, size_t from_len, const char *to,
                         size_t to_len)
{
    const char *hit;
    while (n && (hit = memmem(p, n, from, from_len))) {
        buf_append(out, p, (size_t)(hit - p));
        buf_append(out, to, to_len);
        n -= (size_t)(hit - p) + from_len;
        p = hit + from_len;
    }
    buf_append(out, p, n);
}

/* ---- WordPiece */

/* Clean-up of English text, in this order; as old as BERT. */
static const char *const cleanups[][2] = {
    { " .", "." },   { " ?", "?" },           { " !", "!" },   { " ,", "," },     { " ' ", "'" },    { " n't", "n't" },
    { " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
};

static void clean_up(struct buf *b, struct buf *tmp)
{
    for (size_t i = 0; i < sizeof cleanups / sizeof *cleanups; i++) {
        const char *from = cleanups[i][0], *to = cleanups[i][1];
        if (!b->len || !memmem(b->p, b->len, from, strlen(from)))
            continue;
        buf_clear(tmp);
        put_replaced(tmp, b->p, b->len, from, strlen(from), to, strlen(to));
        struct buf swap = *b;
        *b = *tmp;
        *tmp = swap;
    }
}

static void decode_wordpiece(const struct decoder *d, const struct strings *in, struct strings *out)
{
    struct buf one, tmp;
    buf_init(&one, MAX_DECODED);
    buf_init(&tmp, MAX_DECODED);
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        buf_clear(&one);
        if (i && len >= d->text_len && !memcmp(p, d->text, d->text_len)) {
            p += d->text_len;
            len -= d->text_len;
        } else if (i) {
            buf_putc(&one, ' ');
        }
        buf_append(&one, p, len);
        if (d->cleanup)
            clean_up(&one, &tmp);
        buf_append(&out->text, one.p, one.len);
        strings_end(out);
        out->failed |= one.failed || tmp.failed;
    }
    buf_free(&one);
    buf_free(&tmp);
}

/* ---- the others */

/* As String::from_utf8_lossy. */
static void decode_byte_level(const struct strings *in, struct strings *out)
{
    struct buf bytes;
    buf_init(&bytes, MAX_DECODED);
    for (size_t i = 0; i < in->n; i++) {
        size_t len, start = bytes.len;
        uint32_t w;
        const char *p = string_at(in, i, &len);
        for (size_t k = 0; k < len; k += w) {
            int b = byte_level_byte(utf8_next(p + k, &w));
            if (b < 0) { /* not made of byte characters: it stands for itself */
                if (!bytes.failed)
                    bytes.len = start;
                buf_append(&bytes, p, len);
                break;
            }
            buf_putc(&bytes, (char)b);
        }
    }
    utf8_append_replaced(&out->text, bytes.p, bytes.len);
    out->failed |= bytes.failed;
    buf_free(&bytes);
    strings_end(out);
}

static void decode_metaspace(const struct decoder *d, const struct strings *in, struct strings *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        bool drop = i == 0 && d->prepend != PREPEND_NEVER;
        put_replaced(&out->text, p, len, d->text, d->text_len, " ", drop ? 0 : 1);
        strings_end(out);
    }
}

static void decode_bpe(const struct decoder *d, const struct strings *in, struct strings *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        if (d->text_len)
            put_replaced(&out->text, p, len, d->text, d->text_len, " ", i + 1 < in->n);
        else
            buf_append(&out->text, p, len);
        strings_end(out);
    }
}

struct replacing {
    const struct decoder *d;
    struct buf *out;
    const char *p;
    size_t done;
};

static void replace_match(void *arg, size_t begin, size_t end)
{
    struct replacing *r = arg;
    buf_append(r->out, r->p + r->done, begin - r->done);
    buf_append(r->out, r->d->text, r->d->text_len);
    r->done = end;
}

static rkf_status decode_replace(const struct decoder *d, const struct strings *in, struct strings *out, rkf_error *err)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        if (d->literal) {
            put_replaced(&out->text, p, len, d->literal, d->literal_len, d->text, d->text_len);
        } else {
            struct replacing r = { d, &out->text, p, 0 };
            rkf_status rc = regex_each(d->regex, p, len, replace_match, &r, err);
            if (rc)
                return rc;
            buf_append(&out->text, p + r.done, len - r.done);
        }
        strings_end(out);
    }
    return RKF_OK;
}

static void decode_strip(const struct decoder *d, const struct strings *in, struct strings *out)
{
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        for (size_t k = 0; k < d->start && len >= d->text_len && len && !memcmp(p, d->text, d->text_len); k++) {
            p += d->text_len;
            len -= d->text_len;
        }
        for (size_t k = 0;
             k < d->stop && len >= d->text_len && len && !memcmp(p + len - d->text_len, d->text, d->text_len); k++)
            len -= d->text_len;
        buf_append(&out->text, p, len);
        strings_end(out);
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void flush_bytes(struct buf *bytes, struct strings *out)
{
    if (!bytes->len)
        return;
    if (utf8_valid_prefix(bytes->p, bytes->len) == bytes->len) {
        buf_append(&out->text, bytes->p, bytes->len);
        strings_end(out);
    } else {
        for (size_t i = 0; i < bytes->len; i++) {
            buf_append(&out->text, "\xef\xbf\xbd", 3);
            strings_end(out);
        }
    }
    buf_clear(bytes);
}

static void decode_byte_fallback(const struct strings *in, struct strings *out)
{
    struct buf bytes;
    buf_init(&bytes, MAX_DECODED);
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *p = string_at(in, i, &len);
        if (len == 6 && !memcmp(p, "<0x", 3) && p[5] == '>' && hex(p[3]) >= 0 && hex(p[4]) >= 0) {
            buf_putc(&bytes, (char)(hex(p[3]) << 4 | hex(p[4])));
            continue;
        }
        flush_bytes(&bytes, out);
        buf_append(&out->text, p, len);
        strings_end(out);
    }
    flush_bytes(&bytes, out);
    out->failed |= bytes.failed;
    buf_free(&bytes);
}

static rkf_status run_decoder(const struct decoder *d, const struct strings *in, struct strings *out, rkf_error *err)
{
    switch (d->kind) {
    case DECODE_WORDPIECE:
        decode_wordpiece(d, in, out);
        return RKF_OK;
    case DECODE_BYTE_LEVEL:
        decode_byte_level(in, out);
        return RKF_OK;
    case DECODE_METASPACE:
        decode_metaspace(d, in, out);
        return RKF_OK;
    case DECODE_BPE:
        decode_bpe(d, in, out);
        return RKF_OK;
    case DECODE_REPLACE:
        return decode_replace(d, in, out, err);
    case DECODE_FUSE:
        buf_append(&out->text, in->text.p, in->text.len);
        strings_end(out);
        return RKF_OK;
    case DECODE_STRIP:
        decode_strip(d, in, out);
        return RKF_OK;
    case DECODE_BYTE_FALLBACK:
        decode_byte_fallback(in, out);
        return RKF_OK;
    }
    return rkf_fail(err, RKF_INTERNAL, "decoder %d", (int)d->kind);
}

static bool special_content(const struct tokenizer *t, const char *p, size_t len)
{
    int32_t id = vocab_find(&t->added.contents, p, len);
    const struct added_token *a = added_by_id(&t->added, id);
    return a && a->special;
}

static void collect(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip, struct strings *out)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const struct added_token *a = added_by_id(&t->added, ids[i]);
        const char *p = a ? a->pattern : vocab_token(&t->model.vocab, ids[i], &len);
        if (a)
            len = a->pattern_len;
        if (!p || (skip && special_content(t, p, len)))
            continue;
        buf_append(&out->text, p, len);
        strings_end(out);
    }
}

/* Runs list[0] through the decoders and appends what comes out; frees both lists. */
static rkf_status decode_strings(const struct tokenizer *t, struct strings list[2], struct buf *out, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    unsigned cur = 0;
    for (uint32_t i = 0; i < t->n_decoders && !rc; i++) {
        strings_begin(&list[!cur]);
        rc = run_decoder(&t->decoders[i], &list[cur], &list[!cur], err);
        cur = !cur;
    }
    struct strings *s = &list[cur];
    for (size_t i = 0; !rc && i < s->n; i++) {
        size_t len;
        const char *p = string_at(s, i, &len);
        if (i && !t->n_decoders)
            buf_putc(out, ' ');
        buf_append(out, p, len);
    }
    if (!rc && (list[0].failed || list[1].failed || list[0].text.failed || list[1].text.failed || out->failed))
        rc = rkf_fail_memory(err, s->text.len, "decoded text");
    for (int i = 0; i < 2; i++) {
        buf_free(&list[i].text);
        mem_free(list[i].ends);
    }
    return rc;
}

rkf_status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special_tokens,
                            struct buf *out, rkf_error *err)
{
    struct strings list[2] = { { .n = 0 }, { .n = 0 } };
    buf_init(&list[0].text, MAX_DECODED);
    buf_init(&list[1].text, MAX_DECODED);
    collect(t, ids, n, skip_special_tokens, &list[0]);
    return decode_strings(t, list, out, err);
}

rkf_status tokenizer_decode_pieces(const struct tokenizer *t, const rkf_str *pieces, size_t n, struct buf *out,
                                   rkf_error *err)
{
    struct strings list[2] = { { .n = 0 }, { .n = 0 } };
    buf_init(&list[0].text, MAX_DECODED);
    buf_init(&list[1].text, MAX_DECODED);
    for (size_t i = 0; i < n; i++) {
        buf_append(&list[0].text, pieces[i].ptr, pieces[i].len);
        strings_end(&list[0]);
    }
    return decode_strings(t, list, out, err);
}
