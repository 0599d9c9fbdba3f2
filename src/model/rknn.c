/* SPDX-License-Identifier: Apache-2.0 */
/* Reading .rknn headers and the "rknn" block of config.json. Says nothing about whether this machine can run them. */
#include "model/rknn.h"

#include "base/file.h"
#include "base/mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    FRAME = 72,           /* bytes around body and JSON */
    MAX_JSON = 64 << 20,  /* real ones have some kilobytes */
    MAX_CONFIG = 4 << 20, /* config.json */
};
static const char sim_magic[8] = "RKNNSIM1"; /* first bytes of the body of our simulator's files */

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* ---- the frame */

static rkf_status check_frame(const uint8_t *p, size_t len, struct rknn_header *h, rkf_error *err)
{
    if (len < 4 || memcmp(p, "RKNN", 4) != 0)
        return rkf_fail(err, RKF_FORMAT, "not a .rknn file: it does not begin with RKNN");
    if (len < FRAME)
        return rkf_fail(err, RKF_FORMAT, "truncated .rknn file: %zu bytes, the header alone has %d: copy it again", len,
                        FRAME);
    h->format = get_u64(p + 8);
    if (h->format == 1 || h->format == 2)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "this .rknn file has format version %d, of a toolkit before 1.4: convert the model again with "
                        "rknn-toolkit2 1.6 or newer",
                        (int)h->format);
    if (h->format != 6)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "this .rknn file has format version %llu, known is 6 (rknn-toolkit2 1.6 to 2.5): convert the "
                        "model with one of these",
                        (unsigned long long)h->format);
    h->body_len = get_u64(p + 16);
    if (h->body_len > len - FRAME)
        return rkf_fail(err, RKF_FORMAT,
                        "truncated .rknn file: its body should have %llu bytes, the file has %zu: copy it again",
                        (unsigned long long)h->body_len, len);
    h->json_len = get_u64(p + 64 + h->body_len);
    uint64_t rest = len - FRAME - h->body_len;
    if (h->json_len != rest)
        return rkf_fail(err, RKF_FORMAT, "%s .rknn file: %llu bytes of JSON announced, %llu follow: copy it again",
                        h->json_len > rest ? "truncated" : "damaged", (unsigned long long)h->json_len,
                        (unsigned long long)rest);
    if (h->json_len > MAX_JSON)
        return rkf_fail(err, RKF_FORMAT, "the JSON of this .rknn file has %llu bytes, more than %d",
                        (unsigned long long)h->json_len, MAX_JSON);
    h->simulated = h->body_len >= sizeof sim_magic && memcmp(p + 64, sim_magic, sizeof sim_magic) == 0;
    return RKF_OK;
}

/* ---- its JSON */

static rkf_status read_platforms(yyjson_val *root, struct rknn_header *h, rkf_error *err)
{
    yyjson_val *list = yyjson_obj_get(root, "target_platform"), *v;
    size_t i, n;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0 || yyjson_arr_size(list) > RKNN_MAX_PLATFORMS)
        return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: its JSON has no list of target_platform");
    yyjson_arr_foreach(list, i, n, v)
    {
        if (!yyjson_is_str(v))
            return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: target_platform holds something that is no name");
        h->platforms[h->n_platforms++] = yyjson_get_str(v);
    }
    return RKF_OK;
}

static rkf_status read_tensor(yyjson_val *v, struct rknn_tensor *t, rkf_error *err)
{
    yyjson_val *size = yyjson_obj_get(v, "size"), *d;
    const char *name = yyjson_get_str(yyjson_obj_get(v, "url"));
    size_t i, n;
    if (!name || !yyjson_is_arr(size) || yyjson_arr_size(size) > RKNN_MAX_DIMS)
        return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: a tensor without name or shape");
    t->name = name;
    t->ndim = 0;
    yyjson_arr_foreach(size, i, n, d)
    {
        if (!yyjson_is_uint(d) || yyjson_get_uint(d) == 0 || yyjson_get_uint(d) > INT32_MAX)
            return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: a size in the shape of tensor %zu is no whole number",
                            i);
        t->shape[t->ndim++] = (uint32_t)yyjson_get_uint(d);
    }
    return RKF_OK;
}

/* The tensor that the "graph" list connects to input (output) number `index`; without such a list inputs come first in
 * norm_tensor and outputs behind them. */
static yyjson_val *find_tensor(yyjson_val *root, const char *side, uint32_t index, uint32_t place)
{
    yyjson_val *graph = yyjson_obj_get(root, "graph"), *tensors = yyjson_obj_get(root, "norm_tensor"), *edge, *t;
    size_t i, n, k, m;
    if (!yyjson_is_arr(graph))
        return yyjson_arr_get(tensors, place);
    yyjson_arr_foreach(graph, i, n, edge)
    {
        yyjson_val *id = yyjson_obj_get(edge, "right_tensor_id");
        if (!yyjson_equals_str(yyjson_obj_get(edge, "left"), side) ||
            !yyjson_equals_str(yyjson_obj_get(edge, "right"), "norm_tensor") || !yyjson_is_uint(id) ||
            yyjson_get_uint(yyjson_obj_get(edge, "left_tensor_id")) != index)
            continue;
        yyjson_arr_foreach(tensors, k, m, t)
        {
            yyjson_val *own = yyjson_obj_get(t, "tensor_id");
            if (yyjson_is_uint(own) && yyjson_get_uint(own) == yyjson_get_uint(id))
                return t;
        }
    }
    return NULL;
}

static rkf_status read_tensors(yyjson_val *root, const char *side, const char *count_key, uint32_t first,
                               struct rknn_tensor **out, uint32_t *n_out, rkf_error *err)
{
    int64_t count = -1;
    rkf_status rc = json_get_int(root, count_key, 1, RKNN_MAX_TENSORS, &count, "the JSON of the .rknn file", err);
    if (rc)
        return rc;
    if (count < 0)
        return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: its JSON has no %s", count_key);
    struct rknn_tensor *t = mem_zalloc((size_t)count, sizeof *t);
    if (!t)
        return rkf_fail_memory(err, (size_t)count * sizeof *t, "the tensors of a .rknn file");
    *out = t;
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        yyjson_val *v = find_tensor(root, side, i, first + i);
        if (!v)
            return rkf_fail(err, RKF_FORMAT, "damaged .rknn file: its JSON does not say which tensor is %s %u", side,
                            i);
        if ((rc = read_tensor(v, &t[i], err)))
            return rc;
    }
    *n_out = (uint32_t)count;
    return RKF_OK;
}

rkf_status rknn_header_parse(const uint8_t *p, size_t len, struct rknn_header *out, rkf_error *err)
{
    struct rknn_header h = { .toolkit = "" };
    rkf_status rc = check_frame(p, len, &h, err);
    if (rc)
        goto fail;
    rc = json_parse((const char *)p + FRAME + h.body_len, (size_t)h.json_len, "the JSON of the .rknn file", &h.doc,
                    err);
    if (rc)
        goto fail;
    yyjson_val *root = yyjson_doc_get_root(h.doc);
    if (!yyjson_is_obj(root)) {
        rc = rkf_fail(err, RKF_FORMAT, "damaged .rknn file: its JSON is no object");
        goto fail;
    }
    if ((rc = read_platforms(root, &h, err)) ||
        (rc = json_get_str(root, "version", &h.toolkit, "the JSON of the .rknn file", err)) ||
        (rc = read_tensors(root, "input", "input_num", 0, &h.inputs, &h.n_inputs, err)) ||
        (rc = read_tensors(root, "output", "output_num", h.n_inputs, &h.outputs, &h.n_outputs, err)))
        goto fail;
    *out = h;
    return RKF_OK;
fail:
    rknn_header_free(&h);
    return rc;
}

void rknn_header_free(struct rknn_header *h)
{
    mem_free(h->inputs);
    mem_free(h->outputs);
    yyjson_doc_free(h->doc);
    *h = (struct rknn_header){ .toolkit = "" };
}

bool rknn_header_runs_on(const struct rknn_header *h, const char *platform)
{
    for (uint32_t i = 0; i < h->n_platforms; i++)
        if (strcasecmp(h->platforms[i], platform) == 0)
            return true;
    return false;
}

/* ---- config.json's block */

/* The value at key, in the file's object or one level down in `group` (nested as the exporter writes, flat as its
 * README shows). */
static yyjson_val *scope_of(yyjson_val *file, const char *group, const char *key)
{
    yyjson_val *nested = yyjson_obj_get(file, group);
    return !json_has(file, key) && json_has(nested, key) ? nested : file;
}

static rkf_status read_block(yyjson_val *v, const char *what, struct rknn_block *b, rkf_error *err)
{
    bool quantize = true; /* flat blocks name a quantized_dtype only if they mean it */
    yyjson_val *q = scope_of(v, "quantization", "quantized_dtype");
    rkf_status rc;
    if ((rc = json_get_int(v, "batch_size", 1, INT32_MAX, &b->batch_size, what, err)) ||
        (rc = json_get_int(v, "max_seq_length", 1, INT32_MAX, &b->max_seq_length, what, err)) ||
        (rc = json_get_str(v, "platform", &b->platform, what, err)) ||
        (rc = json_get_str(v, "target_platform", &b->platform, what, err)) ||
        (rc = json_get_str(v, "task", &b->task, what, err)) ||
        (rc = json_get_str(v, "float_dtype", &b->float_dtype, what, err)) ||
        (rc = json_get_bool(v, "single_core_mode", &b->single_core_mode, what, err)) ||
        (rc = json_get_int(scope_of(v, "optimization", "optimization_level"), "optimization_level", 0, 9,
                           &b->optimization_level, what, err)) ||
        (rc = json_get_int(yyjson_obj_get(v, "task_kwargs"), "num_choices", 1, INT32_MAX, &b->num_choices, what,
                           err)) ||
        (rc = json_get_bool(q, "do_quantization", &quantize, what, err)) ||
        (rc = json_get_str(q, "quantized_dtype", &b->quantized_dtype, what, err)))
        return rc;
    if (!quantize)
        b->quantized_dtype = NULL;
    yyjson_val *names = yyjson_obj_get(v, "model_input_names"), *name;
    size_t i, n;
    if (json_has(v, "model_input_names") && !yyjson_is_arr(names))
        return rkf_fail(err, RKF_FORMAT, "%s: \"model_input_names\" must be a list", what);
    yyjson_arr_foreach(names, i, n, name)
    {
        if (!yyjson_is_str(name))
            return rkf_fail(err, RKF_FORMAT, "%s: \"model_input_names\" must be a list of strings", what);
    }
    b->inputs = yyjson_is_arr(names) ? names : NULL;
    b->found = true;
    b->value = v;
    return RKF_OK;
}

rkf_status rknn_block_read(yyjson_val *config, const char *key, struct rknn_block *out, rkf_error *err)
{
    struct rknn_block b = { .optimization_level = -1 };
    yyjson_val *block = yyjson_is_obj(config) ? yyjson_obj_get(config, "rknn") : NULL;
    yyjson_val *v = yyjson_is_obj(block) ? yyjson_obj_get(block, key) : NULL;
    if (v) {
        char name[160], what[200];
        snprintf(what, sizeof what, "config.json, \"rknn\", \"%s\"", rkf_quote(name, sizeof name, key, strlen(key)));
        if (!yyjson_is_obj(v))
            return rkf_fail(err, RKF_FORMAT, "%s must be an object", what);
        rkf_status rc = read_block(v, what, &b, err);
        if (rc)
            return rc;
    }
    *out = b;
    return RKF_OK;
}

/* ---- a file */

/* Takes dir/config.json if it is the first there is, or has a block for the file. */
static rkf_status try_config(const char *dir, const char *key, struct rknn_file *f, rkf_error *err)
{
    yyjson_doc *doc = NULL;
    struct rknn_block block = { .optimization_level = -1 };
    rkf_error why;
    char *copy = NULL;
    rkf_status rc = json_load(dir, "config.json", MAX_CONFIG, &doc, &why);
    if (rc == RKF_OK)
        rc = rknn_block_read(yyjson_doc_get_root(doc), key, &block, &why);
    if (rc == RKF_NOT_FOUND || (rc == RKF_OK && !block.found && f->config)) {
        yyjson_doc_free(doc);
        return RKF_OK;
    }
    if (rc == RKF_NO_MEMORY || !(copy = mem_strdup(rc ? why.message : key))) {
        yyjson_doc_free(doc);
        return rkf_fail(err, RKF_NO_MEMORY, "out of memory reading config.json");
    }
    if (rc) { /* the file can be described without it */
        yyjson_doc_free(doc);
        mem_free(f->config_trouble);
        f->config_trouble = copy;
        return RKF_OK;
    }
    yyjson_doc_free(f->config);
    mem_free(f->key);
    f->config = doc;
    f->block = block;
    f->key = copy;
    return RKF_OK;
}

/* The config.json of path's directory, or of the one above, whose keys are then "directory/file". */
static rkf_status find_config(const char *path, struct rknn_file *f, rkf_error *err)
{
    char dir[PATH_MAX];
    size_t at = strlen(path);
    if (at >= sizeof dir)
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", path);
    memcpy(dir, path, at + 1);
    for (int level = 0; level < 2 && !f->block.found; level++) {
        if (level)
            at--; /* over the slash */
        while (at && path[at - 1] != '/')
            at--;
        strcpy(dir + at, ".");
        rkf_status rc = try_config(dir, path + at, f, err);
        if (rc)
            return rc;
        if (at <= 1) /* nothing above in this path */
            break;
    }
    return RKF_OK;
}

rkf_status rknn_file_open(const char *path, struct rknn_file **out, rkf_error *err)
{
    struct file_map map;
    rkf_status rc = file_map(path, &map, err);
    if (rc)
        return rc;
    struct rknn_file *f = mem_zalloc(1, sizeof *f);
    if (!f) {
        rc = rkf_fail_memory(err, sizeof *f, "a .rknn file");
        goto done;
    }
    f->size = map.len;
    f->header.toolkit = "";
    f->block.optimization_level = -1;
    rc = rknn_header_parse(map.p, map.len, &f->header, err);
    if (rc) {
        char name[200];
        rc = rkf_fail_within(err, rc, "%s", rkf_quote(name, sizeof name, path, strlen(path)));
    } else {
        rc = find_config(path, f, err);
    }
done:
    file_unmap(&map);
    if (rc == RKF_OK)
        *out = f;
    else
        rknn_file_close(f);
    return rc;
}

void rknn_file_close(struct rknn_file *f)
{
    if (!f)
        return;
    rknn_header_free(&f->header);
    yyjson_doc_free(f->config);
    mem_free(f->key);
    mem_free(f->config_trouble);
    mem_free(f);
}
