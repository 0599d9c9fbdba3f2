/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON documents for people: keys with their values, objects indented, lists of objects as tables. What a document
 * holds is the business of whoever made it.
 */
#ifndef RKF_CLI_DOCUMENT_H
#define RKF_CLI_DOCUMENT_H

#include "base/json.h"

/* Puts the document as indented text. RKF_FORMAT if json is none. */
rkf_status document_put(struct buf *b, const char *json, rkf_error *err) MUST_CHECK;
/* To standard output: as it is, or for people. Frees nothing. */
rkf_status document_print(const char *json, bool as_json, rkf_error *err) MUST_CHECK;

#endif
