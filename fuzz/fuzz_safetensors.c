/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/safetensors: any bytes are a file or refused with a message; every byte of every tensor lies in the file, names
 * are sorted and differ. The same bytes are also taken as a header with the data its offsets ask for, so that the rules
 * behind the frame are reached.
 */
#include "base/mem.h"
#include "fuzz.h"
#include "model/model.h"

#include <string.h>

static void parse(const uint8_t *p, size_t len)
{
    struct tensor *t = NULL;
    uint32_t n = 0;
    rkf_error err = { 0 };
    if (safetensors_parse(p, len, "fuzz", &t, &n, &err)) {
        FUZZ_CHECK(!t && !n && err.status != RKF_OK && err.message[0]);
        return;
    }
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *data = t[i].data;
        FUZZ_CHECK(data >= p && t[i].bytes <= len && data + t[i].bytes <= p + len);
        FUZZ_CHECK(t[i].type <= DTYPE_COUNT);
        FUZZ_CHECK(!i || strcmp(t[i - 1].name, t[i].name) < 0);
        total += t[i].bytes;
        for (size_t k = 0; k < t[i].bytes; k += 997)
            total += data[k] & 0; /* read: the sanitizer looks */
    }
    FUZZ_CHECK(total <= len);
    safetensors_free(t, n);
}

/* The largest offset that a header asks for, up to max. */
static size_t data_asked_for(const uint8_t *p, size_t len, size_t max)
{
    yyjson_doc *doc = NULL;
    yyjson_val *key, *v;
    size_t most = 0, i, n;
    if (json_parse((const char *)p, len, "fuzz", &doc, NULL))
        return 0;
    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, n, key, v)
    {
        uint64_t end = yyjson_get_uint(yyjson_arr_get(yyjson_obj_get(v, "data_offsets"), 1));
        if (end <= max && end > most)
            most = (size_t)end;
    }
    yyjson_doc_free(doc);
    return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size);
    size_t extra = data_asked_for(data, size, 1 << 16);
    uint8_t *framed = mem_zalloc(1, 8 + size + extra);
    if (framed) {
        for (int i = 0; i < 8; i++)
            framed[i] = (uint8_t)((uint64_t)size >> 8 * i);
        if (size)
            memcpy(framed + 8, data, size);
        parse(framed, 8 + size + extra);
    }
    mem_free(framed);
    return 0;
}
