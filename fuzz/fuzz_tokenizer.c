/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer: any tokenizer.json is loaded or refused with a message; what was loaded turns any text into tokens, within
 * its limits, and back. Input: tokenizer.json, a NUL, a byte of options, a byte of length, text.
 */
#include "base/utf8.h"
#include "fuzz.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

static void check_window(const struct tokenizer *t, const struct encoding *e, int32_t chars)
{
    for (uint32_t i = 0; i < e->n; i++) {
        FUZZ_CHECK(e->ids[i] >= 0);
        FUZZ_CHECK(e->offsets[i][0] >= 0 && e->offsets[i][1] >= 0 && e->offsets[i][1] <= chars);
        FUZZ_CHECK(e->sequence_ids[i] >= -1 && e->sequence_ids[i] <= 1);
        (void)tokenizer_token(t, e->ids[i]);
    }
}

static void encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len, uint8_t flags,
                   uint8_t length)
{
    struct encode_options o = { .add_special_tokens = flags & 1,
                                .overflow = flags & 2,
                                .side = flags & 4 ? TRUNCATE_LEFT : TRUNCATE_RIGHT,
                                .strategy = (enum truncation_strategy)((flags >> 3) % 3),
                                .stride = flags >> 6,
                                .max_length = length,
                                .offsets = true };
    struct encoding e;
    struct buf b;
    rkf_error err = { 0 };
    size_t half = flags & 32 ? len / 2 : 0;
    while (half < len && ((unsigned char)text[half] & 0xc0) == 0x80)
        half++;
    if (tokenizer_encode(t, s, text + half, len - half, half ? text : NULL, half, &o, &e, &err)) {
        FUZZ_CHECK(err.message[0]);
        return;
    }
    if (length)
        FUZZ_CHECK(e.n <= length);
    int32_t chars = (int32_t)utf8_count(text, len);
    check_window(t, &e, chars);
    for (uint32_t i = 0; i < e.n_overflow; i++)
        check_window(t, &e.overflow[i], chars);
    buf_init(&b, 1 << 26);
    if (!tokenizer_decode(t, e.ids, e.n, flags & 1, &b, &err))
        FUZZ_CHECK(utf8_valid_prefix(b.p, b.len) == b.len);
    buf_free(&b);
    encoding_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json = nul ? (size_t)(nul - data) : size;
    struct tokenizer *t = NULL;
    struct tokenizer_scratch *s = NULL;
    rkf_error err = { 0 };
    struct buf text;
    if (tokenizer_parse((const char *)data, json, NULL, 0, &t, &err)) {
        FUZZ_CHECK(err.message[0]);
        return 0;
    }
    if (!tokenizer_scratch_create(&s, &err) && nul && size - json >= 3) {
        buf_init(&text, 4 * size);
        utf8_append_replaced(&text, (const char *)nul + 3, size - json - 3);
        if (text.p)
            encode(t, s, text.p, text.len, nul[1], nul[2]);
        buf_free(&text);
    }
    tokenizer_scratch_free(s);
    tokenizer_free(t);
    return 0;
}
