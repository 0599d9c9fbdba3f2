/* SPDX-License-Identifier: Apache-2.0 */
/* A request's head, a target and then "name: value" by line; its Authorization against a key. */
#include "fuzz.h"

#include "server/auth.h"
#include "server/head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head h = { 0 };
    char *key = (char *)(uintptr_t) "secret";
    const struct keys keys = { .p = &key, .n = 1 };
    char *text = malloc(size + 1), *line = text, *end;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    end = strchr(line, '\n');
    if (end)
        *end = 0;
    if (head_target_ok(line))
        FUZZ_CHECK(!strstr(line, "%00") && strlen(head_path(line)) <= strlen(line));
    while (end) {
        line = end + 1;
        end = strchr(line, '\n');
        if (end)
            *end = 0;
        char *value = strchr(line, ':');
        if (!value)
            continue;
        *value++ = 0;
        head_take(&h, line, value, strlen(value));
        if (!strcasecmp(line, "Authorization"))
            FUZZ_CHECK(!keys_allow(&keys, value) || strstr(value, "secret"));
    }
    if (!head_fault(&h, "HTTP/1.1"))
        FUZZ_CHECK(h.hosts == 1 && !(h.length && h.encodings) && h.encodings <= 1);
    free(text);
    return 0;
}
