/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON over yyjson: bounded reading with errors that name file and place, typed look-ups with defaults, and writing.
 * Objects look up the FIRST of duplicate keys. Strings are UTF-8 and may hold NULs (use the length).
 */
#ifndef RKF_BASE_JSON_H
#define RKF_BASE_JSON_H

#include "base/buf.h"
#include <yyjson.h>

#define JSON_MAX_DEPTH 64

/* Parses bytes [p, p + len); `what` names it in messages. Deeper than JSON_MAX_DEPTH is RKF_FORMAT. Free:
 * yyjson_doc_free. */
rkf_status json_parse(const char *p, size_t len, const char *what, yyjson_doc **out, rkf_error *err) MUST_CHECK;
/* Parses the file dir/name (name may be NULL: dir is the file) of at most max bytes. RKF_NOT_FOUND if it is not there.
 */
rkf_status json_load(const char *dir, const char *name, size_t max, yyjson_doc **out, rkf_error *err) MUST_CHECK;

/* Typed look-ups in an object (v may be NULL or no object): absent or null leaves the default; a wrong type is an error
 * that names `what` and the key. */
rkf_status json_get_int(yyjson_val *v, const char *key, int64_t lo, int64_t hi, int64_t *io, const char *what,
                        rkf_error *err) MUST_CHECK;
rkf_status json_get_num(yyjson_val *v, const char *key, double *io, const char *what, rkf_error *err) MUST_CHECK;
rkf_status json_get_bool(yyjson_val *v, const char *key, bool *io, const char *what, rkf_error *err) MUST_CHECK;
/* *io points into the document. */
rkf_status json_get_str(yyjson_val *v, const char *key, const char **io, const char *what, rkf_error *err) MUST_CHECK;
bool json_has(yyjson_val *v, const char *key); /* present and not null */

/* Writing by hand into a buf: strings are escaped, broken UTF-8 replaced; floats are the shortest that read back the
 * same f32 (NaN and infinities become null). */
void json_put_str(struct buf *b, const char *s, size_t len);
void json_put_f32(struct buf *b, float f);
void json_put_f32s(struct buf *b, const float *f, size_t n); /* [a,b,...] */
void json_put_val(struct buf *b, yyjson_val *v);             /* a value that was read, as it was; NULL: null */

#endif
