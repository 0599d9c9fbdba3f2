/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer inspect: what a model directory or a .rknn file says about itself. */
#include "cli/cli.h"
#include "cli/document.h"

static rkf_status run(struct options *o, rkf_error *err)
{
    char *json = NULL;
    const char *path = o->n_texts ? o->texts[0] : o->model.path;
    if (!path || o->n_texts > 1)
        return rkf_fail(err, RKF_INVALID, "inspect takes one model directory or .rknn file: rkformer inspect PATH");
    rkf_status rc = rkf_inspect(path, &json, err);
    if (!rc)
        rc = document_print(json, o->json, err);
    rkf_free(json);
    return rc;
}

const struct command command_inspect = {
    .name = "inspect",
    .usage = "[options] MODEL",
    .summary = "show what a model directory or a .rknn file holds",
    .details = "Reads the files' headers only; the model is not loaded. --json writes one JSON document.",
    .examples = "rkformer inspect all-MiniLM-L6-v2\nrkformer inspect model_b1_s128_o3.rknn --json",
    .takes = FOR_INSPECT | TAKES_JSON,
    .run = run,
};
