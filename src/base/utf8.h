/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as Unicode defines it: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef RKF_BASE_UTF8_H
#define RKF_BASE_UTF8_H

#include "base/buf.h"

/* Code point at s[0..len) and its length in *n; len >= 1. Broken: returns -1 and *n is the length of the maximal broken
 * subpart (>= 1), as Python's errors="replace" and the WHATWG decoder count it. */
int32_t utf8_decode(const char *s, size_t len, size_t *n);
size_t utf8_encode(int32_t cp, char out[4]);         /* bytes written */
size_t utf8_valid_prefix(const char *s, size_t len); /* bytes before the first broken one; len if all is well */
size_t utf8_count(const char *s, size_t len);        /* code points of valid UTF-8 */
/* Appends s with every maximal broken subpart replaced by U+FFFD. */
void utf8_append_replaced(struct buf *out, const char *s, size_t len);

#endif
