/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors reader: what a header may say, every way in which it may lie, shards and their index. */
#include "st_build.h"

static struct st_file file;

static rkf_status parse(const char *header, size_t data_len, struct tensor **t, uint32_t *n, rkf_error *err)
{
    st_build(&file, header, data_len);
    return safetensors_parse(file.bytes, file.len, "x.safetensors", t, n, err);
}

static void refused(const char *header, size_t data_len, const char *text)
{
    struct tensor *t = NULL;
    uint32_t n = 77;
    rkf_error err = { 0 };
    assert_fails(parse(header, data_len, &t, &n, &err), RKF_FORMAT, text);
    assert_null(t);
    assert_int_equal(n, 77);
    assert_non_null(strstr(err.message, "x.safetensors"));
}

static void test_reads(void **state)
{
    (void)state;
    struct tensor *t;
    uint32_t n;
    rkf_error err;
    assert_ok(parse("{\"__metadata__\":{\"format\":\"pt\"},"
                    "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                    "\"a\\u002ex\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                    "\"empty\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[4,4]}}   ",
                    16, &t, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(t[0].name, "a.x"); /* sorted, escapes undone */
    assert_string_equal(t[1].name, "b");
    assert_string_equal(t[2].name, "empty");
    assert_int_equal(t[0].ndim, 0);
    assert_int_equal(t[0].bytes, 4);
    assert_int_equal(t[1].type, DTYPE_F16);
    assert_int_equal(t[1].shape[0], 2);
    assert_int_equal(t[1].shape[1], 3);
    assert_ptr_equal(t[1].data, file.bytes + file.len - 12);
    assert_int_equal(t[2].bytes, 0);
    safetensors_free(t, n);
}

static void test_no_tensors(void **state)
{
    (void)state;
    struct tensor *t;
    uint32_t n;
    rkf_error err;
    assert_ok(parse("{}", 0, &t, &n, &err));
    assert_int_equal(n, 0);
    safetensors_free(t, n);
}

static void test_bad_frame(void **state)
{
    (void)state;
    struct tensor *t = NULL;
    uint32_t n = 0;
    rkf_error err;
    st_build(&file, "{}", 0);
    assert_fails(safetensors_parse(file.bytes, 7, "f", &t, &n, &err), RKF_FORMAT, "7 bytes");
    assert_fails(safetensors_parse(NULL, 0, "f", &t, &n, &err), RKF_FORMAT, "0 bytes");
    file.bytes[0] = 200; /* longer than the file */
    assert_fails(safetensors_parse(file.bytes, file.len, "f", &t, &n, &err), RKF_FORMAT, "ends inside of its header");
    memset(file.bytes, 0xff, 8);
    assert_fails(safetensors_parse(file.bytes, file.len, "f", &t, &n, &err), RKF_FORMAT, "header would be");
    st_build(&file, "", 8);
    assert_fails(safetensors_parse(file.bytes, file.len, "f", &t, &n, &err), RKF_FORMAT, "'{'");
    refused("[1]", 0, "'{'");
    refused("{\"a\":", 0, "not valid JSON");
    refused("{\"a\":1}", 0, "not an object");
    assert_null(t);
}

#define ENTRY(dtype, shape, offsets) "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_bad_entries(void **state)
{
    (void)state;
    refused(ENTRY("\"F31\"", "[1]", "[0,4]"), 4, "dtype: F31");
    refused(ENTRY("7", "[1]", "[0,4]"), 4, "dtype: none");
    refused(ENTRY("\"F32\"", "7", "[0,4]"), 4, "no shape");
    refused(ENTRY("\"F32\"", "[-1]", "[0,4]"), 4, "shape[0]");
    refused(ENTRY("\"F32\"", "[1,1.5]", "[0,4]"), 4, "shape[1]");
    refused(ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4, "overflows");
    refused(ENTRY("\"F64\"", "[2305843009213693952]", "[0,0]"), 0, "overflows");
    refused(ENTRY("\"F32\"", "[1]", "[0]"), 4, "data_offsets");
    refused(ENTRY("\"F32\"", "[1]", "[0,-4]"), 4, "data_offsets");
    refused(ENTRY("\"F32\"", "[1]", "[4,0]"), 4, "lie outside");
    refused(ENTRY("\"F32\"", "[2]", "[0,8]"), 4, "lie outside");
    refused(ENTRY("\"F32\"", "[1]", "[18446744073709551612,18446744073709551615]"), 4, "lie outside");
    refused(ENTRY("\"F32\"", "[2]", "[0,4]"), 4, "4 bytes of data, its dtype and shape need 8");
}

static void test_bad_layout(void **state)
{
    (void)state;
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
            12, "tensor b overlaps");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
            9, "tensor b has unused bytes before it");
    refused(ENTRY("\"U8\"", "[4]", "[0,4]"), 9, "5 bytes at its end");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
            8, "tensor a is there twice");
    refused("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "NUL");
}

/* ---- files */

static void test_one_file(void **state)
{
    (void)state;
    struct tmp_dir d;
    struct weights *w = NULL;
    rkf_error err;
    tmp_make(&d);
    assert_fails(weights_open(d.path, &w, &err), RKF_NOT_FOUND, "no model.safetensors");
    tmp_text(&d, "pytorch_model.bin", "x");
    assert_fails(weights_open(d.path, &w, &err), RKF_UNSUPPORTED, "save_pretrained");
    assert_null(w);
    st_build(&file, ENTRY("\"F32\"", "[2,2]", "[0,16]"), 16);
    tmp_write(&d, "model.safetensors", file.bytes, file.len);
    assert_ok(weights_open(d.path, &w, &err));
    assert_int_equal(weights_count(w), 1);
    assert_int_equal(weights_bytes(w), 16);
    const struct tensor *t = weights_find(w, "w");
    assert_ptr_equal(t, weights_at(w, 0));
    assert_null(weights_find(w, "v"));
    assert_null(weights_at(w, 1));
    weights_drop(w, t);
    weights_drop(w, NULL);
    assert_int_equal(((const uint8_t *)t->data)[15], 15); /* read again */
    assert_false(weights_changed(w));
    tmp_write(&d, "model.safetensors", file.bytes, file.len - 1);
    assert_true(weights_changed(w));
    weights_close(w);
    tmp_remove(&d);
}

#define TENSOR(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"

static void test_shards(void **state)
{
    (void)state;
    struct tmp_dir d;
    struct weights *w = NULL;
    rkf_error err;
    tmp_make(&d);
    st_build(&file, TENSOR("b"), 4);
    tmp_write(&d, "one.safetensors", file.bytes, file.len);
    st_build(&file, TENSOR("a"), 4);
    tmp_write(&d, "two.safetensors", file.bytes, file.len);
    tmp_text(&d, "model.safetensors.index.json",
             "{\"metadata\":{},\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
    assert_ok(weights_open(d.path, &w, &err));
    assert_int_equal(weights_count(w), 2);
    assert_string_equal(weights_at(w, 0)->name, "a");
    assert_int_equal(((const uint8_t *)weights_find(w, "b")->data)[3], 3);
    weights_close(w);
    w = NULL;
    static const struct {
        const char *index, *text;
        rkf_status status;
    } bad[] = {
        { "{}", "weight_map", RKF_FORMAT },
        { "{\"weight_map\":{}}", "weight_map", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":7}}", "plain file name", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":\"../two.safetensors\"}}", "plain file name", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "plain file name", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":\"..\"}}", "plain file name", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":\"\"}}", "plain file name", RKF_FORMAT },
        { "{\"weight_map\":{\"a\":\"three.safetensors\"}}", "three.safetensors", RKF_NOT_FOUND },
        { "{\"weight_map\":{\"b\":\"two.safetensors\"}}", "tensor b is not in two.safetensors", RKF_FORMAT },
        { "{\"weight_map\":", "not valid JSON", RKF_FORMAT },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tmp_text(&d, "model.safetensors.index.json", bad[i].index);
        assert_fails(weights_open(d.path, &w, &err), bad[i].status, bad[i].text);
    }
    st_build(&file, TENSOR("a"), 4);
    tmp_write(&d, "one.safetensors", file.bytes, file.len);
    tmp_text(&d, "model.safetensors.index.json",
             "{\"weight_map\":{\"a\":\"two.safetensors\",\"a \":\"one.safetensors\"}}");
    assert_fails(weights_open(d.path, &w, &err), RKF_FORMAT, "is not in one.safetensors");
    assert_null(w);
    tmp_remove(&d);
}

/* Every allocation may fail: an error, nothing lost. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct weights *w = NULL;
    rkf_error err;
    const char *dir = TEST_DATA "/models/random/bert-cls";
    for (int64_t n = 0;; n++) {
        mem_fail_after(n);
        rkf_status rc = weights_open(dir, &w, &err);
        mem_fail_after(-1);
        if (rc == RKF_OK) {
            assert_true(n > 3);
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_null(w);
    }
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),       cmocka_unit_test(test_no_tensors),    cmocka_unit_test(test_bad_frame),
        cmocka_unit_test(test_bad_entries), cmocka_unit_test(test_bad_layout),    cmocka_unit_test(test_one_file),
        cmocka_unit_test(test_shards),      cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
