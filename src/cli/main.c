/* SPDX-License-Identifier: Apache-2.0 */
/* The program: finds the command, reads its options, runs it, and turns what it returns into words and exit status. */
#include "cli/cli.h"
#include "cli/console.h"
#include "cli/output.h"

#include <string.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int finish(rkf_status rc, const rkf_error *err)
{
    if (!rc || output_reader_gone()) /* whoever closes the pipe has all that it wanted */
        return EXIT_DONE;
    console_error("%s", err->message);
    return rc == RKF_INVALID || rc == RKF_UNAVAILABLE ? EXIT_USAGE : EXIT_FAILED;
}

static rkf_status print_help(const struct command *command, rkf_error *err)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    help_put(&b, command);
    return output_print(&b, err);
}

static rkf_status print_version(rkf_error *err)
{
    struct buf b;
    buf_init(&b, 1 << 10);
    buf_printf(&b, "rkformer %s\n", rkf_version());
    return output_print(&b, err);
}

static rkf_status run_command(const struct command *command, int argc, char **argv, rkf_error *err)
{
    struct options o;
    rkf_status rc = options_parse(command, argc, argv, &o, err);
    if (rc)
        return rc;
    if (o.help)
        rc = print_help(command, err);
    else if (o.version)
        rc = print_version(err);
    else
        rc = command->run(&o, err);
    options_free(&o);
    return rc;
}

int main(int argc, char **argv)
{
    rkf_error err = { RKF_OK, "" };
    const char *first = argc > 1 ? argv[1] : NULL;
    rkf_status rc;
    output_watch_signals();
    if (!first)
        rc = rkf_fail(&err, RKF_INVALID, "no command: try rkformer embed -m MODEL 'some text', or rkformer --help");
    else if (!strcmp(first, "--help") || !strcmp(first, "-h"))
        rc = print_help(NULL, &err);
    else if (!strcmp(first, "--version") || !strcmp(first, "-V"))
        rc = print_version(&err);
    else if (command_find(first))
        rc = run_command(command_find(first), argc - 2, argv + 2, &err);
    else
        rc = command_unknown(first, &err);
    return finish(rc, &err);
}
