/* SPDX-License-Identifier: Apache-2.0 */
/* `inspect`: a .rknn file as a JSON object, with warnings where its parts disagree. */
#include "base/mem.h"
#include "model/rknn.h"

#include <stdio.h>
#include <string.h>

static void put_string(struct buf *b, const char *s)
{
    if (s)
        json_put_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_tensors(struct buf *b, const char *key, const struct rknn_tensor *t, uint32_t n)
{
    buf_printf(b, ",\"%s\":[", key);
    for (uint32_t i = 0; i < n; i++) {
        buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
        put_string(b, t[i].name);
        buf_puts(b, ",\"shape\":[");
        for (uint32_t k = 0; k < t[i].ndim; k++)
            buf_printf(b, "%s%u", k ? "," : "", t[i].shape[k]);
        buf_puts(b, "]}");
    }
    buf_putc(b, ']');
}

static void put_number(struct buf *b, const char *key, int64_t v, int64_t unknown)
{
    if (v == unknown)
        buf_printf(b, ",\"%s\":null", key);
    else
        buf_printf(b, ",\"%s\":%lld", key, (long long)v);
}

static void put_text(struct buf *b, const char *key, const char *s)
{
    buf_printf(b, ",\"%s\":", key);
    put_string(b, s);
}

static void put_block(struct buf *b, const struct rknn_file *f)
{
    const struct rknn_block *k = &f->block;
    if (!k->found) {
        buf_puts(b, ",\"config\":null");
        return;
    }
    buf_puts(b, ",\"config\":{\"key\":");
    put_string(b, f->key);
    put_text(b, "target_platform", k->platform);
    put_number(b, "batch_size", k->batch_size, 0);
    put_number(b, "max_seq_length", k->max_seq_length, 0);
    put_text(b, "task", k->task);
    put_text(b, "float_dtype", k->float_dtype);
    put_text(b, "quantized_dtype", k->quantized_dtype);
    put_number(b, "optimization_level", k->optimization_level, -1);
    put_number(b, "num_choices", k->num_choices, 0);
    buf_printf(b, ",\"single_core_mode\":%s,\"model_input_names\":", k->single_core_mode ? "true" : "false");
    buf_puts(b, k->inputs ? "[" : "null");
    yyjson_val *v;
    size_t i, n;
    yyjson_arr_foreach(k->inputs, i, n, v)
    {
        buf_puts(b, i ? "," : "");
        json_put_str(b, yyjson_get_str(v), yyjson_get_len(v));
    }
    buf_puts(b, k->inputs ? "]" : "");
    buf_puts(b, ",\"all\":"); /* with what the fields above do not know */
    json_put_val(b, k->value);
    buf_putc(b, '}');
}

/* ---- warnings */

static void warn(struct buf *b, const char *text)
{
    if (b->p[b->len - 1] != '[')
        buf_putc(b, ',');
    json_put_str(b, text, strlen(text));
}

/* "; it has 'a', 'b'": the entries that there are. */
static void put_entries(struct buf *b, yyjson_val *blocks)
{
    yyjson_val *key, *v;
    size_t i, n;
    if (!yyjson_obj_size(blocks)) /* the loop below is not for NULL */
        return;
    yyjson_obj_foreach(blocks, i, n, key, v) buf_printf(b, "%s '%s'", i ? "," : "; it has", yyjson_get_str(key));
}

static void warn_config(struct buf *b, const struct rknn_file *f)
{
    struct buf text;
    if (f->config_trouble) {
        warn(b, f->config_trouble);
    } else if (!f->config) {
        warn(b, "there is no config.json beside the file or one directory up: batch size and length are known from its "
                "shapes only");
    } else {
        buf_init(&text, 1 << 16);
        buf_printf(&text, "config.json has no \"rknn\" entry '%s'", f->key);
        put_entries(&text, yyjson_obj_get(yyjson_doc_get_root(f->config), "rknn"));
        if (text.p)
            warn(b, text.p);
        buf_free(&text);
    }
}

static bool names_equal(const struct rknn_header *h, yyjson_val *names)
{
    if (yyjson_arr_size(names) != h->n_inputs)
        return false;
    for (uint32_t i = 0; i < h->n_inputs; i++)
        if (!yyjson_equals_str(yyjson_arr_get(names, i), h->inputs[i].name))
            return false;
    return true;
}

/* Shapes of inputs: [batch, length], or [batch, choices, length] for multiple choice. */
static void warn_shapes(struct buf *b, const struct rknn_file *f)
{
    char text[300];
    const struct rknn_tensor *t = &f->header.inputs[0];
    const struct rknn_block *k = &f->block;
    const struct {
        const char *what;
        int64_t said;
        uint32_t is;
    } sizes[] = {
        { "batch_size", k->batch_size, t->ndim ? t->shape[0] : 0 },
        { "max_seq_length", k->max_seq_length, t->ndim ? t->shape[t->ndim - 1] : 0 },
        { "num_choices", t->ndim == 3 ? k->num_choices : 0, t->ndim == 3 ? t->shape[1] : 0 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].said && sizes[i].said != sizes[i].is) {
            snprintf(text, sizeof text, "config.json says %s %lld, the file was compiled for %u", sizes[i].what,
                     (long long)sizes[i].said, sizes[i].is);
            warn(b, text);
        }
}

static void put_warnings(struct buf *b, const struct rknn_file *f)
{
    char text[300], name[100];
    const struct rknn_block *k = &f->block;
    buf_puts(b, ",\"warnings\":[");
    if (b->failed)
        return;
    if (f->header.simulated)
        warn(b, "this file was made for rkformer's simulator: the vendor's runtime cannot run it");
    if (!k->found) {
        warn_config(b, f);
    } else {
        if (k->platform && !rknn_header_runs_on(&f->header, k->platform)) {
            snprintf(text, sizeof text, "config.json says platform '%s', the file was not compiled for it",
                     rkf_quote(name, sizeof name, k->platform, strlen(k->platform)));
            warn(b, text);
        }
        warn_shapes(b, f);
        if (k->inputs && !names_equal(&f->header, k->inputs))
            warn(b, "config.json's model_input_names are not the inputs of the file");
    }
    buf_putc(b, ']');
}

rkf_status rknn_file_describe(const char *path, struct buf *json, rkf_error *err)
{
    struct rknn_file *f = NULL;
    rkf_status rc = rknn_file_open(path, &f, err);
    if (rc)
        return rc;
    const struct rknn_header *h = &f->header;
    buf_puts(json, "{\"path\":");
    put_string(json, path);
    buf_printf(json, ",\"format\":%llu,\"size\":%llu,\"body_bytes\":%llu,\"simulated\":%s,\"toolkit\":",
               (unsigned long long)h->format, (unsigned long long)f->size, (unsigned long long)h->body_len,
               h->simulated ? "true" : "false");
    put_string(json, *h->toolkit ? h->toolkit : NULL);
    buf_puts(json, ",\"platforms\":[");
    for (uint32_t i = 0; i < h->n_platforms; i++) {
        buf_puts(json, i ? "," : "");
        put_string(json, h->platforms[i]);
    }
    buf_putc(json, ']');
    put_tensors(json, "inputs", h->inputs, h->n_inputs);
    put_tensors(json, "outputs", h->outputs, h->n_outputs);
    put_block(json, f);
    put_warnings(json, f);
    buf_putc(json, '}');
    rknn_file_close(f);
    return json->failed ? rkf_fail_memory(err, json->len, "the description of a .rknn file") : RKF_OK;
}
