/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"
#include "cli/console.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
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

static void watch_signals(const char *path)
{
    static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    if (!path || strlen(path) >= sizeof doomed)
        return;
    strcpy(doomed, path);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        struct sigaction old, sa = { .sa_handler = on_signal };
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
        watch_signals(o.file.tmp);
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
