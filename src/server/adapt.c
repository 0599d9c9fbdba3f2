/* SPDX-License-Identifier: Apache-2.0 */
/* What each adaptation needs of the model goes through rkformer.h; see adapt.h for what they are for. */
#include "server/adapt.h"

#include "server/encode.h"

#include <string.h>

static bool no_memory(struct api_error *e)
{
    return api_fail(e, FAULT_INTERNAL, "", "out of memory");
}

rkf_str prompt_of(const struct api_request *r, const struct model *m)
{
    yyjson_val *root = yyjson_doc_get_root(m->doc), *usual = yyjson_obj_get(root, "default_prompt_name");
    rkf_str name = r->rq.prompt_name;
    if (!name.ptr)
        name = (rkf_str){ yyjson_get_str(usual), yyjson_get_len(usual) };
    yyjson_val *text = name.ptr ? yyjson_obj_getn(yyjson_obj_get(root, "prompts"), name.ptr, name.len) : NULL;
    return (rkf_str){ yyjson_get_str(text), yyjson_get_len(text) };
}

/* The input's ids as text, in the request's memory. */
static bool decode_input(struct api_request *r, const struct model *m, rkf_input *in, struct api_error *e)
{
    rkf_error err;
    char *text = NULL;
    if (rkf_decode(m->handle, in->ids, in->n_ids, true, &text, &err))
        return api_fail(e, FAULT_TOKENIZER, "inputs", "%s", err.message);
    size_t len = strlen(text);
    char *copy = arena_alloc(&r->mem, len + 1);
    if (copy)
        memcpy(copy, text, len + 1);
    rkf_free(text);
    *in = (rkf_input){ .text = { copy, len } };
    return copy || no_memory(e);
}

bool adapt_ids_to_prompt(struct api_request *r, const struct model *m, struct api_error *e)
{
    if (!prompt_of(r, m).ptr)
        return true;
    for (size_t i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].ids && !decode_input(r, m, &r->inputs[i], e))
            return false;
    return true;
}

bool adapt_documents(struct api_request *r, const struct model *m, struct api_error *e)
{
    if (!r->max_tokens_per_doc || r->max_tokens_per_doc >= m->max_length)
        return true;
    rkf_request rq = RKF_REQUEST_INIT;
    rkf_result *result = NULL;
    rkf_error err;
    rq.inputs = r->inputs;
    rq.n_inputs = r->n_inputs;
    rq.prompt = RKF_STR("");
    rq.max_length = (int32_t)r->max_tokens_per_doc;
    if (rkf_tokenize(m->handle, &rq, false, &result, &err))
        return api_fail(e, FAULT_TOKENIZER, "documents", "%s", err.message);
    for (size_t i = 0; i < r->n_inputs; i++) {
        const rkf_tokens *t = rkf_result_tokens(result, i);
        rkf_str *text = &r->inputs[i].text;
        if (t->truncated && t->n)
            text->len = utf8_byte_of(text->ptr, text->len, t->offsets[t->n - 1][1]);
    }
    rkf_result_free(result);
    return true;
}

bool adapt_pairs_to_texts(struct api_request *r, const struct model *m, struct api_error *e)
{
    size_t n = r->n_inputs;
    rkf_input *all = arena_array(&r->mem, n, 2 * sizeof *all);
    (void)m;
    if (!all)
        return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        all[i] = (rkf_input){ .text = r->inputs[i].text };
        all[n + i] = (rkf_input){ .text = r->inputs[i].pair };
    }
    r->inputs = all;
    r->n_inputs = 2 * n;
    r->rq.inputs = all;
    r->rq.n_inputs = 2 * n;
    return true;
}
