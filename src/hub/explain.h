/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer of the hub means, in words that say what to do. */
#ifndef RKF_HUB_EXPLAIN_H
#define RKF_HUB_EXPLAIN_H

#include "hub/http.h"

struct explain_case {
    const char *endpoint, *id, *revision;
    const char *file; /* NULL: the listing was asked for */
    bool have_token;
};
/* Fills err anew for what was answered; keeps what it says where nothing (useful) came. Returns its status. */
rkf_status explain_reply(const struct explain_case *c, const struct http_reply *r, rkf_error *err);
/* file: the subfolder. */
rkf_status explain_no_weights(const struct explain_case *c, bool pickle, bool other, rkf_error *err);

#endif
