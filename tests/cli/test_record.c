/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON lines of answers, documents for people, and the ranges of int8 embeddings. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/calibrate.h"
#include "cli/document.h"
#include "cli/record.h"

#define STR(s)                                                                                                         \
    {                                                                                                                  \
        s, sizeof s - 1                                                                                                \
    }

static void expect(struct buf *b, const char *text)
{
    assert_false(b->failed);
    assert_string_equal(b->p, text);
    buf_free(b);
}

static void whole_numbers(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    record_put_int(&b, 0);
    buf_putc(&b, ' ');
    record_put_int(&b, INT64_MIN);
    buf_putc(&b, ' ');
    record_put_int(&b, INT64_MAX);
    buf_putc(&b, ' ');
    record_put_ints(&b, (int32_t[]){ -1, 22, INT32_MIN }, 3);
    expect(&b, "0 -9223372036854775808 9223372036854775807 [-1,22,-2147483648]");
}

static void answers(void **state)
{
    const rkf_label labels[] = { { STR("A\"B"), 0.5f, 0 }, { { NULL, 0 }, NAN, 1 } };
    const rkf_span spans[] = { { STR("PER"), STR("Li Wei"), 0.25f, -1, 0, 6 },
                               { STR("B-PER"), STR("Li"), 1, 1, 0, 2 } };
    const rkf_fill fills[] = { { 0, 7, STR(" a"), STR("x a"), 0.5f }, { 1, 8, STR("b"), STR("xb"), 0.125f } };
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    record_begin(&b, 12);
    record_end(&b, 0);
    record_begin(&b, 13);
    record_end(&b, 5);
    expect(&b, "{\"index\":12}\n{\"index\":13,\"truncated\":5}\n");
    record_put_labels(&b, labels, 2);
    expect(&b, "[{\"label\":\"A\\\"B\",\"score\":0.5},{\"label\":\"\",\"score\":null}]");
    record_put_labels(&b, NULL, 0);
    expect(&b, "[]");
    record_put_entities(&b, spans, 2);
    expect(&b, "[{\"entity_group\":\"PER\",\"score\":0.25,\"word\":\"Li Wei\",\"start\":0,\"end\":6},"
               "{\"entity\":\"B-PER\",\"score\":1.0,\"index\":1,\"word\":\"Li\",\"start\":0,\"end\":2}]");
    record_put_fills(&b, fills, 1);
    expect(&b, "[{\"token\":7,\"token_str\":\" a\",\"score\":0.5,\"sequence\":\"x a\"}]");
    record_put_fills(&b, fills, 2);
    expect(&b, "[{\"mask\":0,\"token\":7,\"token_str\":\" a\",\"score\":0.5,\"sequence\":\"x a\"},"
               "{\"mask\":1,\"token\":8,\"token_str\":\"b\",\"score\":0.125,\"sequence\":\"xb\"}]");
}

/* Lists around the size of a chunk come out as one list. */
static void tensors(void **state)
{
    enum { MOST = 3 * 4096 + 5 };
    static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 8192, MOST };
    static float data[MOST];
    (void)state;
    for (size_t i = 0; i < MOST; i++)
        data[i] = (float)i / 8;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct output to = { .file = { .fd = -1 } };
        const rkf_tensor t = { data, RKF_F32, 2, { 1, (int64_t)sizes[k] } };
        yyjson_doc *doc;
        buf_init(&to.text, 1 << 20);
        assert_int_equal(record_put_tensor(&to, &t, NULL), RKF_OK);
        assert_int_equal(json_parse(to.text.p, to.text.len, "list", &doc, NULL), RKF_OK);
        yyjson_val *list = yyjson_doc_get_root(doc), *v;
        size_t i, n;
        assert_int_equal(yyjson_arr_size(list), sizes[k]);
        yyjson_arr_foreach(list, i, n, v) assert_true((float)yyjson_get_num(v) == data[i]);
        yyjson_doc_free(doc);
        buf_free(&to.text);
    }
}

static void small_tensors_of_bytes(void **state)
{
    struct output to = { .file = { .fd = -1 } };
    const rkf_tensor i8 = { (int8_t[]){ -128, 127 }, RKF_I8, 1, { 2 } },
                     u8 = { (uint8_t[]){ 255, 0 }, RKF_U8, 1, { 2 } };
    (void)state;
    buf_init(&to.text, 1000);
    assert_int_equal(record_put_tensor(&to, &i8, NULL), RKF_OK);
    expect(&to.text, "[-128,127]");
    assert_int_equal(record_put_tensor(&to, &u8, NULL), RKF_OK);
    record_put_shape(&to.text, &u8);
    expect(&to.text, "[255,0][2]");
}

static void documents_for_people(void **state)
{
    static const char json[] =
        "{\"platform\":\"rk3588\",\"is_virtual\":true,\"masks\":[\"auto\",\"0\"],\"none\":[],\"nothing\":null,"
        "\"cores\":[{\"core\":0,\"name\":\"Zürich\",\"cpus\":[0,1]},{\"core\":10,\"load\":0.25}],"
        "\"npu\":{\"driver\":{\"version\":\"0.9.8\"}}}";
    struct buf b;
    (void)state;
    buf_init(&b, 10000);
    assert_int_equal(document_put(&b, json, NULL), RKF_OK);
    expect(&b, "platform:   rk3588\n"
               "is virtual: yes\n"
               "masks:      auto, 0\n"
               "none:       none\n"
               "nothing:    -\n"
               "cores:\n"
               "  core  name    cpus  load\n"
               "  0     Zürich  0, 1  -\n"
               "  10    -       -     0.25\n"
               "npu:\n"
               "  driver:\n"
               "    version: 0.9.8\n");
    assert_int_equal(document_put(&b, "{", NULL), RKF_FORMAT);
    buf_free(&b);
}

/* ---- calibration: the expected values are NumPy's, of sentence-transformers' quantize_embeddings on the same rows */

struct rows {
    int8_t values[3][4];
    int64_t truncated[3];
};

static rkf_status take(void *cookie, uint64_t index, const rkf_tensor *row, int64_t truncated, struct output *to,
                       rkf_error *err)
{
    struct rows *rows = cookie;
    (void)to;
    (void)err;
    assert_int_equal(record_tensor_size(row), 4);
    memcpy(rows->values[index], row->data, 4);
    rows->truncated[index] = truncated;
    return RKF_OK;
}

static void quantised_rows(void **state)
{
    static const float data[3][4] = { { -1, 0.5f, 3, 0 }, { 0.1f, 0.25f, 3, 1 }, { 1, -0.5f, 3, 0.5f } };
    static const uint8_t u8[3][4] = { { 0, 254, 0, 0 }, { 140, 191, 0, 254 }, { 254, 0, 0, 127 } };
    static const int8_t i8[3][4] = { { -128, 126, -128, -128 }, { 12, 63, -128, 126 }, { 126, -128, -128, -1 } };
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        struct calibration c = { 0 };
        struct output to = { .file = { .fd = -1 } };
        struct rows rows;
        rkf_precision precision = pass ? RKF_UINT8 : RKF_INT8;
        assert_int_equal(calibration_open(&c, &precision, NULL), RKF_OK);
        assert_int_equal(precision, RKF_FLOAT32);
        for (int64_t i = 0; i < 3; i++) {
            const rkf_tensor t = { data[i], RKF_F32, 1, { 4 } };
            assert_int_equal(calibration_add(&c, &t, i, NULL), RKF_OK);
        }
        buf_init(&to.text, 1000);
        assert_int_equal(calibration_write(&c, take, &rows, &to, NULL), RKF_OK);
        assert_memory_equal(rows.values, pass ? (const void *)u8 : (const void *)i8, sizeof u8);
        assert_int_equal(rows.truncated[2], 2);
        calibration_close(&c);
    }
}

static void other_precisions_pass(void **state)
{
    struct calibration c = { 0 };
    rkf_precision precision = RKF_BINARY;
    (void)state;
    assert_int_equal(calibration_open(&c, &precision, NULL), RKF_OK);
    assert_null(c.spool);
    assert_int_equal(precision, RKF_BINARY);
    calibration_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(answers),
        cmocka_unit_test(tensors),
        cmocka_unit_test(small_tensors_of_bytes),
        cmocka_unit_test(documents_for_people),
        cmocka_unit_test(quantised_rows),
        cmocka_unit_test(other_precisions_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
