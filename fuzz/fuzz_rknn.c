/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/rknn: any bytes are a header or refused with a message; what was parsed stays inside the file. The first bytes
 * are taken as a whole file, and the same bytes once more as body and JSON inside a correct frame, so that the JSON is
 * reached.
 */
#include "base/mem.h"
#include "fuzz.h"
#include "model/rknn.h"

#include <string.h>

static void parse(const uint8_t *p, size_t len)
{
    struct rknn_header h;
    rkf_error err = { 0 };
    if (rknn_header_parse(p, len, &h, &err)) {
        FUZZ_CHECK(err.status != RKF_OK && err.message[0]);
        return;
    }
    FUZZ_CHECK(72 + h.body_len + h.json_len == len && h.n_inputs && h.n_outputs && h.n_platforms);
    size_t sum = strlen(h.toolkit);
    for (uint32_t i = 0; i < h.n_platforms; i++)
        sum += strlen(h.platforms[i]);
    for (uint32_t i = 0; i < h.n_inputs + h.n_outputs; i++) {
        const struct rknn_tensor *t = i < h.n_inputs ? &h.inputs[i] : &h.outputs[i - h.n_inputs];
        FUZZ_CHECK(t->ndim <= RKNN_MAX_DIMS);
        sum += strlen(t->name);
        for (uint32_t k = 0; k < t->ndim; k++)
            FUZZ_CHECK(t->shape[k] > 0);
    }
    FUZZ_CHECK(sum < (size_t)1 << 30);
    rknn_header_free(&h);
}

static void parse_config(const uint8_t *p, size_t len)
{
    yyjson_doc *doc;
    struct rknn_block b;
    rkf_error err = { 0 };
    if (json_parse((const char *)p, len, "fuzz", &doc, NULL))
        return;
    if (rknn_block_read(yyjson_doc_get_root(doc), "m", &b, &err) == RKF_OK)
        FUZZ_CHECK(!b.found || (b.batch_size >= 0 && b.max_seq_length >= 0));
    else
        FUZZ_CHECK(err.message[0]);
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(data, size);
    parse_config(data, size);
    uint8_t *framed = mem_zalloc(1, 72 + size);
    if (framed) {
        memcpy(framed, "RKNN", 4);
        framed[8] = 6;
        for (int i = 0; i < 8; i++)
            framed[64 + i] = (uint8_t)((uint64_t)size >> 8 * i);
        memcpy(framed + 72, data, size);
        parse(framed, 72 + size);
    }
    mem_free(framed);
    return 0;
}
