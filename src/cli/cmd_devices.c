/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer devices: what this machine can compute on. */
#include "cli/cli.h"
#include "cli/document.h"

static rkf_status run(struct options *o, rkf_error *err)
{
    char *json = NULL;
    if (o->n_texts)
        return rkf_fail(err, RKF_INVALID, "devices takes options only: see rkformer devices --help");
    rkf_status rc = rkf_devices(&o->runtime, &json, err);
    if (!rc)
        rc = document_print(json, o->json, err);
    rkf_free(json);
    return rc;
}

const struct command command_devices = {
    .name = "devices",
    .usage = "[options]",
    .summary = "show the platform, its cores and core masks, drivers, and what is missing",
    .details = "Looks only: nothing is opened that needs an NPU. --json writes one JSON document.",
    .examples = "rkformer devices\nrkformer devices --platform rk3588 --json",
    .takes = TAKES_RUNTIME | TAKES_JSON,
    .run = run,
};
