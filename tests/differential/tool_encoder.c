/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a model directory's native body, head and pooler on token ids and writes what they answer: for models_diff.py.
 * usage: tool_encoder MODEL_DIR CASES.json OUT.json [DTYPE]
 * CASES: [{"ids": [...], "types": [...]}, ...]; all cases run as one ragged batch. Out: {"hidden": [[...], ...],
 * "logits": ..., "pooled": ..., "bytes": held by packed weights}, one flat list per case. Errors are printed.
 */
#include "device/cpu/cpu.h"
#include "encoder/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct eval {
    struct device *device;
    struct exec x;
    struct model_dir *dir;
    struct weights *weights;
    struct body *body;
    struct head *head;
    struct pooler *pooler;
    struct batch b;
};

static int32_t ids[1 << 20];
static uint8_t types[1 << 20];
static uint32_t cu[1 << 12];

static rkf_status load(struct eval *e, const char *path, const char *type_name, rkf_error *err)
{
    enum dtype type = DTYPE_F32;
    if (type_name && !dtype_parse(type_name, &type))
        return rkf_fail(err, RKF_INVALID, "dtype %s", type_name);
    rkf_status rc = cpu_device_create(getenv("RKFORMER_CPU_FLAGS"), NULL, &e->device, err);
    if (rc)
        return rc;
    e->x.device = e->device;
    rc = team_create(2, NULL, &e->x.team, err);
    if (!rc)
        rc = model_dir_open(path, NULL, &e->dir, err);
    if (!rc)
        rc = weights_open(e->dir->path, &e->weights, err);
    if (!rc)
        rc = encoder_create(&e->x, e->dir, e->weights, type, &e->body, err);
    if (!rc)
        rc = head_create(&e->x, e->dir, e->weights, type, &e->head, err);
    return rc ? rc : pooler_create(&e->x, e->dir, type, &e->pooler, err);
}

static rkf_status read_cases(struct eval *e, const char *path, rkf_error *err)
{
    yyjson_doc *doc;
    yyjson_val *c, *v;
    size_t i, n, k, m;
    rkf_status rc = json_load(path, NULL, 256 << 20, &doc, err);
    if (rc)
        return rc;
    e->b = (struct batch){ .ids = ids, .type_ids = types, .cu_lens = cu };
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, n, c)
    {
        yyjson_val *list = yyjson_obj_get(c, "ids"), *t = yyjson_obj_get(c, "types");
        yyjson_arr_foreach(list, k, m, v)
        {
            if (e->b.n_tokens == sizeof ids / sizeof *ids || e->b.n_seqs + 2 > sizeof cu / sizeof *cu)
                return rkf_fail(err, RKF_INVALID, "too many cases");
            ids[e->b.n_tokens] = yyjson_get_int(v);
            types[e->b.n_tokens++] = (uint8_t)yyjson_get_int(yyjson_arr_get(t, k));
        }
        cu[++e->b.n_seqs] = e->b.n_tokens;
    }
    yyjson_doc_free(doc);
    return RKF_OK;
}

static void put_rows(struct buf *out, const char *key, const struct batch *b, const float *data, uint32_t cols,
                     bool per_token)
{
    buf_printf(out, ",\"%s\":[", key);
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        size_t first = per_token ? b->cu_lens[i] : i, n = per_token ? b->cu_lens[i + 1] - b->cu_lens[i] : 1;
        buf_puts(out, i ? "," : "");
        json_put_f32s(out, data + first * cols, n * cols);
    }
    buf_puts(out, "]");
}

static rkf_status run(struct eval *e, struct buf *out, rkf_error *err)
{
    const struct pool_options as_modules = { .pooling = -1, .normalize = -1 };
    struct rows hidden, logits;
    rkf_status rc = e->body->ops->run(e->body, &e->x, &e->b, &hidden, err);
    if (rc)
        return rc;
    buf_printf(out, "{\"bytes\":%zu", e->body->ops->limits(e->body).bytes);
    put_rows(out, "hidden", &e->b, hidden.data, hidden.cols, true);
    uint32_t width = pooler_width(e->pooler, &as_modules);
    float *pooled = malloc((size_t)e->b.n_seqs * width * sizeof *pooled);
    rc = pooled ? pooler_run(e->pooler, &e->x, &e->b, &hidden, &as_modules, pooled, err) : RKF_NO_MEMORY;
    if (!rc)
        put_rows(out, "pooled", &e->b, pooled, width, false);
    free(pooled);
    if (!rc && e->head && !(rc = head_run(e->head, &e->x, &e->b, &hidden, NULL, 0, &logits, err)))
        put_rows(out, "logits", &e->b, logits.data, logits.cols, logits.per_token);
    buf_puts(out, "}\n");
    return rc;
}

int main(int argc, char **argv)
{
    struct eval e = { 0 };
    struct file_out file = { .fd = -1 };
    struct buf out;
    rkf_error err = { 0 };
    if (argc < 4)
        return 2;
    buf_init(&out, 1u << 30);
    rkf_status rc = load(&e, argv[1], argc > 4 ? argv[4] : NULL, &err);
    if (!rc)
        rc = read_cases(&e, argv[2], &err);
    if (!rc)
        rc = run(&e, &out, &err);
    if (!rc)
        rc = file_out_open(argv[3], &file, &err);
    if (!rc)
        rc = file_out_write(&file, out.p, out.len, &err);
    if (!rc)
        rc = file_out_commit(&file, &err);
    if (rc)
        printf("%s: %s\n", rkf_status_name(rc), err.message);
    pooler_free(e.pooler);
    head_free(e.head);
    if (e.body)
        e.body->ops->release(e.body);
    weights_close(e.weights);
    model_dir_close(e.dir);
    arena_free(&e.x.scratch);
    if (e.x.team)
        team_destroy(e.x.team);
    if (e.device)
        cpu_device_free(e.device);
    buf_free(&out);
    return rc != RKF_OK;
}
