/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a compiled .rknn file says about itself without any vendor library, and what config.json's "rknn" block says
 * about it. The file (format 6, little-endian):
 *
 *     0   "RKNN", u32 0      16  u64 body_len     64             body (the compiler's, opaque to us)
 *     8   u64 format         24  zeros            64 + body_len  u64 json_len, then the JSON to the end of the file
 *
 * 72 + body_len + json_len must be the file's size: the vendor's runtime ends the process on a file that is cut at the
 * JSON, so everything is checked here before the runtime sees it.
 */
#ifndef RKF_MODEL_RKNN_H
#define RKF_MODEL_RKNN_H

#include "base/buf.h"
#include "base/json.h"

enum { RKNN_MAX_TENSORS = 64, RKNN_MAX_DIMS = 16, RKNN_MAX_PLATFORMS = 32 };

struct rknn_tensor {
    const char *name;
    uint32_t ndim, shape[RKNN_MAX_DIMS];
};

struct rknn_header { /* strings point into doc */
    uint64_t format, body_len, json_len;
    bool simulated;      /* the body is one of our simulator's, not the vendor's */
    const char *toolkit; /* version of the compiler, "2.3.2"; "" unknown */
    const char *platforms[RKNN_MAX_PLATFORMS];
    uint32_t n_platforms, n_inputs, n_outputs;
    struct rknn_tensor *inputs, *outputs; /* in the order of the runtime's indexes */
    yyjson_doc *doc;
};
/* p: the whole file (mapped). Errors: RKF_FORMAT (not such a file, cut, broken JSON), RKF_UNSUPPORTED (another format,
 * named). */
rkf_status rknn_header_parse(const uint8_t *p, size_t len, struct rknn_header *out, rkf_error *err) MUST_CHECK;
void rknn_header_free(struct rknn_header *h);
/* The file was compiled for this platform (case-insensitive). */
bool rknn_header_runs_on(const struct rknn_header *h, const char *platform);

/* config.json's "rknn" block about one file, as RK-Transformers writes it, nested or flat. Strings point into the
 * config's document. */
struct rknn_block {
    bool found;
    int64_t batch_size, max_seq_length; /* 0: not said */
    const char *platform;               /* NULL: not said */
    const char *task, *float_dtype;     /* NULL: not said */
    const char *quantized_dtype;        /* "w8a8" ...; NULL: not quantised or not said */
    int64_t optimization_level;         /* -1: not said */
    int64_t num_choices;                /* of multiple choice; 0: not said */
    bool single_core_mode;
    yyjson_val *inputs; /* model_input_names; NULL: not said */
    yyjson_val *value;  /* all of it */
};
/* config: root of config.json (NULL is fine); key: the file's path relative to config.json, matched exactly (RK-
 * Transformers takes any key that ends like it). `found` is false if there is nothing about it. */
rkf_status rknn_block_read(yyjson_val *config, const char *key, struct rknn_block *out, rkf_error *err) MUST_CHECK;

/* A file with what is known about it: the header, and the block of the config.json beside it or one directory up. */
struct rknn_file {
    uint64_t size;
    struct rknn_header header;
    yyjson_doc *config; /* NULL: no config.json, or none that can be read */
    struct rknn_block block;
    char *key;            /* path relative to config.json */
    char *config_trouble; /* why config.json could not be used; NULL: it could, or there is none */
};
rkf_status rknn_file_open(const char *path, struct rknn_file **out, rkf_error *err) MUST_CHECK;
void rknn_file_close(struct rknn_file *f);

/* Appends a JSON object with all of it, and with warnings where file and config.json disagree (`inspect`). */
rkf_status rknn_file_describe(const char *path, struct buf *json, rkf_error *err) MUST_CHECK;

#endif
