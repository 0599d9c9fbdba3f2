/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the `tokenizers` library answered to nasty texts, for every kind of tokenizer: recorded by
 * tests/differential/record_tokenizers.py, which says how an answer becomes a CRC.
 */
#include "test.h"

#include "base/file.h"
#include "tokenizer/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static rkf_error err;
static yyjson_doc *recorded;
static struct tokenizer_scratch *scratch;

static uint32_t crc_add(uint32_t crc, const void *p, size_t n)
{
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
            table[i] = c;
        }
    crc = ~crc;
    for (size_t i = 0; i < n; i++)
        crc = table[(crc ^ ((const uint8_t *)p)[i]) & 255] ^ crc >> 8;
    return ~crc;
}

static uint32_t crc_window(uint32_t crc, const struct encoding *e)
{
    crc = crc_add(crc, &e->n, 4);
    crc = crc_add(crc, e->ids, e->n * sizeof *e->ids);
    crc = crc_add(crc, e->offsets, e->n * sizeof *e->offsets);
    crc = crc_add(crc, e->word_ids, e->n * sizeof *e->word_ids);
    crc = crc_add(crc, e->type_ids, e->n);
    crc = crc_add(crc, e->sequence_ids, e->n);
    return crc_add(crc, e->special, e->n);
}

static uint32_t crc_decoded(uint32_t crc, const struct tokenizer *t, const struct encoding *e)
{
    struct buf b;
    buf_init(&b, 1 << 26);
    assert_ok(tokenizer_decode(t, e->ids, e->n, true, &b, &err));
    buf_putc(&b, 0);
    assert_ok(tokenizer_decode(t, e->ids, e->n, false, &b, &err));
    crc = crc_add(crc, b.p, b.len);
    buf_free(&b);
    return crc;
}

/* 0: refused */
static uint32_t answer(const struct tokenizer *t, yyjson_val *c)
{
    yyjson_val *text = yyjson_arr_get(c, 0), *pair = yyjson_arr_get(c, 1);
    unsigned flags = (unsigned)yyjson_get_uint(yyjson_arr_get(c, 2));
    struct encode_options o = { .add_special_tokens = flags & 2,
                                .overflow = flags & 4,
                                .side = flags & 8 ? TRUNCATE_LEFT : TRUNCATE_RIGHT,
                                .strategy = (enum truncation_strategy)(flags >> 5),
                                .max_length = (uint32_t)yyjson_get_uint(yyjson_arr_get(c, 3)),
                                .stride = (uint32_t)yyjson_get_uint(yyjson_arr_get(c, 4)),
                                .offsets = true };
    struct encoding e, fast;
    if (tokenizer_encode(t, scratch, yyjson_get_str(text), yyjson_get_len(text), yyjson_get_str(pair),
                         yyjson_get_len(pair), &o, &e, &err))
        return 0;
    uint32_t crc = crc_window(0, &e);
    for (uint32_t i = 0; i < e.n_overflow; i++)
        crc = crc_window(crc, &e.overflow[i]);
    if (e.n)
        crc = crc_decoded(crc, t, &e);
    o.offsets = false; /* must not change the ids */
    assert_ok(tokenizer_encode(t, scratch, yyjson_get_str(text), yyjson_get_len(text), yyjson_get_str(pair),
                               yyjson_get_len(pair), &o, &fast, &err));
    assert_int_equal(fast.n, e.n);
    assert_int_equal(fast.truncated, e.truncated);
    assert_memory_equal(fast.ids, e.ids, e.n * sizeof *e.ids);
    assert_memory_equal(fast.type_ids, e.type_ids, e.n);
    encoding_free(&fast);
    encoding_free(&e);
    return crc ? crc : 1;
}

static yyjson_doc *base_json(const char *name)
{
    char path[PATH_MAX];
    yyjson_doc *doc;
    snprintf(path, sizeof path, "%s/models/%s/tokenizer.json", TEST_DATA, name);
    assert_ok(json_load(path, NULL, 1 << 24, &doc, &err));
    return doc;
}

/* text with every "@charsmap" replaced by the one of xlmr-embed. */
static void put_charsmap(struct buf *out, const char *text, size_t len)
{
    static const char mark[] = "@charsmap";
    yyjson_doc *doc = base_json("trained/xlmr-embed");
    yyjson_val *map = yyjson_ptr_get(yyjson_doc_get_root(doc), "/normalizer/normalizers/0/precompiled_charsmap");
    const char *hit;
    assert_true(yyjson_is_str(map));
    while ((hit = memmem(text, len, mark, sizeof mark - 1))) {
        buf_append(out, text, (size_t)(hit - text));
        buf_append(out, yyjson_get_str(map), yyjson_get_len(map));
        len -= (size_t)(hit - text) + sizeof mark - 1;
        text = hit + sizeof mark - 1;
    }
    buf_append(out, text, len);
    yyjson_doc_free(doc);
}

static struct tokenizer *make(yyjson_val *kind)
{
    yyjson_doc *base = base_json(yyjson_get_str(yyjson_obj_get(kind, "base")));
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(base, NULL);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    yyjson_val *key, *part;
    size_t i, n, len;
    struct buf json;
    struct tokenizer *t;
    yyjson_obj_foreach(yyjson_obj_get(kind, "parts"), i, n, key, part)
    {
        yyjson_mut_obj_remove_key(root, yyjson_get_str(key));
        assert_true(yyjson_mut_obj_add_val(doc, root, yyjson_get_str(key), yyjson_val_mut_copy(doc, part)));
    }
    char *text = yyjson_mut_write(doc, 0, &len);
    assert_non_null(text);
    buf_init(&json, 1 << 26);
    put_charsmap(&json, text, len);
    assert_ok(tokenizer_parse(json.p, json.len, NULL, 0, &t, &err));
    buf_free(&json);
    free(text);
    yyjson_mut_doc_free(doc);
    yyjson_doc_free(base);
    return t;
}

static size_t check_kind(const char *name, yyjson_val *kind, yyjson_val *texts)
{
    const char *crcs = yyjson_get_str(yyjson_obj_get(kind, "crc"));
    struct tokenizer *t = make(kind);
    size_t i, n, bad = 0;
    yyjson_val *c;
    assert_int_equal(strlen(crcs), 8 * yyjson_arr_size(texts));
    yyjson_arr_foreach(texts, i, n, c)
    {
        char hex[9] = "";
        memcpy(hex, crcs + 8 * i, 8);
        if (answer(t, c) != strtoul(hex, NULL, 16) && ++bad <= 3)
            print_error("%s: text %zu differs: %.100s\n", name, i, yyjson_get_str(yyjson_arr_get(c, 0)));
    }
    tokenizer_free(t);
    return bad;
}

static void all_kinds(void **state)
{
    (void)state;
    yyjson_val *root = yyjson_doc_get_root(recorded), *key, *kind;
    size_t i, n, bad = 0;
    assert_true(yyjson_obj_size(yyjson_obj_get(root, "kinds")) > 80);
    assert_true(yyjson_arr_size(yyjson_obj_get(root, "texts")) >= 1000);
    yyjson_obj_foreach(yyjson_obj_get(root, "kinds"), i, n, key, kind)
        bad += check_kind(yyjson_get_str(key), kind, yyjson_obj_get(root, "texts"));
    assert_int_equal(bad, 0);
}

static int setup(void **state)
{
    (void)state;
    return json_load(TEST_DATA "/tokenizer/recorded.json", NULL, 1 << 26, &recorded, &err) ||
           tokenizer_scratch_create(&scratch, &err);
}

static int teardown(void **state)
{
    (void)state;
    yyjson_doc_free(recorded);
    tokenizer_scratch_free(scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_kinds) };
    return cmocka_run_group_tests_name("recorded answers", tests, setup, teardown);
}
