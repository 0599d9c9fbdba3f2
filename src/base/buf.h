/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte buffer that grows up to a mandatory maximum. Appending past the maximum or out of memory sets `failed` and
 * appends nothing from then on, so that a writer checks once, at the end.
 */
#ifndef RKF_BASE_BUF_H
#define RKF_BASE_BUF_H

#include "base/status.h"

struct buf {
    char *p;         /* NUL-terminated whenever not NULL */
    size_t len, cap; /* bytes */
    size_t max;      /* most bytes, without the NUL */
    bool failed;
};
void buf_init(struct buf *b, size_t max);
void buf_append(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *buf_reserve(struct buf *b, size_t n); /* room for n more bytes at the end; NULL: failed */
void buf_clear(struct buf *b);              /* empties, keeps memory, clears failed */
char *buf_steal(struct buf *b);             /* the string (mem_free); b is empty afterwards; NULL if failed */
void buf_free(struct buf *b);

#endif
