/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"
#include "cli/console.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPILL = 256 << 10 };

static bool reader_gone;

/* ---- signals: nothing half-written stays behind */

static char doomed[PATH_MAX]; /* the file being written aside; empty: none */

static void on_signal(int sig)
{
    if (doomed[0])
        unlink(doomed);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Weights are mapped: pages of a file that was cut short in the meantime are gone, and touching them ends here. */
static void on_bus_error(int sig)
{
    static const char text[] =
        "rkformer: a model file was cut short while it was in use: leave model folders as they are "
        "while rkformer runs\n";
    static volatile sig_atomic_t told; /* several threads may meet it at once */
    (void)sig;
    if (told++)
        for (;;)
            pause();
    if (doomed[0])
        unlink(doomed);
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_FAILURE);
}

void output_watch_signals(void)
{
    static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    const struct sigaction sa = { .sa_handler = on_signal }, bus = { .sa_handler = on_bus_error };
    signal(SIGPIPE, SIG_IGN); /* writing tells */
    signal(SIGXFSZ, SIG_IGN);
    sigaction(SIGBUS, &bus, NULL);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        struct sigaction old;
        if (sigaction(deadly[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* nohup stays nohup */
            sigaction(deadly[i], &sa, NULL);
    }
}

/* ---- output */

rkf_status output_open(const char *path, struct output *out, rkf_error *err)
{
    struct output o = { .file = { .fd = -1 } };
    if (path && strcmp(path, "-")) {
        rkf_status rc = file_out_open(path, &o.file, err);
        if (rc)
            return rc;
        if (o.file.tmp && strlen(o.file.tmp) < sizeof doomed)
            strcpy(doomed, o.file.tmp);
    }
    buf_init(&o.text, SIZE_MAX / 4);
    *out = o;
    return RKF_OK;
}

bool output_is_file(const struct output *out)
{
    return out->file.path != NULL;
}

static rkf_status write_stdout(const char *p, size_t n, rkf_error *err)
{
    progress_clear();
    while (n) {
        ssize_t k = write(STDOUT_FILENO, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            reader_gone = errno == EPIPE;
            return rkf_fail_errno(err, RKF_IO, "cannot write to standard output");
        }
        p += k;
        n -= (size_t)k;
    }
    return RKF_OK;
}

rkf_status output_flush(struct output *out, rkf_error *err)
{
    if (out->text.failed)
        return rkf_fail_memory(err, out->text.cap, "output");
    rkf_status rc = output_is_file(out) ? file_out_write(&out->file, out->text.p, out->text.len, err)
                                        : write_stdout(out->text.p, out->text.len, err);
    buf_clear(&out->text); /* after a failure too: what was written must not be written again */
    return rc;
}

rkf_status output_spill(struct output *out, rkf_error *err)
{
    return out->text.len < SPILL && !out->text.failed ? RKF_OK : output_flush(out, err);
}

bool output_can_patch(const struct output *out)
{
    return output_is_file(out) && lseek(out->file.fd, 0, SEEK_CUR) >= 0;
}

rkf_status output_patch(struct output *out, const void *p, size_t n, rkf_error *err)
{
    rkf_status rc = output_flush(out, err);
    if (!rc && pwrite(out->file.fd, p, n, 0) != (ssize_t)n)
        rc = rkf_fail_errno(err, RKF_IO, "cannot write the header of %s", out->file.path);
    return rc;
}

rkf_status output_commit(struct output *out, rkf_error *err)
{
    rkf_status rc = output_flush(out, err);
    if (!rc && output_is_file(out))
        rc = file_out_commit(&out->file, err);
    if (!rc) {
        doomed[0] = 0;
        buf_free(&out->text);
    }
    return rc;
}

void output_abort(struct output *out)
{
    if (output_is_file(out))
        file_out_abort(&out->file);
    doomed[0] = 0;
    buf_free(&out->text);
}

bool output_reader_gone(void)
{
    return reader_gone;
}

rkf_status output_print(struct buf *b, rkf_error *err)
{
    struct output out = { .text = *b, .file = { .fd = -1 } };
    *b = (struct buf){ 0 };
    rkf_status rc = output_flush(&out, err);
    buf_free(&out.text);
    return rc;
}
