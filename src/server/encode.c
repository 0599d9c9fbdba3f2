/* SPDX-License-Identifier: Apache-2.0 */
#include "server/encode.h"

#include <math.h>
#include <string.h>

void base64_put(struct buf *out, const void *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    size_t len = (n + 2) / 3 * 4;
    char *to = buf_reserve(out, len);
    if (!to)
        return;
    for (; n >= 3; n -= 3, p += 3, to += 4) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        for (int i = 0; i < 4; i++)
            to[i] = digits[v >> (18 - 6 * i) & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0);
        to[0] = digits[v >> 18 & 63];
        to[1] = digits[v >> 12 & 63];
        to[2] = n > 1 ? digits[v >> 6 & 63] : '=';
        to[3] = '=';
    }
    out->len += len;
    out->p[out->len] = 0;
}

/* lowest, highest value per dimension: [2, dim] */
static void find_ranges(const struct api_item *items, size_t n, size_t dim, float *lo, float *hi)
{
    float most = 0;
    for (size_t d = 0; d < dim; d++) {
        lo[d] = INFINITY;
        hi[d] = -INFINITY;
    }
    for (size_t i = 0; i < n; i++) {
        const float *x = items[i].data; /* [dim] */
        for (size_t d = 0; d < dim; d++) {
            lo[d] = fminf(lo[d], x[d]);
            hi[d] = fmaxf(hi[d], x[d]);
            most = fmaxf(most, fabsf(x[d]));
        }
    }
    for (size_t d = 0; n == 1 && d < dim; d++) {
        lo[d] = -most;
        hi[d] = most;
    }
}

static bool quantize_bytes(const struct api_item *items, size_t n, size_t dim, bool is_signed, struct arena *mem,
                           struct api_item *out)
{
    float *lo = arena_array(mem, dim, 2 * sizeof *lo), *hi = lo + dim;
    uint8_t *to = arena_array(mem, n, dim ? dim : 1);
    if (!lo || !to)
        return false;
    find_ranges(items, n, dim, lo, hi);
    for (size_t i = 0; i < n; i++, to += dim) {
        const float *x = items[i].data;
        for (size_t d = 0; d < dim; d++) {
            float step = (hi[d] - lo[d]) / 255.0f;
            float q = fminf(fmaxf(floorf((x[d] - lo[d]) / (step != 0 ? step : 1)), 0), 255);
            to[d] = (uint8_t)(is_signed ? (int)q - 128 : (int)q);
        }
        out[i].data = to;
        out[i].type = is_signed ? RKF_I8 : RKF_U8;
    }
    return true;
}

static bool quantize_bits(const struct api_item *items, size_t n, size_t dim, bool is_signed, struct arena *mem,
                          struct api_item *out)
{
    size_t bytes = (dim + 7) / 8;
    uint8_t *to = arena_array(mem, n, bytes ? bytes : 1);
    if (!to)
        return false;
    memset(to, 0, n * bytes);
    for (size_t i = 0; i < n; i++, to += bytes) {
        const float *x = items[i].data;
        for (size_t d = 0; d < dim; d++)
            if (x[d] > 0)
                to[d / 8] |= (uint8_t)(0x80 >> d % 8);
        for (size_t b = 0; is_signed && b < bytes; b++)
            to[b] = (uint8_t)(to[b] - 128);
        out[i].data = to;
        out[i].type = is_signed ? RKF_I8 : RKF_U8;
        out[i].dim = (int64_t)bytes;
    }
    return true;
}

bool quantize_items(const struct api_item *items, size_t n, enum embed_type type, struct arena *mem,
                    struct api_item *out)
{
    size_t dim = n ? (size_t)items[0].dim : 0;
    if (n)
        memmove(out, items, n * sizeof *out);
    if (!n || type == EMBED_FLOAT || type == EMBED_BASE64)
        return true;
    if (type == EMBED_INT8 || type == EMBED_UINT8)
        return quantize_bytes(items, n, dim, type == EMBED_INT8, mem, out);
    return quantize_bits(items, n, dim, type == EMBED_BINARY, mem, out);
}

size_t utf8_byte_of(const char *s, size_t len, int64_t cp)
{
    for (size_t i = 0; i < len; i++)
        if ((s[i] & 0xC0) != 0x80 && cp-- == 0)
            return i;
    return len;
}
