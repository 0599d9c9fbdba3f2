/* SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer/internal.h"
rkf_status charsmap_create(const char *base64, size_t len, struct charsmap **out, rkf_error *err)
{
    (void)base64;
    (void)len;
    (void)out;
    return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: normalizer 'Precompiled' is not supported yet");
}
void charsmap_free(struct charsmap *m)
{
    (void)m;
}
void normalize_precompiled(const struct charsmap *m, const struct text *in, struct text *out)
{
    (void)m;
    text_copy(out, in, 0, in->n);
}
