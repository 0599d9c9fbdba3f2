/* SPDX-License-Identifier: Apache-2.0 */
/* The server's configuration: a first byte below 128 is a YAML file, above it is one of -m's words. */
#include "fuzz.h"

#include "server/server.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct server_config c = SERVER_CONFIG_INIT;
    rkf_error err = { .message = "" };
    char spec[512];
    rkf_status rc;
    if (!size)
        return 0;
    if (data[0] < 128) {
        rc = server_config_parse(&c, (const char *)data + 1, size - 1, "fuzz.yaml", &err);
    } else {
        size_t n = size - 1 < sizeof spec - 1 ? size - 1 : sizeof spec - 1;
        memcpy(spec, data + 1, n);
        spec[n] = 0;
        rc = server_config_add_model(&c, spec, &err);
    }
    FUZZ_CHECK(!rc || err.message[0]);
    server_config_free(&c);
    return 0;
}
