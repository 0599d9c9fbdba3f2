/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where results go: standard output, or a file that is written aside and appears when it is complete.
 *
 * Text is put into `text` and leaves by output_flush (or output_spill, once there is enough of it). One output at a
 * time: a signal that ends the process removes what was written aside.
 */
#ifndef RKF_CLI_OUTPUT_H
#define RKF_CLI_OUTPUT_H

#include "base/buf.h"
#include "base/file.h"

struct output {
    struct buf text;
    struct file_out file; /* fd -1: standard output */
};

/* Once, at the start: signals that end the process clean up first; a closed pipe and a full file are errors of write.
 */
void output_watch_signals(void);
/* path NULL or "-": standard output. Fails early where the file cannot be written. */
rkf_status output_open(const char *path, struct output *out, rkf_error *err) MUST_CHECK;
bool output_is_file(const struct output *out);
rkf_status output_flush(struct output *out, rkf_error *err) MUST_CHECK;
/* Flushes once a good deal has come together: for long records, in between. */
rkf_status output_spill(struct output *out, rkf_error *err) MUST_CHECK;
bool output_can_patch(const struct output *out); /* a file that is no pipe */
/* Overwrites bytes at the beginning of the file (headers that hold counts). */
rkf_status output_patch(struct output *out, const void *p, size_t n, rkf_error *err) MUST_CHECK;
/* Flushes and, for a file, puts it in place. Ends out if it succeeds. */
rkf_status output_commit(struct output *out, rkf_error *err) MUST_CHECK;
void output_abort(struct output *out); /* fine after output_commit, and on a zeroed struct */

/* True once the reader of standard output has gone away: then a failure is nothing to talk about. */
bool output_reader_gone(void);
/* Writes b to standard output and frees it. */
rkf_status output_print(struct buf *b, rkf_error *err) MUST_CHECK;

#endif
