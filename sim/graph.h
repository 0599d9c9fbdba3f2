/* SPDX-License-Identifier: Apache-2.0 */
/* A context of a .rknn model: its values, inputs, outputs and the run in flight. */
#ifndef RKNNSIM_GRAPH_H
#define RKNNSIM_GRAPH_H

#include "model.h"

struct graph_io {    /* memory set by rknn_set_io_mem */
    uint64_t memory; /* id; 0: not set */
    int type;        /* of the elements in it */
};
struct graph {
    struct model *model; /* shared */
    bool info_only;
    uint8_t *values;                /* inputs, temporaries, outputs of the run in flight */
    uint8_t **data;                 /* [n_tensors] into values or the weights */
    uint8_t *results[MODEL_MAX_IO]; /* outputs of the last run that succeeded: failed ones leave them as they were */
    bool input_set[MODEL_MAX_IO];
    bool fresh; /* results are those of the inputs that were set last */
    struct graph_io io_in[MODEL_MAX_IO], io_out[MODEL_MAX_IO];
    bool taken;    /* rknn_outputs_get without its rknn_outputs_release */
    uint32_t held; /* locked: buffers given out by rknn_outputs_get */
    /* a run that does not block; locked */
    bool running;
    int result;
};
void graph_free_parts(struct graph *g);

#endif
