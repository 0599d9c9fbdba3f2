/* SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer/internal.h"
rkf_status unigram_load(struct model *m, yyjson_val *v, rkf_error *err)
{
    (void)m;
    (void)v;
    return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: model 'Unigram' is not supported yet");
}
rkf_status unigram_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n, rkf_error *err)
{
    (void)m;
    (void)s;
    (void)p;
    (void)n;
    return rkf_fail(err, RKF_INTERNAL, "Unigram");
}
void unigram_free(struct unigram *u)
{
    (void)u;
}
