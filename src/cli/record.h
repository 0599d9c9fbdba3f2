/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON lines of answers: {"index":3, ... ,"truncated":12}. Fields have the names and order that transformers'
 * pipelines give them.
 */
#ifndef RKF_CLI_RECORD_H
#define RKF_CLI_RECORD_H

#include "base/json.h"
#include "cli/output.h"

void record_begin(struct buf *b, uint64_t index);   /* {"index":3 */
void record_end(struct buf *b, int64_t truncated);  /* ,"truncated":12} and a newline */
int64_t record_truncated(const rkf_result *result); /* tokens cut from all its inputs */
void record_put_int(struct buf *b, int64_t v);
void record_put_ints(struct buf *b, const int32_t *v, size_t n);   /* [1,2] */
void record_put_str(struct buf *b, const char *key, rkf_str text); /* "key":"text" */
void record_put_score(struct buf *b, float score);                 /* ,"score":0.5 */
size_t record_tensor_size(const rkf_tensor *t);                    /* elements */
/* All elements as one flat list; spills in between, for they may be many. */
rkf_status record_put_tensor(struct output *to, const rkf_tensor *t, rkf_error *err) MUST_CHECK;
void record_put_shape(struct buf *b, const rkf_tensor *t); /* [7,384] */
void record_put_labels(struct buf *b, const rkf_label *labels, size_t n);
void record_put_entities(struct buf *b, const rkf_span *spans, size_t n);
void record_put_fills(struct buf *b, const rkf_fill *fills, size_t n);

#endif
