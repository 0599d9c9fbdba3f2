/* SPDX-License-Identifier: Apache-2.0 */
/* What the inputs and outputs of a .rknn file mean, and moving tokens and rows in and out of them. */
#include "device/rknn/graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reading attributes */

static const struct {
    const char *part;
    enum graph_role role;
} roles[] = { /* the first that occurs in the name */
              { "attention", ROLE_MASK }, { "mask", ROLE_MASK },          { "token_type", ROLE_TYPES },
              { "segment", ROLE_TYPES },  { "position", ROLE_POSITIONS }, { "input_ids", ROLE_IDS },
              { "ids", ROLE_IDS }
};

static bool role_of(const char *name, enum graph_role *out)
{
    for (size_t i = 0; name && i < sizeof roles / sizeof *roles; i++)
        if (strstr(name, roles[i].part)) {
            *out = roles[i].role;
            return true;
        }
    return false;
}

/* By the tensor's name, else by the name that config.json has for it, else by place. */
static void find_roles(struct graph_io *io, yyjson_val *names)
{
    for (uint32_t i = 0; i < io->n_inputs; i++) {
        struct graph_input *in = &io->inputs[i];
        if (!role_of(in->attr.name, &in->role) && !role_of(yyjson_get_str(yyjson_arr_get(names, i)), &in->role))
            in->role = i < ROLE_POSITIONS ? (enum graph_role)i : ROLE_POSITIONS;
    }
}

static size_t type_bytes(int type)
{
    static const uint8_t bytes[ABI_TYPE_COUNT] = {
        [ABI_F32] = 4, [ABI_F16] = 2, [ABI_I8] = 1,  [ABI_U8] = 1,  [ABI_I16] = 2,
        [ABI_U16] = 2, [ABI_I32] = 4, [ABI_U32] = 4, [ABI_I64] = 8, [ABI_BOOL] = 1
    };
    return type >= 0 && type < ABI_TYPE_COUNT ? bytes[type] : 0;
}

size_t graph_input_bytes(const struct graph_input *in)
{
    return (size_t)in->attr.n_elems * type_bytes(in->attr.type);
}

static rkf_status query_all(struct rknn_device *d, abi_context ctx, const char *what, struct graph_io *io,
                            rkf_error *err)
{
    struct abi_in_out_num n = { 0 };
    int rc = d->lib.call.rknn_query(ctx, ABI_QUERY_IN_OUT_NUM, &n, sizeof n);
    if (rc)
        return rknn_fail(err, rc, "%s: rknn_query of its inputs and outputs", what);
    if (!n.n_input || !n.n_output || n.n_input > GRAPH_MAX_IO || n.n_output > GRAPH_MAX_IO)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s has %u inputs and %u outputs: an encoder has 1 to %d of each", what,
                        n.n_input, n.n_output, GRAPH_MAX_IO);
    io->n_inputs = n.n_input;
    io->n_outputs = n.n_output;
    for (uint32_t i = 0; i < n.n_input + n.n_output; i++) {
        bool in = i < n.n_input;
        struct abi_tensor_attr *a = in ? &io->inputs[i].attr : &io->outputs[i - n.n_input].attr;
        *a = (struct abi_tensor_attr){ .index = in ? i : i - n.n_input };
        rc = d->lib.call.rknn_query(ctx, in ? ABI_QUERY_INPUT_ATTR : ABI_QUERY_OUTPUT_ATTR, a, sizeof *a);
        if (rc)
            return rknn_fail(err, rc, "%s: rknn_query of %s %u", what, in ? "input" : "output", a->index);
        a->name[ABI_MAX_NAME - 1] = 0;
        if (!a->n_dims || a->n_dims > ABI_MAX_DIMS || !a->n_elems || (in && !type_bytes(a->type)) ||
            a->n_elems > UINT32_MAX / 8)
            return rkf_fail(err, RKF_UNSUPPORTED, "%s: %s '%.64s' has %u dimensions, %u elements and type %d", what,
                            in ? "input" : "output", a->name, a->n_dims, a->n_elems, a->type);
    }
    return RKF_OK;
}

/* ---- what a row is */

struct shape { /* of an output, in our words */
    bool per_token;
    uint32_t cols;
};

/* [seqs, length, cols] or [seqs, length] (a number per token) or [seqs, cols]; dimensions of 1 at the end do not count.
 */
static bool shape_of(const struct graph_io *io, const struct abi_tensor_attr *a, struct shape *s)
{
    uint32_t n = a->n_dims, tokens = io->seqs * io->length;
    bool token_name = strstr(a->name, "start") || strstr(a->name, "end_logits");
    while (n > 2 && a->dims[n - 1] == 1 && !(n == 3 && a->dims[1] == io->length))
        n--;
    s->per_token = (n >= 3 && a->dims[n - 2] == io->length && a->n_elems % tokens == 0) ||
                   (token_name && a->n_elems == tokens);
    uint32_t rows = s->per_token ? tokens : io->seqs;
    s->cols = a->n_elems / rows;
    return a->n_elems % rows == 0;
}

static uint32_t find_output(const struct graph_io *io, const char *part)
{
    uint32_t i = 0;
    while (i < io->n_outputs && !strstr(io->outputs[i].attr.name, part))
        i++;
    return i;
}

/* Names that exporters give, in the order of preference. */
static const struct {
    const char *part;
    enum body_output kind;
} output_names[] = {
    { "last_hidden_state", BODY_HIDDEN },  { "token_embeddings", BODY_HIDDEN }, { "logits", BODY_LOGITS },
    { "sentence_embedding", BODY_POOLED }, { "hidden_state", BODY_HIDDEN },     { "pooler_output", BODY_POOLED },
};

static rkf_status choose_output(struct graph_io *io, enum head_kind head, uint32_t hidden, const char *what,
                                rkf_error *err)
{
    uint32_t start = find_output(io, "start"), end = find_output(io, "end_logits"), n = io->n_outputs, at = n;
    struct shape s = { 0 }, e = { 0 };
    if (start == n && head == HEAD_QA && n == 2) { /* names lost in conversion */
        start = 0;
        end = 1;
        snprintf(io->outputs[0].attr.name, ABI_MAX_NAME, "start_logits");
        snprintf(io->outputs[1].attr.name, ABI_MAX_NAME, "end_logits");
    }
    if (start < n && end < n && shape_of(io, &io->outputs[start].attr, &s) &&
        shape_of(io, &io->outputs[end].attr, &e) && s.per_token && e.per_token && s.cols == 1 && e.cols == 1) {
        io->kind = BODY_LOGITS;
        io->per_token = true;
        io->cols = 2;
        io->n_parts = 2;
        io->parts[0] = start;
        io->parts[1] = end;
        return RKF_OK;
    }
    bool named = false;
    for (size_t i = 0; i < sizeof output_names / sizeof *output_names && at == n; i++) {
        at = find_output(io, output_names[i].part);
        named = at < n;
        io->kind = output_names[i].kind;
    }
    at = at < n ? at : 0;
    if (!shape_of(io, &io->outputs[at].attr, &s) || !s.cols)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "%s: output '%.64s' of %u elements does not fit %u sequences of %u tokens", what,
                        io->outputs[at].attr.name, io->outputs[at].attr.n_elems, io->seqs, io->length);
    if (!named) /* by what the model is */
        io->kind = head != HEAD_NONE && s.cols != hidden ? BODY_LOGITS : s.per_token ? BODY_HIDDEN : BODY_POOLED;
    io->per_token = s.per_token;
    io->cols = s.cols;
    io->n_parts = 1;
    io->parts[0] = at;
    return RKF_OK;
}

rkf_status graph_io_read(struct rknn_device *d, abi_context ctx, enum head_kind spec_head, uint32_t hidden,
                         yyjson_val *names, const char *what, struct graph_io *out, rkf_error *err)
{
    struct graph_io io = { 0 };
    rkf_status rc = query_all(d, ctx, what, &io, err);
    if (rc)
        return rc;
    find_roles(&io, names);
    const struct abi_tensor_attr *ids = NULL;
    for (uint32_t i = 0; i < io.n_inputs; i++)
        if (io.inputs[i].role == ROLE_IDS)
            ids = &io.inputs[i].attr;
    if (!ids || ids->n_dims < 2)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s has no input of token ids [batch, length]: it is no text encoder",
                        what);
    uint32_t dims = ids->n_dims;
    while (dims > 2 && ids->dims[dims - 1] == 1) /* [batch, length, 1, 1] */
        dims--;
    io.length = ids->dims[dims - 1];
    io.seqs = ids->n_elems / io.length;
    for (uint32_t i = 0; i < io.n_inputs; i++)
        if (io.inputs[i].attr.n_elems != io.seqs * io.length)
            return rkf_fail(err, RKF_UNSUPPORTED, "%s: input '%.64s' has %u elements, the token ids have %u", what,
                            io.inputs[i].attr.name, io.inputs[i].attr.n_elems, io.seqs * io.length);
    rc = choose_output(&io, spec_head, hidden, what, err);
    if (!rc)
        *out = io;
    return rc;
}

/* ---- tokens in */

static bool store(void *to, int type, size_t i, int64_t v)
{
    switch (type) {
    case ABI_I64:
        ((int64_t *)to)[i] = v;
        return true;
    case ABI_I32:
    case ABI_U32:
        ((int32_t *)to)[i] = (int32_t)v;
        return true;
    case ABI_I16:
        ((int16_t *)to)[i] = (int16_t)v;
        return v >= INT16_MIN && v <= INT16_MAX;
    case ABI_U16:
        ((uint16_t *)to)[i] = (uint16_t)v;
        return v >= 0 && v <= UINT16_MAX;
    case ABI_I8:
        ((int8_t *)to)[i] = (int8_t)v;
        return v >= INT8_MIN && v <= INT8_MAX;
    case ABI_F32:
        ((float *)to)[i] = (float)v;
        return true;
    case ABI_F16: /* whole numbers up to 2048 only */
        ((uint16_t *)to)[i] = f32_to_f16((float)v);
        return v >= -2048 && v <= 2048;
    default: /* u8, bool */
        ((uint8_t *)to)[i] = (uint8_t)v;
        return v >= 0 && v <= UINT8_MAX;
    }
}

static int64_t value_of(enum graph_role role, const struct batch *b, uint32_t token, uint32_t place, bool real,
                        int32_t pad_id)
{
    switch (role) {
    case ROLE_IDS:
        return real ? b->ids[token] : pad_id;
    case ROLE_MASK:
        return real;
    case ROLE_TYPES:
        return real && b->type_ids ? b->type_ids[token] : 0;
    default:
        return place;
    }
}

rkf_status graph_fill(const struct graph_io *io, const struct batch *b, const uint32_t *seqs, uint32_t n,
                      int32_t pad_id, void *const *buffers, rkf_error *err)
{
    for (uint32_t k = 0; k < io->n_inputs; k++) {
        const struct graph_input *in = &io->inputs[k];
        for (uint32_t s = 0; s < io->seqs; s++) {
            uint32_t begin = s < n ? b->cu_lens[seqs[s]] : 0, len = s < n ? b->cu_lens[seqs[s] + 1] - begin : 0;
            for (uint32_t i = 0; i < io->length; i++) {
                /* a sequence without any token would divide by zero in its softmax: it gets one */
                bool real = i < len, seen = real || (s >= n && i == 0 && in->role == ROLE_MASK);
                int64_t v = in->role == ROLE_MASK ? seen : value_of(in->role, b, begin + i, i, real, pad_id);
                if (!store(buffers[k], in->attr.type, (size_t)s * io->length + i, v))
                    return rkf_fail(
                        err, RKF_INVALID,
                        "token id %lld does not fit into the input '%.64s' of the .rknn file, which was made "
                        "for smaller numbers: export the model with int64 inputs",
                        (long long)v, in->attr.name);
            }
        }
    }
    return RKF_OK;
}

/* ---- rows out */

void graph_collect(const struct graph_io *io, const struct batch *b, const uint32_t *seqs, uint32_t n,
                   float *const *outputs, float *rows)
{
    uint32_t width = io->n_parts == 1 ? io->cols : 1;
    for (uint32_t s = 0; s < n; s++) {
        uint32_t begin = b->cu_lens[seqs[s]], len = io->per_token ? b->cu_lens[seqs[s] + 1] - begin : 1;
        float *to = rows + (size_t)(io->per_token ? begin : seqs[s]) * io->cols;
        for (uint32_t p = 0; p < io->n_parts; p++) {
            const float *from = outputs[io->parts[p]] + (size_t)s * (io->per_token ? io->length : 1) * width;
            for (uint32_t i = 0; i < len; i++)
                memcpy(to + (size_t)i * io->cols + p, from + (size_t)i * width, width * sizeof *to);
        }
    }
}
