/* SPDX-License-Identifier: Apache-2.0 */
/* API keys. Comparing takes the same time whichever key is meant and wherever it differs. */
#ifndef RKF_SERVER_AUTH_H
#define RKF_SERVER_AUTH_H

#include "base/status.h"

struct keys {
    char **p; /* [n] */
    size_t n;
};
/* Adds a copy of one key; RKF_INVALID if it is empty or not printable ASCII. */
rkf_status keys_add(struct keys *k, const char *key, rkf_error *err) MUST_CHECK;
/* Adds the keys of a file, one per line; empty lines and lines that begin with # do not count. RKF_INVALID if it has
 * none. */
rkf_status keys_load(struct keys *k, const char *path, rkf_error *err) MUST_CHECK;
void keys_free(struct keys *k);
/* Whether `authorization` is "Bearer KEY" with one of the keys. NULL is no key. */
bool keys_allow(const struct keys *k, const char *authorization);

#endif
