/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled .rknn files as a body.
 *
 *   graph_body     the files of a model that this platform can run
 *   graph_file     one of them: fixed batch and length; loaded when first used
 *   graph_context  one context of a file on one set of cores, used by one run at a time
 *
 * graph_io.c knows what inputs and outputs mean, graph_file.c loads files and makes contexts, graph.c chooses and runs.
 */
#ifndef RKF_DEVICE_RKNN_GRAPH_H
#define RKF_DEVICE_RKNN_GRAPH_H

#include "device/rknn/rknn_private.h"
#include "model/rknn.h"

enum { GRAPH_MAX_IO = 8 };

enum graph_role { ROLE_IDS, ROLE_MASK, ROLE_TYPES, ROLE_POSITIONS };
struct graph_input {
    enum graph_role role;
    struct abi_tensor_attr attr;
};
struct graph_output {
    struct abi_tensor_attr attr;
};
/* What a loaded file takes and gives. */
struct graph_io {
    uint32_t n_inputs, n_outputs;
    struct graph_input inputs[GRAPH_MAX_IO];
    struct graph_output outputs[GRAPH_MAX_IO];
    uint32_t seqs, length; /* sequences per run (batch, times choices), tokens per sequence */
    enum body_output kind;
    bool per_token;
    uint32_t cols;              /* of a row */
    uint32_t parts[2], n_parts; /* outputs that make a row: one, or start and end logits */
};
/* spec_head: of config.json; names: model_input_names of the "rknn" block, NULL none. what: the file, in messages. */
rkf_status graph_io_read(struct rknn_device *d, abi_context ctx, enum head_kind spec_head, uint32_t hidden,
                         yyjson_val *names, const char *what, struct graph_io *out, rkf_error *err) MUST_CHECK;
size_t graph_input_bytes(const struct graph_input *in);
/* Sequences seqs[0 .. n) of the batch into one run's inputs; the rest is padding. */
rkf_status graph_fill(const struct graph_io *io, const struct batch *b, const uint32_t *seqs, uint32_t n,
                      int32_t pad_id, void *const *buffers, rkf_error *err) MUST_CHECK;
/* outputs: f32 by output index; rows [.., cols] of the whole batch */
void graph_collect(const struct graph_io *io, const struct batch *b, const uint32_t *seqs, uint32_t n,
                   float *const *outputs, float *rows);

struct graph_context {
    struct call call; /* the run; counts: whoever has it and the run in flight */
    struct graph_file *file;
    struct graph_context *next;
    uint8_t cores;
    abi_context ctx;
    bool busy, broken;
    void *inputs[GRAPH_MAX_IO];   /* as the file takes them */
    float *outputs[GRAPH_MAX_IO]; /* f32 */
    /* the run */
    int result;
    bool blame;
    const char *step;
    int64_t took_ns;
};

struct graph_file {
    struct graph_body *body;
    char *path, *name; /* name: relative to the model's directory */
    struct rknn_file *info;
    bool int8, single_core, preferred; /* preferred: called model.rknn */
    uint32_t seqs, length;             /* from the header, before it is loaded */
    /* guarded by the body's mutex */
    bool loaded, loading;
    abi_context base; /* never runs: the others are its duplicates */
    struct graph_io io;
    struct graph_context *contexts;
    _Atomic uint32_t usual_us[NPU_MAX_CORES]; /* of a run on 1, 2, 3 cores; 0 unknown */
};

struct graph_body {
    struct body base;
    struct rknn_device *d;
    atomic_int holders; /* the owner and every run in flight */
    pthread_mutex_t mutex;
    pthread_cond_t loaded;
    int32_t pad_id;
    enum head_kind head;
    uint32_t hidden;
    struct graph_file *files; // [n_files] by length, then batch
    uint32_t n_files;
};

/* Finds the files that fit. */
rkf_status graph_files_open(struct graph_body *g, const struct model_dir *m, const struct rknn_body_options *o,
                            rkf_error *err) MUST_CHECK;
void graph_file_close(struct graph_file *f); /* its contexts are idle, or gone */
rkf_status graph_file_load(struct graph_file *f, int64_t deadline_ns, rkf_error *err) MUST_CHECK;
/* A context of a loaded file on exactly these cores. */
rkf_status graph_acquire(struct graph_file *f, uint8_t cores, int64_t deadline_ns, struct graph_context **out,
                         rkf_error *err) MUST_CHECK;
void graph_release(struct graph_context *c, bool broken);
void graph_hold(struct graph_body *g);
void graph_drop(struct graph_body *g);

#endif
