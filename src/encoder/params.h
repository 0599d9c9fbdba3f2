/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking weights out of a model directory: by name, checked against the shape that config.json promises, in the form
 * that the forward pass wants. Private to src/encoder.
 */
#ifndef RKF_ENCODER_PARAMS_H
#define RKF_ENCODER_PARAMS_H

#include "device/cpu/cpu.h"
#include "device/device.h"
#include "model/arch.h"

/* Small arrays that live as long as their owner (norms, tables of positions). */
struct params {
    void **blocks; /* [n] */
    uint32_t n;
    size_t bytes;
};
void *params_alloc(struct params *p, size_t count, size_t size); /* aligned to 64; NULL: out of memory */
void params_free(struct params *p);

/* What loading needs to know; lives on the stack of whoever loads. */
struct loader {
    struct exec *x;
    const struct weights *w;
    const struct encoder_spec *spec;
    const char *where; /* directory, for messages */
    enum dtype type;   /* compute dtype of linear layers */
    struct params *params;
    struct params kept;               /* copies that layers look at until they are settled */
    const struct weight_names *names; /* chosen by loader_init */
    const char *prefix;               /* of the body: "" or the architecture's */
};
/* Finds out how this file names its weights. RKF_FORMAT names the tensor that is looked for. */
rkf_status loader_init(struct loader *l, rkf_error *err) MUST_CHECK;
/* Full name of a body weight without ".weight"; false: this layout has none. */
bool loader_name(const struct loader *l, enum weight_role role, uint32_t set, char *buf, size_t cap);
bool loader_has(const struct loader *l, const char *name, const char *suffix); /* name + suffix is a tensor */

enum { NAME_CAP = 256 };

/* [size] f32 copy of tensor name + suffix. */
rkf_status load_vector(struct loader *l, const char *name, const char *suffix, uint32_t size, const float **out,
                       rkf_error *err) MUST_CHECK;
/* .weight (or .gamma), and .bias (or .beta) if there is to be one. */
rkf_status load_norm(struct loader *l, const char *name, uint32_t size, bool bias, struct norm *out,
                     rkf_error *err) MUST_CHECK;
/* A table read row by row, left in the file's map: [rows, cols] F32, F16 or BF16. */
rkf_status load_table(struct loader *l, const char *name, uint32_t rows, uint32_t cols, struct view *out,
                      rkf_error *err) MUST_CHECK;

/* One matrix of a linear layer. */
struct matrix {
    char name[NAME_CAP];  /* without ".weight" */
    char bias[NAME_CAP];  /* full name of the bias; "" none */
    uint32_t first, rows; /* rows of the tensor; first != 0 or whole != rows: a slice */
    uint32_t whole;       /* rows the tensor has */
};
/* Packs n matrices [rows, cols] as one layer and lets go of their pages. */
rkf_status load_linear(struct loader *l, const struct matrix *m, uint32_t n, uint32_t cols, struct linear **out,
                       rkf_error *err) MUST_CHECK;
/* name + ".bias" into m->bias if wanted. */
struct matrix matrix_of(const char *name, uint32_t rows, bool bias);

void linear_release(struct linear *l); /* NULL is fine */
size_t linear_bytes(const struct linear *l);

#endif
