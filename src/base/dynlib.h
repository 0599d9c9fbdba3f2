/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries that only some commands need (libcurl, libmicrohttpd), loaded when they are: the others start sooner, are
 * smaller in memory, and run where those libraries are not installed.
 */
#ifndef RKF_BASE_DYNLIB_H
#define RKF_BASE_DYNLIB_H

#include "base/status.h"

struct dynlib_symbol {
    const char *name;
    void *to; /* of a pointer to a function of that name's type */
};

/* Loads the first of `names` (NULL ends them) that is there, for the life of the process, and fills every symbol. On
 * failure (RKF_UNAVAILABLE) the symbols are as they were; `what` says who needs it and `advice` what to install. Not to
 * be called by two threads with the same symbols. */
rkf_status dynlib_load(const char *const *names, const struct dynlib_symbol *symbols, size_t n, const char *what,
                       const char *advice, rkf_error *err) MUST_CHECK;

#endif
