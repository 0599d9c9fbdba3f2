/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/config: any JSON is a spec or refused with a message, and what is accepted keeps the bounds that the encoder
 * counts on: nothing it allocates or indexes by them can overflow.
 */
#include "encoder/positions.h"
#include "fuzz.h"
#include "model/arch.h"

#include <math.h>

static void check_layers(const struct encoder_spec *s)
{
    char name[256];
    FUZZ_CHECK(s->layers >= 1 && s->layers <= SPEC_MAX_LAYERS && s->layer_sets >= 1 &&
               s->layer_sets <= SPEC_MAX_LAYERS * SPEC_MAX_LAYERS);
    for (uint32_t i = 0; i < s->layers; i++) {
        FUZZ_CHECK(spec_layer_set(s, i) < s->layer_sets);
        FUZZ_CHECK(s->layer_local[i] <= 1);
    }
    for (size_t l = 0; l < 2 && s->arch->layouts[l]; l++)
        for (int role = 0; role < WEIGHT_ROLES; role++)
            (void)arch_weight_name(s, s->arch->layouts[l], s->arch->prefix, (enum weight_role)role, s->layer_sets - 1,
                                   name, sizeof name);
}

static void check_positions(const struct encoder_spec *s)
{
    FUZZ_CHECK(s->max_positions >= 1 && s->max_positions <= 1 << 17 && s->position_offset >= 0);
    FUZZ_CHECK(s->rotary_dim <= s->head_dim && s->rotary_dim % 2 == 0);
    if (!s->relative_span)
        return;
    int32_t far = (int32_t)s->max_positions, previous = 0;
    for (int32_t d = -far; d <= far; d += 1 + far / 64) { /* rows exist and never fall */
        int32_t row = disentangled_row(s, d);
        FUZZ_CHECK(row >= previous && row < 2 * (int32_t)s->relative_span);
        previous = row;
    }
}

static void check_spec(const struct encoder_spec *s)
{
    FUZZ_CHECK(s->arch && s->hidden_size && s->hidden_size <= 1 << 16 && s->vocab_size && s->vocab_size <= 1 << 24);
    FUZZ_CHECK(s->heads && s->kv_heads && s->heads % s->kv_heads == 0);
    FUZZ_CHECK(s->head_dim && (uint64_t)s->heads * s->head_dim <= 1 << 16);
    FUZZ_CHECK(s->intermediate_size && s->intermediate_size <= 1 << 18 && s->embedding_size &&
               s->embedding_size <= 1 << 16);
    FUZZ_CHECK(s->num_labels >= 1 && s->num_labels <= 1 << 20);
    FUZZ_CHECK(s->norm_eps >= 0 && s->norm_eps <= 1 && s->act < ACT_COUNT && s->head_act < ACT_COUNT);
    FUZZ_CHECK(s->head == HEAD_NONE || arch_head(s));
    check_layers(s);
    check_positions(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    yyjson_doc *doc = NULL;
    struct encoder_spec s;
    rkf_error err = { 0 };
    if (json_parse((const char *)data, size, "fuzz", &doc, NULL))
        return 0;
    if (spec_read(yyjson_doc_get_root(doc), "fuzz", &s, &err))
        FUZZ_CHECK(err.status != RKF_OK && err.message[0]);
    else
        check_spec(&s);
    yyjson_doc_free(doc);
    return 0;
}
