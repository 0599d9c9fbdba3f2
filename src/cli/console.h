/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard error: errors, log lines and the progress bar, one at a time from any thread.
 *
 * The bar is a line that is rewritten in place; whoever prints something else takes it off first.
 */
#ifndef RKF_CLI_CONSOLE_H
#define RKF_CLI_CONSOLE_H

#include "base/status.h"

/* "rkformer: <message>" */
void console_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* An rkf_log_fn. */
void console_log(void *cookie, rkf_log_level level, const char *line);

/* The bar: on only where standard error is a terminal; nothing is drawn in the first second. */
void progress_start(bool wanted);
bool progress_on(void);
/* done: texts finished; part: share of the work from 0 to 1, negative if unknown. Draws at most ten times a second. */
void progress_show(uint64_t done, double part);
/* The same for bytes: done of total, of which fresh have come since progress_start. */
void progress_show_bytes(uint64_t done, uint64_t fresh, uint64_t total);
/* Takes the bar off the screen (before other output). */
void progress_clear(void);

#endif
