/* SPDX-License-Identifier: Apache-2.0 */
/* Every request body of the server: the first byte chooses which. */
#include "fuzz.h"

#include "server/bodies.h"

/* Every byte that a request points at must be there. */
static size_t touch(const struct api_request *r)
{
    size_t sum = 0;
    for (size_t i = 0; i < r->rq.n_inputs; i++) {
        const rkf_input *in = &r->rq.inputs[i];
        for (size_t k = 0; k < in->text.len; k++)
            sum += (unsigned char)in->text.ptr[k];
        for (size_t k = 0; k < in->pair.len; k++)
            sum += (unsigned char)in->pair.ptr[k];
        for (size_t k = 0; k < in->n_ids; k++)
            sum += (size_t)in->ids[k];
    }
    for (size_t i = 0; i < r->n_labels; i++)
        for (size_t k = 0; k < r->labels[i].len; k++)
            sum += (unsigned char)r->labels[i].ptr[k];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_request r;
    struct api_error e = { .fault = FAULT_NONE };
    volatile size_t sink;
    if (!size)
        return 0;
    const struct body *body = all_bodies[data[0] % N_BODIES];
    api_request_init(&r, 1000);
    if (body_parse((const char *)data + 1, size - 1, &r.doc, &e) &&
        body_read(body, yyjson_doc_get_root(r.doc), &r, &e) && api_request_settle(&r, true, &e))
        sink = touch(&r);
    else if (!e.fault || !e.message[0])
        FUZZ_CHECK(false); /* refused without a reason */
    (void)sink;
    api_request_free(&r);
    return 0;
}
