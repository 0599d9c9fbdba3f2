/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads texts from standard input, writes what the tokenizer makes of them; for the scripts beside it and in bench/.
 *
 * usage: tool_tokenize MODEL              (a directory, or a tokenizer.json) records in, records out
 *        tool_tokenize MODEL --time N     records in, then processor nanoseconds of the best of N passes
 * Record in: u8 flags (1 pair, 2 special tokens, 4 overflow, 8 left, 16 no offsets, 32 * strategy), u32 max_length,
 * u32 stride, u32 length and text, and if it is a pair again length and text.
 * Record out: i32 status; if it is not 0 u32 length and message; else u32 windows, u32 truncated, per window u32 n,
 * ids, offsets, word_ids, type_ids, sequence_ids, special, then twice u32 length and text decoded (without and with
 * special tokens).
 */
#include "base/file.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct record {
    uint8_t flags;
    uint32_t max_length, stride, len[2];
    char *text[2];
};

static int read_exactly(void *p, size_t n)
{
    return fread(p, 1, n, stdin) == n;
}

static int read_record(struct record *r)
{
    if (!read_exactly(&r->flags, 1) || !read_exactly(&r->max_length, 4) || !read_exactly(&r->stride, 4))
        return 0;
    r->text[1] = NULL;
    for (int i = 0; i <= (r->flags & 1); i++) {
        if (!read_exactly(&r->len[i], 4))
            return 0;
        r->text[i] = malloc(r->len[i] + 1);
        if (!r->text[i] || !read_exactly(r->text[i], r->len[i]))
            return 0;
    }
    return 1;
}

static struct encode_options options_of(const struct record *r)
{
    return (struct encode_options){ .add_special_tokens = r->flags & 2,
                                    .max_length = r->max_length,
                                    .stride = r->stride,
                                    .side = r->flags & 8 ? TRUNCATE_LEFT : TRUNCATE_RIGHT,
                                    .strategy = (enum truncation_strategy)(r->flags >> 5),
                                    .overflow = r->flags & 4,
                                    .offsets = !(r->flags & 16) };
}

static rkf_status encode(const struct tokenizer *t, struct tokenizer_scratch *s, const struct record *r,
                         struct encoding *e, rkf_error *err)
{
    struct encode_options o = options_of(r);
    return tokenizer_encode(t, s, r->text[0], r->len[0], r->text[1], r->len[1], &o, e, err);
}

static void put(const void *p, size_t n)
{
    if (n && fwrite(p, 1, n, stdout) != n)
        exit(1);
}

static void put_u32(uint32_t v)
{
    put(&v, 4);
}

static void put_window(const struct encoding *e)
{
    put_u32(e->n);
    put(e->ids, e->n * sizeof *e->ids);
    put(e->offsets, e->offsets ? e->n * sizeof *e->offsets : 0);
    put(e->word_ids, e->offsets ? e->n * sizeof *e->word_ids : 0);
    put(e->type_ids, e->n);
    put(e->sequence_ids, e->offsets ? e->n : 0);
    put(e->special, e->offsets ? e->n : 0);
}

static void put_decoded(const struct tokenizer *t, const struct encoding *e, bool skip)
{
    struct buf b;
    rkf_error err;
    buf_init(&b, 1u << 30);
    if (tokenizer_decode(t, e->ids, e->n, skip, &b, &err)) {
        buf_clear(&b);
        buf_puts(&b, err.message);
    }
    put_u32((uint32_t)b.len);
    put(b.p, b.len);
    buf_free(&b);
}

static void answer(const struct tokenizer *t, struct tokenizer_scratch *s, const struct record *r)
{
    struct encoding e;
    rkf_error err;
    int32_t rc = encode(t, s, r, &e, &err);
    put(&rc, 4);
    if (rc) {
        put_u32((uint32_t)strlen(err.message));
        put(err.message, strlen(err.message));
        return;
    }
    put_u32(1 + e.n_overflow);
    put_u32(e.truncated);
    put_window(&e);
    for (uint32_t i = 0; i < e.n_overflow; i++)
        put_window(&e.overflow[i]);
    put_decoded(t, &e, true);
    put_decoded(t, &e, false);
    encoding_free(&e);
}

static int64_t now_ns(void) /* processor time: other work on the machine does not count */
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int measure(const struct tokenizer *t, struct tokenizer_scratch *s, int passes)
{
    struct record *list = NULL;
    size_t n = 0, cap = 0;
    uint64_t tokens = 0;
    int64_t best = INT64_MAX;
    for (;;) {
        if (n == cap) {
            cap = cap * 2 + 64;
            list = realloc(list, cap * sizeof *list);
            if (!list)
                return 1;
        }
        if (!read_record(&list[n]))
            break;
        n++;
    }
    for (int k = 0; k < passes; k++) {
        int64_t begin = now_ns();
        tokens = 0;
        for (size_t i = 0; i < n; i++) {
            struct encoding e;
            rkf_error err;
            if (encode(t, s, &list[i], &e, &err)) {
                fprintf(stderr, "%s\n", err.message);
                return 1;
            }
            tokens += e.n;
            encoding_free(&e);
        }
        int64_t took = now_ns() - begin;
        if (took < best)
            best = took;
    }
    printf("%lld %llu\n", (long long)best, (unsigned long long)tokens);
    return 0;
}

static rkf_status open_model(const char *path, struct tokenizer **t, rkf_error *err)
{
    char *text;
    size_t len;
    if (path_is_dir(path))
        return tokenizer_open(path, t, err);
    rkf_status rc = file_read(path, 1u << 30, &text, &len, err);
    if (!rc)
        rc = tokenizer_parse(text, len, NULL, 0, t, err);
    else
        return rc;
    mem_free(text);
    return rc;
}

int main(int argc, char **argv)
{
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    struct record r;
    rkf_error err;
    int rc = 0;
    if (argc < 2)
        return 2;
    int64_t begin = now_ns();
    if (open_model(argv[1], &t, &err) || tokenizer_scratch_create(&s, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (argc == 3 && !strcmp(argv[2], "--load"))
        printf("%lld\n", (long long)(now_ns() - begin));
    else if (argc == 4 && !strcmp(argv[2], "--time"))
        rc = measure(t, s, atoi(argv[3]));
    else
        while (read_record(&r)) {
            answer(t, s, &r);
            free(r.text[0]);
            free(r.text[1]);
            fflush(stdout);
        }
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return rc;
}
