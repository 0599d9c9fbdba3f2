/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries that only some commands need (libcurl, libmicrohttpd, libyaml), loaded when they are: the others start
 * sooner, are smaller in memory, and run where those libraries are not installed.
 */
#ifndef RKF_BASE_DYNLIB_H
#define RKF_BASE_DYNLIB_H

#include "base/status.h"

struct dynlib_symbol {
    const char *name;
    void *to; /* of a pointer to a function of that name's type */
};

struct dynlib {
    const char *const *names; /* the first that is there is taken; NULL ends them */
    const struct dynlib_symbol *symbols;
    size_t n;           /* symbols */
    const char *what;   /* who needs it */
    const char *advice; /* what to install */
    bool loaded;        /* dynlib_load's */
};

/* Loads it, once and for the life of the process, and fills every symbol. On failure (RKF_UNAVAILABLE) the symbols are
 * as they were, and the next call tries again. Any thread may call it. */
rkf_status dynlib_load(struct dynlib *l, rkf_error *err) MUST_CHECK;

#endif
