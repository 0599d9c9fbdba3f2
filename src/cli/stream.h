/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of many texts through one model: read, submit, wait, write.
 *
 *     input -> window A: [slot slot slot ...] -> rkf_submit, longest first -> done -> written in input order
 *              window B: [slot ...]              while B runs, A is written and filled again
 *
 * A window closes when it is full, or when the next text is not there yet: whoever writes one line and waits for its
 * answer gets it. Windows grow while answers are small; memory is two windows, however long the input. Each text is a
 * request of its own, so that a failure names its line; what stands before it is still written.
 *
 * All of it runs in the caller's thread but for the completion callback, which only stores what it gets and signals.
 */
#ifndef RKF_CLI_STREAM_H
#define RKF_CLI_STREAM_H

#include "cli/cli.h"
#include "cli/input.h"
#include "cli/output.h"

struct record {     /* one answer */
    uint64_t index; /* of the text, from 0 */
    const struct input_item *item;
    const rkf_result *result;
};

struct stream_job {
    const struct options *options; /* its request is sent, with one input put in */
    const char *const *keys;       /* [2] of a JSON object's text and pair; NULL: "text", "text_pair" */
    uint32_t first_window;         /* texts in the first window: few where answers may be large; 0: as usual */
    /* What of an item is sent; NULL: its text and pair. */
    rkf_status (*prepare)(void *cookie, const struct input_item *item, rkf_input *to, rkf_error *err);
    /* Instead of rkf_submit; NULL: rkf_submit. */
    rkf_status (*answer)(void *cookie, const rkf_request *request, rkf_result **out, rkf_error *err);
    /* Puts the answer into output (whose `text` may be spilled in between); called in input order. */
    rkf_status (*write)(void *cookie, const struct record *record, struct output *to, rkf_error *err);
    void *cookie;
};

/* Runs the job over all of input; on failure the answers before the failing text have been written to output. */
rkf_status stream_run(const struct stream_job *job, rkf_model *model, struct input *input, struct output *output,
                      rkf_error *err) MUST_CHECK;

/* The usual command: opens input, output and the model, runs the job, puts the output in place. start and finish (both
 * may be NULL) run before the first text and after the last. */
struct stream_hooks {
    rkf_status (*start)(void *cookie, rkf_model *model, struct output *to, rkf_error *err);
    rkf_status (*finish)(void *cookie, rkf_model *model, struct output *to, rkf_error *err);
};
rkf_status stream_command(struct options *o, struct stream_job *job, const struct stream_hooks *hooks,
                          rkf_error *err) MUST_CHECK;

#endif
