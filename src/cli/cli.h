/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: what every command sees.
 *
 * A command is one line in COMMAND_LIST and one file cmd_<name>.c, which defines command_<name>: its texts for help,
 * the options it takes and the function that runs it. That gets parsed options, returns a status, and prints only
 * through output.h and console.h. main.c turns the status into the exit status: 0; 2 for RKF_INVALID and
 * RKF_UNAVAILABLE (wrong usage); 1 for everything else.
 */
#ifndef RKF_CLI_CLI_H
#define RKF_CLI_CLI_H

#include "cli/options.h"

/* In the order of help. */
#define COMMAND_LIST(X)                                                                                                \
    X(embed)                                                                                                           \
    X(rerank)                                                                                                          \
    X(classify)                                                                                                        \
    X(ner)                                                                                                             \
    X(qa)                                                                                                              \
    X(fill_mask)                                                                                                       \
    X(choose)                                                                                                          \
    X(tokenize)                                                                                                        \
    X(hidden)                                                                                                          \
    X(devices)                                                                                                         \
    X(inspect)                                                                                                         \
    X(bench)                                                                                                           \
    X(top)                                                                                                             \
    X(serve)                                                                                                           \
    X(pull)                                                                                                            \
    X(env)                                                                                                             \
    X(help)                                                                                                            \
    X(completion)

struct command {
    const char *name;
    const char *usage;    /* what follows the name: "-m MODEL [options] [TEXT...]" */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs for help and docs/cli.md: what the output looks like */
    const char *examples; /* command lines, one per line; NULL: none */
    uint32_t takes;       /* of enum option_group */
    rkf_status (*run)(struct options *o, rkf_error *err);
};

#define COMMAND_DECLARE(name) extern const struct command command_##name;
COMMAND_LIST(COMMAND_DECLARE)
#undef COMMAND_DECLARE

const struct command *command_at(size_t i);           /* NULL: past the end */
const struct command *command_find(const char *name); /* NULL: none */
/* RKF_INVALID "unknown command 'x': did you mean 'y'?" */
rkf_status command_unknown(const char *name, rkf_error *err) MUST_CHECK;

/* The runtime and the model that a command works with. */
struct session {
    rkf_runtime *runtime;
    rkf_model *model;
};
/* Opens both as the options say; RKF_INVALID if no model is given. */
rkf_status session_open(struct options *o, struct session *out, rkf_error *err) MUST_CHECK;
void session_close(struct session *s); /* NULLs are fine */

/* Texts of help. command NULL: of the whole program. */
struct buf;
void help_put(struct buf *b, const struct command *command);
void help_put_markdown(struct buf *b);
void help_put_bash(struct buf *b);

#endif
