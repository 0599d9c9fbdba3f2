/* SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer/unicode.h"

uint32_t unicode_compose(uint32_t a, uint32_t b)
{
    if (a - HANGUL_L < HANGUL_NL && b - HANGUL_V < HANGUL_NV)
        return HANGUL_S + ((a - HANGUL_L) * HANGUL_NV + (b - HANGUL_V)) * HANGUL_NT;
    if (a - HANGUL_S < HANGUL_NS && (a - HANGUL_S) % HANGUL_NT == 0 && b - HANGUL_T - 1 < HANGUL_NT - 1)
        return a + (b - HANGUL_T);
    uint32_t lo = 0, hi = UNICODE_PAIRS;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        const uint32_t *p = unicode_pairs[mid];
        if (p[0] == a && p[1] == b)
            return p[2];
        if (p[0] < a || (p[0] == a && p[1] < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}
