/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is: one function from bytes to nothing. A broken promise of the code under test is an abort. */
#ifndef RKF_FUZZ_FUZZ_H
#define RKF_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(x)                                                                                                  \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)

#endif
