/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can do at most: peaks of arithmetic and of memory, measured; one file per processor family. */
#ifndef RKF_BENCH_ROOFLINE_H
#define RKF_BENCH_ROOFLINE_H

#include <stddef.h>
#include <stdint.h>

/* One instruction repeated on independent registers: nothing but its throughput. */
struct peak {
    const char *name; /* "f32", "bf16", "f16", "int8" */
    double ops;       /* operations (a multiplication and an addition are two) per round */
    void (*rounds)(long n);
};
/* Fills at most max peaks of what the processor has; returns how many. */
int peaks_list(struct peak *out, int max);
/* Reads n bytes (a multiple of 256) as fast as it can. */
void read_bytes(const void *p, size_t n);

#endif
