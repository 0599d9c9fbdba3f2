/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer embed: one embedding per text, as JSON lines, a NumPy file or raw rows. */
#include "cli/calibrate.h"
#include "cli/console.h"
#include "cli/record.h"
#include "cli/stream.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct embed {
    const struct options *options;
    uint64_t rows;
    int64_t width; /* elements of a row; -1: not known yet */
    rkf_dtype type;
    struct calibration calibration; /* int8, uint8: nothing can be written before all has been seen */
};

/* ---- NumPy files: a header of fixed length, written again when the number of rows is known */

enum { NPY_HEADER = 128 };

static void make_npy_header(const struct embed *e, char header[NPY_HEADER])
{
    static const char *const types[] = { [RKF_F32] = "<f4", [RKF_I8] = "|i1", [RKF_U8] = "|u1", [RKF_I32] = "<i4" };
    static const char magic[] = "\x93NUMPY\x01\x00\x76\x00"; /* version 1.0, 118 bytes follow */
    memset(header, ' ', NPY_HEADER);
    memcpy(header, magic, 10);
    int n = snprintf(header + 10, NPY_HEADER - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%llu, %lld), }",
                     types[e->type], (unsigned long long)e->rows, (long long)(e->width < 0 ? 0 : e->width));
    header[10 + n] = ' ';
    header[NPY_HEADER - 1] = '\n';
}

/* ---- rows */

static rkf_status put_row(struct embed *e, const rkf_tensor *t, struct output *to, rkf_error *err)
{
    static const size_t sizes[] = { [RKF_F32] = 4, [RKF_I8] = 1, [RKF_U8] = 1, [RKF_I32] = 4 };
    size_t n = record_tensor_size(t);
    if (e->width >= 0 && (size_t)e->width != n)
        return rkf_fail(err, RKF_INTERNAL, "embeddings of %lld and %zu numbers in one file", (long long)e->width, n);
    e->width = (int64_t)n;
    e->type = t->type;
    e->rows++;
    buf_append(&to->text, t->data, n * sizes[t->type]);
    return RKF_OK;
}

static rkf_status put_line(uint64_t index, const rkf_tensor *t, int64_t truncated, struct output *to, rkf_error *err)
{
    record_begin(&to->text, index);
    buf_puts(&to->text, ",\"embedding\":");
    rkf_status rc = record_put_tensor(to, t, err);
    record_end(&to->text, truncated);
    return rc;
}

static rkf_status put(void *cookie, uint64_t index, const rkf_tensor *t, int64_t truncated, struct output *to,
                      rkf_error *err)
{
    struct embed *e = cookie;
    return e->options->format == FORMAT_JSON ? put_line(index, t, truncated, to, err) : put_row(e, t, to, err);
}

static rkf_status write_dense(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    struct embed *e = cookie;
    rkf_tensor t;
    rkf_status rc = rkf_result_tensor(r->result, 0, &t);
    if (rc)
        return rkf_fail(err, rc, "the model gave no embedding");
    if (e->calibration.spool)
        return calibration_add(&e->calibration, &t, record_truncated(r->result), err);
    return put(e, r->index, &t, record_truncated(r->result), to, err);
}

static rkf_status write_sparse(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    size_t n;
    const rkf_sparse *v = rkf_result_sparse(r->result, 0, &n);
    (void)cookie;
    (void)err;
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"sparse\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&to->text, i ? ",{\"index\":" : "{\"index\":");
        record_put_int(&to->text, v[i].index);
        buf_puts(&to->text, ",\"value\":");
        json_put_f32(&to->text, v[i].value);
        buf_putc(&to->text, '}');
    }
    buf_putc(&to->text, ']');
    record_end(&to->text, record_truncated(r->result));
    return RKF_OK;
}

static rkf_status write_tokens(void *cookie, const struct record *r, struct output *to, rkf_error *err)
{
    rkf_tensor t;
    rkf_status rc = rkf_result_tensor(r->result, 0, &t);
    (void)cookie;
    if (rc)
        return rkf_fail(err, rc, "the model gave no token embeddings");
    record_begin(&to->text, r->index);
    buf_puts(&to->text, ",\"shape\":");
    record_put_shape(&to->text, &t);
    buf_puts(&to->text, ",\"token_embeddings\":");
    rc = record_put_tensor(to, &t, err);
    record_end(&to->text, record_truncated(r->result));
    return rc;
}

/* ---- the run */

static rkf_status start(void *cookie, rkf_model *model, struct output *to, rkf_error *err)
{
    struct embed *e = cookie;
    char header[NPY_HEADER];
    (void)model;
    if (e->options->format != FORMAT_NPY)
        return RKF_OK;
    if (!output_can_patch(to))
        return rkf_fail(err, RKF_INVALID, "%s cannot hold an npy file: give a regular file", e->options->output);
    make_npy_header(e, header);
    buf_append(&to->text, header, NPY_HEADER);
    return RKF_OK;
}

static rkf_status finish(void *cookie, rkf_model *model, struct output *to, rkf_error *err)
{
    struct embed *e = cookie;
    char header[NPY_HEADER];
    rkf_status rc = RKF_OK;
    (void)model;
    if (calibration_poor(&e->calibration) && e->options->runtime.log_level >= RKF_LOG_WARN)
        console_log(NULL, RKF_LOG_WARN, "the ranges of int8 and uint8 come from fewer than 100 texts: give more");
    if (e->calibration.spool)
        rc = calibration_write(&e->calibration, put, e, to, err);
    if (!rc && e->options->format == FORMAT_NPY) {
        make_npy_header(e, header);
        rc = output_patch(to, header, NPY_HEADER, err);
    }
    return rc;
}

static rkf_status check(const struct options *o, rkf_error *err)
{
    bool to_file = o->output && strcmp(o->output, "-");
    if ((o->sparse || o->per_token) && o->format != FORMAT_JSON)
        return rkf_fail(err, RKF_INVALID, "--format npy and f32 are for one embedding per text: leave out %s",
                        o->sparse ? "--sparse" : "--per-token");
    if (o->sparse && o->per_token)
        return rkf_fail(err, RKF_INVALID, "--sparse and --per-token exclude each other: use one of them");
    if (o->format == FORMAT_NPY && !to_file)
        return rkf_fail(err, RKF_INVALID, "--format npy needs a file: add --output FILE");
    if (o->format == FORMAT_F32 && o->request.precision != RKF_FLOAT32)
        return rkf_fail(err, RKF_INVALID, "--format f32 holds floats only: use --format npy, or --precision float32");
    if (o->format == FORMAT_F32 && !to_file && isatty(STDOUT_FILENO))
        return rkf_fail(err, RKF_INVALID, "--format f32 is not for a terminal: add --output FILE");
    return RKF_OK;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct embed e = { .options = o, .width = -1 };
    struct stream_job job = { .write = write_dense, .cookie = &e };
    const struct stream_hooks hooks = { start, finish };
    rkf_status rc = check(o, err);
    if (rc)
        return rc;
    o->request.task = o->sparse ? RKF_TASK_SPARSE : o->per_token ? RKF_TASK_TOKENS : RKF_TASK_EMBED;
    if (o->sparse)
        job.write = write_sparse;
    if (o->per_token) {
        job.write = write_tokens;
        job.first_window = 16;
    }
    if (job.write == write_dense)
        rc = calibration_open(&e.calibration, &o->request.precision, err);
    if (!rc)
        rc = stream_command(o, &job, &hooks, err);
    calibration_close(&e.calibration);
    return rc;
}

const struct command command_embed = {
    .name = "embed",
    .usage = "-m MODEL [options] [TEXT...]",
    .summary = "turn texts into embeddings",
    .details =
        "Writes {\"index\":0,\"embedding\":[...]} per text. A model without modules.json gets mean pooling and is not "
        "normalised. --format npy or f32 with --output FILE is for bulk. --sparse writes "
        "{\"index\":0,\"sparse\":[{\"index\":..,\"value\":..},...]}, --per-token "
        "{\"index\":0,\"shape\":[n,d],\"token_embeddings\":[..flat..]}. --precision int8 and uint8 take their ranges "
        "from all texts of the run, as sentence-transformers does.",
    .examples = "rkformer embed -m all-MiniLM-L6-v2 'hello world'\n"
                "rkformer embed -m all-MiniLM-L6-v2 --input texts.txt --format npy --output texts.npy\n"
                "rkformer embed -m all-MiniLM-L6-v2 --platform rk3588 --core-mask 0_1 'on two cores'",
    .takes = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS | FOR_EMBED,
    .run = run,
};
