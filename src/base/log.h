/* SPDX-License-Identifier: Apache-2.0 */
/* The log callback of a runtime. NULL loggers are silent. */
#ifndef RKF_BASE_LOG_H
#define RKF_BASE_LOG_H

#include "rkformer.h"

struct logger {
    rkf_log_fn *fn;
    void *cookie;
    rkf_log_level level;
};
void log_line(const struct logger *log, rkf_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
