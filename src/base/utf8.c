/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <string.h>

/* Unicode table 3-7: what may follow a lead byte. */
int32_t utf8_decode(const char *str, size_t len, size_t *n)
{
    const unsigned char *s = (const unsigned char *)str;
    unsigned c = s[0];
    *n = 1;
    if (c < 0x80)
        return (int32_t)c;
    if (c < 0xc2 || c > 0xf4)
        return -1;
    size_t more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    unsigned lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    int32_t cp = (int32_t)(c & (0x3f >> more));
    for (size_t i = 1; i <= more; i++) {
        if (i >= len || s[i] < lo || s[i] > hi) {
            *n = i;
            return -1;
        }
        cp = cp << 6 | (s[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *n = more + 1;
    return cp;
}

size_t utf8_encode(int32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3f));
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    out[0] = (char)(lead[n] | cp);
    return n;
}

size_t utf8_valid_prefix(const char *s, size_t len)
{
    size_t i = 0, n;
    while (i < len) {
        if (len - i >= 8) { /* eight ASCII bytes at once */
            uint64_t w;
            memcpy(&w, s + i, 8);
            if (!(w & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        if (utf8_decode(s + i, len - i, &n) < 0)
            break;
        i += n;
    }
    return i;
}

size_t utf8_count(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)s[i] & 0xc0) != 0x80;
    return n;
}

void utf8_append_replaced(struct buf *out, const char *s, size_t len)
{
    while (len) {
        size_t ok = utf8_valid_prefix(s, len), bad = 0;
        buf_append(out, s, ok);
        s += ok;
        len -= ok;
        if (!len)
            break;
        (void)utf8_decode(s, len, &bad);
        buf_puts(out, "\xef\xbf\xbd");
        s += bad;
        len -= bad;
    }
}
