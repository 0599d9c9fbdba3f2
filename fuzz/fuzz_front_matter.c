/* SPDX-License-Identifier: Apache-2.0 */
/* base/front_matter: any README gives at most so many non-empty strings, in bounded time. */
#include "base/front_matter.h"
#include "fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "base_model", "license", "a" };
    char values[4][FRONT_MATTER_VALUE];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t n = front_matter_values((const char *)data, size, keys[i], values, 4);
        FUZZ_CHECK(n <= 4);
        for (size_t k = 0; k < n; k++)
            FUZZ_CHECK(values[k][0] && strlen(values[k]) < FRONT_MATTER_VALUE);
    }
    return 0;
}
