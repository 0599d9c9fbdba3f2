/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of .rknn files made here byte by byte, and config.json's "rknn" block as RK-Transformers writes it. */
#include "test.h"

#include "base/file.h"
#include "base/mem.h"
#include "model/rknn.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The JSON that a toolkit writes, without what nobody reads. */
#define EDGE(side, i, id)                                                                                              \
    "{\"left\":\"" side "\",\"left_tensor_id\":" #i ",\"right\":\"norm_tensor\",\"right_tensor_id\":" #id "}"
#define TENSOR(id, name, size) "{\"tensor_id\":" #id ",\"url\":\"" name "\",\"size\":" size ",\"dim_num\":2}"
#define GRAPH                                                                                                          \
    "\"graph\":[" EDGE("input", 0, 2) "," EDGE("input", 1, 0) "," EDGE("output", 0, 7) "],\"norm_tensor\":[" TENSOR(   \
        0, "attention_mask", "[1,32]") "," TENSOR(2, "input_ids", "[1,32]") "," TENSOR(7, "last_hidden_state",         \
                                                                                       "[1,32,48]") "]"
#define COUNTS "\"input_num\":2,\"output_num\":1"
static const char good[] = "{\"target_platform\":[\"rk3588\",\"rk3576\"],\"version\":\"2.3.2\"," COUNTS "," GRAPH "}";

struct file {
    uint8_t *p;
    size_t len;
};

static void put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static struct file make(uint64_t format, const char *body, const char *json)
{
    size_t nb = strlen(body), nj = strlen(json);
    struct file f = { calloc(1, 72 + nb + nj), 72 + nb + nj };
    memcpy(f.p, "RKNN", 4);
    put_u64(f.p + 8, format);
    put_u64(f.p + 16, nb);
    memcpy(f.p + 64, body, nb);
    put_u64(f.p + 64 + nb, nj);
    memcpy(f.p + 72 + nb, json, nj);
    return f;
}

static void test_good(void **state)
{
    (void)state;
    rkf_error err;
    struct rknn_header h;
    struct file f = make(6, "a body", good);
    assert_ok(rknn_header_parse(f.p, f.len, &h, &err));
    assert_int_equal(h.format, 6);
    assert_int_equal(h.body_len, 6);
    assert_int_equal(h.json_len, strlen(good));
    assert_false(h.simulated);
    assert_string_equal(h.toolkit, "2.3.2");
    assert_int_equal(h.n_platforms, 2);
    assert_string_equal(h.platforms[1], "rk3576");
    assert_true(rknn_header_runs_on(&h, "RK3588"));
    assert_false(rknn_header_runs_on(&h, "rk3568"));
    assert_false(rknn_header_runs_on(&h, "rk35"));
    /* in the order of the graph's indexes, not of the list */
    assert_int_equal(h.n_inputs, 2);
    assert_string_equal(h.inputs[0].name, "input_ids");
    assert_string_equal(h.inputs[1].name, "attention_mask");
    assert_int_equal(h.n_outputs, 1);
    assert_string_equal(h.outputs[0].name, "last_hidden_state");
    assert_int_equal(h.outputs[0].ndim, 3);
    assert_int_equal(h.outputs[0].shape[2], 48);
    rknn_header_free(&h);
    rknn_header_free(&h); /* harmless */
    free(f.p);
}

static void test_no_graph_list(void **state)
{
    (void)state;
    rkf_error err;
    struct rknn_header h;
    struct file f = make(6, "",
                         "{\"target_platform\":[\"rk3588\"],\"input_num\":1,\"output_num\":1,\"norm_tensor\":[" TENSOR(
                             0, "in", "[]") "," TENSOR(1, "out", "[3]") "]}");
    assert_ok(rknn_header_parse(f.p, f.len, &h, &err));
    assert_string_equal(h.toolkit, "");
    assert_string_equal(h.inputs[0].name, "in");
    assert_int_equal(h.inputs[0].ndim, 0);
    assert_string_equal(h.outputs[0].name, "out");
    rknn_header_free(&h);
    free(f.p);
}

/* Every cut and every excess is an error, wherever it happens: the runtime would abort on some of them. */
static void test_truncated(void **state)
{
    (void)state;
    rkf_error err;
    struct file f = make(6, "a body", good);
    for (size_t len = 0; len < f.len; len++) {
        struct rknn_header h = { .n_inputs = 77 };
        uint8_t *cut = malloc(len ? len : 1); /* so that reading past the cut is seen */
        memcpy(cut, f.p, len);
        assert_fails(rknn_header_parse(cut, len, &h, &err), RKF_FORMAT, len < 4 ? "not a .rknn file" : "truncated");
        assert_int_equal(h.n_inputs, 77);
        free(cut);
    }
    struct rknn_header h;
    f.p = realloc(f.p, f.len + 1);
    f.p[f.len] = ' ';
    assert_fails(rknn_header_parse(f.p, f.len + 1, &h, &err), RKF_FORMAT, "damaged");
    put_u64(f.p + 16, UINT64_MAX - 60); /* lengths that wrap around */
    assert_fails(rknn_header_parse(f.p, f.len, &h, &err), RKF_FORMAT, "truncated");
    put_u64(f.p + 16, 6);
    put_u64(f.p + 70, UINT64_MAX - 77);
    assert_fails(rknn_header_parse(f.p, f.len, &h, &err), RKF_FORMAT, "truncated");
    free(f.p);
}

static void test_formats(void **state)
{
    (void)state;
    static const struct {
        uint64_t format;
        const char *text;
    } cases[] = {
        { 1, "format version 1, of a toolkit before 1.4" },
        { 2, "format version 2, of a toolkit before 1.4" },
        { 7, "format version 7, known is 6" },
        { 0, "format version 0, known is 6" },
        { UINT64_MAX, "format version 18446744073709551615" },
    };
    rkf_error err;
    struct rknn_header h;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file f = make(cases[i].format, "", good);
        assert_fails(rknn_header_parse(f.p, f.len, &h, &err), RKF_UNSUPPORTED, cases[i].text);
        free(f.p);
    }
    struct file f = make(6, "", good);
    f.p[0] = 'r';
    assert_fails(rknn_header_parse(f.p, f.len, &h, &err), RKF_FORMAT, "not a .rknn file");
    free(f.p);
}

static void test_bad_json(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
    } cases[] = {
        { "", "not valid JSON" },
        { "{", "not valid JSON" },
        { "[]", "no object" },
        { "{}", "target_platform" },
        { "{\"target_platform\":\"rk3588\"}", "target_platform" },
        { "{\"target_platform\":[]}", "target_platform" },
        { "{\"target_platform\":[7]}", "target_platform" },
        { "{\"target_platform\":[\"x\"],\"version\":3}", "version" },
        { "{\"target_platform\":[\"x\"]}", "no input_num" },
        { "{\"target_platform\":[\"x\"],\"input_num\":0}", "input_num" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1e9}", "input_num" },
        { "{\"target_platform\":[\"x\"],\"input_num\":-1}", "input_num" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1}", "which tensor is input 0" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"graph\":7,\"norm_tensor\":[7]}", "without name" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\"}]}", "without name or shape" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[-1]}]}", "no whole" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[0]}]}", "no whole" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[1.5]}]}",
          "no whole" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[5000000000]}]}",
          "no whole" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[1,1,1,1,1,1,1,1,1,1,"
          "1,1,"
          "1,1,1,1,1]}]}",
          "without name or shape" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"norm_tensor\":[{\"url\":\"a\",\"size\":[1]}]}",
          "no output_num" },
        { "{\"target_platform\":[\"x\"],\"input_num\":1,\"output_num\":1,\"graph\":[{\"left\":\"input\",\"left_tensor_"
          "id\":"
          "0,\"right\":\"norm_tensor\",\"right_tensor_id\":0}],\"norm_tensor\":[{\"tensor_id\":0,\"url\":\"a\","
          "\"size\":[1]}"
          "]}",
          "which tensor is output 0" },
    };
    rkf_error err;
    struct rknn_header h;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct file f = make(6, "b", cases[i].json);
        assert_fails(rknn_header_parse(f.p, f.len, &h, &err), RKF_FORMAT, cases[i].text);
        free(f.p);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct file f = make(6, "b", good);
    rkf_error err;
    for (int64_t n = 0;; n++) {
        struct rknn_header h;
        mem_fail_after(n);
        rkf_status rc = rknn_header_parse(f.p, f.len, &h, &err);
        mem_fail_after(-1);
        if (rc == RKF_OK) {
            rknn_header_free(&h);
            assert_true(n >= 3); /* document and both tensor lists were refused once */
            break;
        }
        assert_int_equal(rc, RKF_NO_MEMORY);
    }
    free(f.p);
}

/* ---- config.json's block */

static struct rknn_block read_block(const char *config, const char *key, yyjson_doc **doc)
{
    struct rknn_block b;
    rkf_error err;
    assert_ok(json_parse(config, strlen(config), "config", doc, &err));
    assert_ok(rknn_block_read(yyjson_doc_get_root(*doc), key, &b, &err));
    return b;
}

static const char nested[] =
    "{\"rknn\":{\"rknn/other_model.rknn\":{\"batch_size\":9},\"rknn/"
    "model.rknn\":{\"batch_size\":4,\"max_seq_length\":128,"
    "\"target_platform\":\"rk3588\",\"float_dtype\":\"float16\",\"task\":\"feature-extraction\",\"custom_string\":null,"
    "\"single_core_mode\":true,\"model_input_names\":[\"input_ids\",\"attention_mask\"],\"task_kwargs\":{\"num_"
    "choices\":"
    "4},\"quantization\":{\"do_quantization\":true,\"quantized_dtype\":\"w8a8\"},\"optimization\":{\"optimization_"
    "level\":"
    "3},\"made_up\":[1]}}}";

static void test_block(void **state)
{
    (void)state;
    yyjson_doc *doc;
    struct rknn_block b = read_block(nested, "rknn/model.rknn", &doc);
    assert_true(b.found);
    assert_int_equal(b.batch_size, 4);
    assert_int_equal(b.max_seq_length, 128);
    assert_string_equal(b.platform, "rk3588");
    assert_string_equal(b.task, "feature-extraction");
    assert_string_equal(b.float_dtype, "float16");
    assert_string_equal(b.quantized_dtype, "w8a8");
    assert_int_equal(b.optimization_level, 3);
    assert_int_equal(b.num_choices, 4);
    assert_true(b.single_core_mode);
    assert_int_equal(yyjson_arr_size(b.inputs), 2);
    yyjson_doc_free(doc);
    /* exactly, not by how it ends */
    b = read_block(nested, "model.rknn", &doc);
    assert_false(b.found);
    assert_int_equal(b.optimization_level, -1);
    yyjson_doc_free(doc);
    b = read_block(nested, "rknn/other_model.rknn", &doc);
    assert_int_equal(b.batch_size, 9);
    assert_null(b.platform);
    assert_null(b.quantized_dtype);
    yyjson_doc_free(doc);
    /* flat, as the README shows */
    b = read_block(
        "{\"rknn\":{\"m.rknn\":{\"platform\":\"rk3576\",\"quantized_dtype\":\"w8a8\",\"optimization_level\":2}}}",
        "m.rknn", &doc);
    assert_string_equal(b.platform, "rk3576");
    assert_string_equal(b.quantized_dtype, "w8a8");
    assert_int_equal(b.optimization_level, 2);
    yyjson_doc_free(doc);
    /* the exporter writes w8a8 even where nothing was quantised */
    b = read_block(
        "{\"rknn\":{\"m.rknn\":{\"quantization\":{\"do_quantization\":false,\"quantized_dtype\":\"w8a8\"}}}}", "m.rknn",
        &doc);
    assert_true(b.found);
    assert_null(b.quantized_dtype);
    yyjson_doc_free(doc);
    static const char *const none[] = { "{}", "[]", "{\"rknn\":null}", "{\"rknn\":[]}", "{\"rknn\":{}}" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        b = read_block(none[i], "m.rknn", &doc);
        assert_false(b.found);
        yyjson_doc_free(doc);
    }
}

static void test_bad_block(void **state)
{
    (void)state;
    static const struct {
        const char *config, *text;
    } cases[] = {
        { "{\"rknn\":{\"m\":7}}", "must be an object" },
        { "{\"rknn\":{\"m\":{\"batch_size\":0}}}", "batch_size" },
        { "{\"rknn\":{\"m\":{\"batch_size\":\"1\"}}}", "batch_size" },
        { "{\"rknn\":{\"m\":{\"max_seq_length\":-5}}}", "max_seq_length" },
        { "{\"rknn\":{\"m\":{\"target_platform\":3}}}", "target_platform" },
        { "{\"rknn\":{\"m\":{\"model_input_names\":\"ids\"}}}", "model_input_names" },
        { "{\"rknn\":{\"m\":{\"model_input_names\":[1]}}}", "model_input_names" },
        { "{\"rknn\":{\"m\":{\"quantization\":{\"do_quantization\":1,\"quantized_dtype\":\"x\"}}}}",
          "do_quantization" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        yyjson_doc *doc;
        struct rknn_block b = { .batch_size = 77 };
        rkf_error err;
        assert_ok(json_parse(cases[i].config, strlen(cases[i].config), "config", &doc, &err));
        assert_fails(rknn_block_read(yyjson_doc_get_root(doc), "m", &b, &err), RKF_FORMAT, cases[i].text);
        assert_int_equal(b.batch_size, 77);
        yyjson_doc_free(doc);
    }
}

/* ---- files and their description */

struct folder {
    char path[64];
};

static void folder_open(struct folder *d)
{
    strcpy(d->path, "/tmp/rkf-rknn-XXXXXX");
    assert_non_null(mkdtemp(d->path));
    char sub[100];
    snprintf(sub, sizeof sub, "%s/rknn", d->path);
    assert_int_equal(mkdir(sub, 0700), 0);
}

static void folder_put(const struct folder *d, const char *name, const void *p, size_t len)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, len, f), len);
    fclose(f);
}

static void folder_close(const struct folder *d)
{
    static const char *const names[] = {
        "rknn/model.rknn", "model.rknn", "config.json", "rknn/config.json", "rknn", ""
    };
    char path[200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", d->path, names[i]);
        remove(path);
    }
}

/* The description of d/name as a document. */
static yyjson_doc *describe(const struct folder *d, const char *name)
{
    char path[200];
    struct buf b;
    rkf_error err;
    yyjson_doc *doc;
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    buf_init(&b, 1 << 20);
    assert_ok(rknn_file_describe(path, &b, &err));
    assert_ok(json_parse(b.p, b.len, "description", &doc, &err));
    buf_free(&b);
    return doc;
}

static yyjson_val *at(yyjson_doc *doc, const char *pointer)
{
    return yyjson_doc_ptr_get(doc, pointer);
}

static void test_describe(void **state)
{
    (void)state;
    struct folder d;
    struct file f = make(6, "body", good);
    folder_open(&d);
    folder_put(&d, "rknn/model.rknn", f.p, f.len);
    static const char config[] =
        "{\"rknn\":{\"rknn/model.rknn\":{\"batch_size\":1,\"max_seq_length\":32,\"target_platform\":\"rk3588\","
        "\"model_input_names\":[\"input_ids\",\"attention_mask\"],\"strange\":\"kept\"}}}";
    folder_put(&d, "config.json", config, strlen(config));
    yyjson_doc *doc = describe(&d, "rknn/model.rknn");
    assert_int_equal(yyjson_get_uint(at(doc, "/format")), 6);
    assert_int_equal(yyjson_get_uint(at(doc, "/size")), f.len);
    assert_int_equal(yyjson_get_uint(at(doc, "/body_bytes")), 4);
    assert_string_equal(yyjson_get_str(at(doc, "/toolkit")), "2.3.2");
    assert_string_equal(yyjson_get_str(at(doc, "/platforms/0")), "rk3588");
    assert_string_equal(yyjson_get_str(at(doc, "/inputs/0/name")), "input_ids");
    assert_int_equal(yyjson_get_uint(at(doc, "/outputs/0/shape/2")), 48);
    assert_string_equal(yyjson_get_str(at(doc, "/config/key")), "rknn/model.rknn");
    assert_int_equal(yyjson_get_uint(at(doc, "/config/max_seq_length")), 32);
    assert_true(yyjson_is_null(at(doc, "/config/quantized_dtype")));
    assert_string_equal(yyjson_get_str(at(doc, "/config/model_input_names/1")), "attention_mask");
    assert_string_equal(yyjson_get_str(at(doc, "/config/all/strange")), "kept");
    assert_int_equal(yyjson_arr_size(at(doc, "/warnings")), 0);
    yyjson_doc_free(doc);
    free(f.p);
    folder_close(&d);
}

static void expect_warning(const struct folder *d, const char *name, const char *text)
{
    yyjson_doc *doc = describe(d, name);
    if (yyjson_arr_size(at(doc, "/warnings")) == 0)
        fail_msg("no warning \"%s\"", text);
    bool found = false;
    yyjson_val *v;
    size_t i, n;
    yyjson_arr_foreach(at(doc, "/warnings"), i, n, v) found |= strstr(yyjson_get_str(v), text) != NULL;
    if (!found)
        fail_msg("\"%s\" instead of \"%s\"", yyjson_get_str(at(doc, "/warnings/0")), text);
    yyjson_doc_free(doc);
}

static void test_warnings(void **state)
{
    (void)state;
    static const struct {
        const char *config, *text;
    } cases[] = {
        { NULL, "there is no config.json" },
        { "{}", "no \"rknn\" entry 'rknn/model.rknn'" },
        { "{\"rknn\":{\"rknn/big_model.rknn\":{}}}", "it has 'rknn/big_model.rknn'" },
        { "nonsense", "not valid JSON" },
        { "{\"rknn\":{\"rknn/model.rknn\":[]}}", "must be an object" },
        { "{\"rknn\":{\"rknn/model.rknn\":{\"target_platform\":\"rk3568\"}}}", "platform 'rk3568'" },
        { "{\"rknn\":{\"rknn/model.rknn\":{\"batch_size\":2}}}", "batch_size 2, the file was compiled for 1" },
        { "{\"rknn\":{\"rknn/model.rknn\":{\"max_seq_length\":64}}}",
          "max_seq_length 64, the file was compiled for 32" },
        { "{\"rknn\":{\"rknn/model.rknn\":{\"model_input_names\":[\"input_ids\"]}}}", "model_input_names" },
        { "{\"rknn\":{\"rknn/model.rknn\":{\"model_input_names\":[\"attention_mask\",\"input_ids\"]}}}",
          "model_input_names" },
    };
    struct folder d;
    folder_open(&d);
    struct file f = make(6, "RKNNSIM1...", good);
    folder_put(&d, "model.rknn", f.p, f.len);
    expect_warning(&d, "model.rknn", "simulator");
    free(f.p);
    f = make(6, "", good);
    folder_put(&d, "rknn/model.rknn", f.p, f.len);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].config)
            folder_put(&d, "config.json", cases[i].config, strlen(cases[i].config));
        expect_warning(&d, "rknn/model.rknn", cases[i].text);
    }
    /* the block beside the file wins over the folder above */
    static const char beside[] = "{\"rknn\":{\"model.rknn\":{\"batch_size\":3}}}";
    folder_put(&d, "rknn/config.json", beside, strlen(beside));
    expect_warning(&d, "rknn/model.rknn", "batch_size 3");
    free(f.p);
    folder_close(&d);
}

static void test_file_errors(void **state)
{
    (void)state;
    struct folder d;
    struct buf b;
    rkf_error err;
    char path[200];
    folder_open(&d);
    buf_init(&b, 1 << 20);
    snprintf(path, sizeof path, "%s/model.rknn", d.path);
    assert_fails(rknn_file_describe(path, &b, &err), RKF_NOT_FOUND, path);
    folder_put(&d, "model.rknn", "", 0);
    assert_fails(rknn_file_describe(path, &b, &err), RKF_FORMAT, path);
    folder_put(&d, "model.rknn", "RKNNxxxx", 8);
    assert_fails(rknn_file_describe(path, &b, &err), RKF_FORMAT, "truncated");
    assert_int_equal(b.len, 0);
    struct file f = make(6, "", good);
    folder_put(&d, "model.rknn", f.p, f.len);
    for (int64_t n = 0;; n++) { /* out of memory at any point */
        buf_clear(&b);
        mem_fail_after(n);
        rkf_status rc = rknn_file_describe(path, &b, &err);
        mem_fail_after(-1);
        if (rc == RKF_OK)
            break;
        assert_int_equal(rc, RKF_NO_MEMORY);
    }
    free(f.p);
    buf_free(&b);
    folder_close(&d);
}

/* A file of the vendor's compiler, which may not be part of this repository: RKF_TEST_RKNN names it. */
static void test_vendor_file(void **state)
{
    (void)state;
    const char *path = getenv("RKF_TEST_RKNN");
    if (!path) {
        skip();
        return;
    }
    struct rknn_file *f;
    rkf_error err;
    assert_ok(rknn_file_open(path, &f, &err));
    assert_int_equal(f->header.format, 6);
    assert_false(f->header.simulated);
    assert_true(f->header.n_inputs >= 1 && f->header.inputs[0].ndim >= 2);
    rknn_file_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_no_graph_list), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_formats),  cmocka_unit_test(test_bad_json),      cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_block),    cmocka_unit_test(test_bad_block),     cmocka_unit_test(test_describe),
        cmocka_unit_test(test_warnings), cmocka_unit_test(test_file_errors),   cmocka_unit_test(test_vendor_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
