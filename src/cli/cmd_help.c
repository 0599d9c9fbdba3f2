/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer help and completion: what the tables say, for people and for the shell. */
#include "cli/cli.h"
#include "cli/output.h"

#include <string.h>

static rkf_status run_help(struct options *o, rkf_error *err)
{
    const struct command *about = o->n_texts ? command_find(o->texts[0]) : NULL;
    struct buf b;
    if (o->n_texts && !about)
        return command_unknown(o->texts[0], err);
    buf_init(&b, 1 << 20);
    if (o->markdown)
        help_put_markdown(&b);
    else
        help_put(&b, about);
    return output_print(&b, err);
}

static rkf_status run_completion(struct options *o, rkf_error *err)
{
    struct buf b;
    if (o->n_texts != 1 || strcmp(o->texts[0], "bash"))
        return rkf_fail(err, RKF_INVALID, "completion knows bash only: rkformer completion bash");
    buf_init(&b, 1 << 20);
    help_put_bash(&b);
    return output_print(&b, err);
}

const struct command command_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "explain the program or one command",
    .details = "The same as rkformer COMMAND --help.",
    .takes = FOR_HELP,
    .run = run_help,
};

const struct command command_completion = {
    .name = "completion",
    .usage = "bash",
    .summary = "write the shell's completion",
    .details = "Load it with: source <(rkformer completion bash)",
    .takes = 0,
    .run = run_completion,
};
