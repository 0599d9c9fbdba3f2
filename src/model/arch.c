/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the architecture table, and the names of weights that follow from them. Facts are those of transformers
 * 5; second layouts are what the hub holds from before a family became a class of transformers.
 */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

/* ---- bodies */

#define BERT_TABLES                                                                                                    \
    [WEIGHT_WORD] = "embeddings.word_embeddings", [WEIGHT_POSITION] = "embeddings.position_embeddings",                \
    [WEIGHT_TYPE] = "embeddings.token_type_embeddings"
#define BERT_EMBEDDINGS BERT_TABLES, [WEIGHT_EMBEDDING_NORM] = "embeddings.LayerNorm"
#define BERT_FEED_FORWARD                                                                                              \
    [WEIGHT_UP] = "encoder.layer.#.intermediate.dense", [WEIGHT_DOWN] = "encoder.layer.#.output.dense",                \
    [WEIGHT_MLP_NORM] = "encoder.layer.#.output.LayerNorm"

static const struct weight_names bert_names = { {
    BERT_EMBEDDINGS,
    BERT_FEED_FORWARD,
    [WEIGHT_EMBEDDING_PROJECT] = "embeddings_project", /* ELECTRA */
    [WEIGHT_Q] = "encoder.layer.#.attention.self.query",
    [WEIGHT_K] = "encoder.layer.#.attention.self.key",
    [WEIGHT_V] = "encoder.layer.#.attention.self.value",
    [WEIGHT_O] = "encoder.layer.#.attention.output.dense",
    [WEIGHT_ATTENTION_NORM] = "encoder.layer.#.attention.output.LayerNorm",
} };

static const struct weight_names distilbert_names = { {
    BERT_EMBEDDINGS,
    [WEIGHT_Q] = "transformer.layer.#.attention.q_lin",
    [WEIGHT_K] = "transformer.layer.#.attention.k_lin",
    [WEIGHT_V] = "transformer.layer.#.attention.v_lin",
    [WEIGHT_O] = "transformer.layer.#.attention.out_lin",
    [WEIGHT_ATTENTION_NORM] = "transformer.layer.#.sa_layer_norm",
    [WEIGHT_UP] = "transformer.layer.#.ffn.lin1",
    [WEIGHT_DOWN] = "transformer.layer.#.ffn.lin2",
    [WEIGHT_MLP_NORM] = "transformer.layer.#.output_layer_norm",
} };

static const struct weight_names mpnet_names = { {
    BERT_EMBEDDINGS,
    BERT_FEED_FORWARD,
    [WEIGHT_Q] = "encoder.layer.#.attention.attn.q",
    [WEIGHT_K] = "encoder.layer.#.attention.attn.k",
    [WEIGHT_V] = "encoder.layer.#.attention.attn.v",
    [WEIGHT_O] = "encoder.layer.#.attention.attn.o",
    [WEIGHT_ATTENTION_NORM] = "encoder.layer.#.attention.LayerNorm",
    [WEIGHT_RELATIVE_BIAS] = "encoder.relative_attention_bias",
} };

#define ALBERT_LAYER "encoder.albert_layer_groups.#.albert_layers.@."
static const struct weight_names albert_names = { {
    BERT_EMBEDDINGS,
    [WEIGHT_EMBEDDING_PROJECT] = "encoder.embedding_hidden_mapping_in",
    [WEIGHT_Q] = ALBERT_LAYER "attention.query",
    [WEIGHT_K] = ALBERT_LAYER "attention.key",
    [WEIGHT_V] = ALBERT_LAYER "attention.value",
    [WEIGHT_O] = ALBERT_LAYER "attention.dense",
    [WEIGHT_ATTENTION_NORM] = ALBERT_LAYER "attention.LayerNorm",
    [WEIGHT_UP] = ALBERT_LAYER "ffn",
    [WEIGHT_DOWN] = ALBERT_LAYER "ffn_output",
    [WEIGHT_MLP_NORM] = ALBERT_LAYER "full_layer_layer_norm",
} };

static const struct weight_names deberta_names = { {
    BERT_EMBEDDINGS,
    BERT_FEED_FORWARD,
    [WEIGHT_EMBEDDING_PROJECT] = "embeddings.embed_proj",
    [WEIGHT_Q] = "encoder.layer.#.attention.self.query_proj",
    [WEIGHT_K] = "encoder.layer.#.attention.self.key_proj",
    [WEIGHT_V] = "encoder.layer.#.attention.self.value_proj",
    [WEIGHT_O] = "encoder.layer.#.attention.output.dense",
    [WEIGHT_ATTENTION_NORM] = "encoder.layer.#.attention.output.LayerNorm",
    [WEIGHT_RELATIVE] = "encoder.rel_embeddings",
    [WEIGHT_RELATIVE_NORM] = "encoder.LayerNorm",
    [WEIGHT_POSITION_KEY] = "encoder.layer.#.attention.self.pos_key_proj",
    [WEIGHT_POSITION_QUERY] = "encoder.layer.#.attention.self.pos_query_proj",
} };

static const struct weight_names modernbert_names = { {
    [WEIGHT_WORD] = "embeddings.tok_embeddings",
    [WEIGHT_EMBEDDING_NORM] = "embeddings.norm",
    [WEIGHT_QKV] = "layers.#.attn.Wqkv",
    [WEIGHT_O] = "layers.#.attn.Wo",
    [WEIGHT_ATTENTION_NORM] = "layers.#.attn_norm",
    [WEIGHT_GATE_UP] = "layers.#.mlp.Wi",
    [WEIGHT_DOWN] = "layers.#.mlp.Wo",
    [WEIGHT_MLP_NORM] = "layers.#.mlp_norm",
    [WEIGHT_FINAL_NORM] = "final_norm",
} };

#define PROJ_ATTENTION                                                                                                 \
    [WEIGHT_Q] = "layers.#.self_attn.q_proj", [WEIGHT_K] = "layers.#.self_attn.k_proj",                                \
    [WEIGHT_V] = "layers.#.self_attn.v_proj", [WEIGHT_O] = "layers.#.self_attn.o_proj"
#define PROJ_GATED                                                                                                     \
    [WEIGHT_GATE] = "layers.#.mlp.gate_proj", [WEIGHT_UP] = "layers.#.mlp.up_proj",                                    \
    [WEIGHT_DOWN] = "layers.#.mlp.down_proj"
#define POST_NORMS                                                                                                     \
    [WEIGHT_ATTENTION_NORM] = "layers.#.post_attention_layernorm", [WEIGHT_MLP_NORM] = "layers.#.post_mlp_layernorm"
#define HUB_NORMS [WEIGHT_ATTENTION_NORM] = "encoder.layers.#.norm1", [WEIGHT_MLP_NORM] = "encoder.layers.#.norm2"

static const struct weight_names eurobert_names = { {
    PROJ_ATTENTION,
    PROJ_GATED,
    [WEIGHT_WORD] = "embed_tokens",
    [WEIGHT_ATTENTION_NORM] = "layers.#.input_layernorm",
    [WEIGHT_MLP_NORM] = "layers.#.post_attention_layernorm",
    [WEIGHT_FINAL_NORM] = "norm",
} };

static const struct weight_names nomic_names = { { BERT_EMBEDDINGS, PROJ_ATTENTION, PROJ_GATED, POST_NORMS } };
static const struct weight_names nomic_hub_names = { {
    BERT_TABLES,
    HUB_NORMS,
    [WEIGHT_EMBEDDING_NORM] = "emb_ln",
    [WEIGHT_QKV] = "encoder.layers.#.attn.Wqkv",
    [WEIGHT_O] = "encoder.layers.#.attn.out_proj",
    [WEIGHT_UP] = "encoder.layers.#.mlp.fc11",
    [WEIGHT_GATE] = "encoder.layers.#.mlp.fc12",
    [WEIGHT_DOWN] = "encoder.layers.#.mlp.fc2",
} };

static const struct weight_names jina_names = { {
    BERT_EMBEDDINGS,
    PROJ_ATTENTION,
    POST_NORMS,
    [WEIGHT_UP] = "layers.#.mlp.fc1",
    [WEIGHT_DOWN] = "layers.#.mlp.fc2",
} };
static const struct weight_names jina_hub_names = { {
    BERT_TABLES,
    HUB_NORMS,
    [WEIGHT_EMBEDDING_NORM] = "emb_ln",
    [WEIGHT_QKV] = "encoder.layers.#.mixer.Wqkv",
    [WEIGHT_O] = "encoder.layers.#.mixer.out_proj",
    [WEIGHT_UP] = "encoder.layers.#.mlp.fc1",
    [WEIGHT_DOWN] = "encoder.layers.#.mlp.fc2",
} };

/* ---- heads */

static const struct head_names token_classifier = { .out = "classifier" };
static const struct head_names qa_outputs = { .out = "qa_outputs" };
static const struct head_names pooled_classifier = {
    .dense = "~pooler.dense", .act = ACT_TANH, .out = "classifier", .pool = HEAD_POOL_FIRST
};
static const struct head_names bert_masked_lm = {
    .dense = "cls.predictions.transform.dense",
    .act = ACT_COUNT,
    .norm = "cls.predictions.transform.LayerNorm",
    .out = "cls.predictions.decoder",
    .out_bias = "cls.predictions.bias",
    .tied = true,
};
static const struct head_names roberta_masked_lm = {
    .dense = "lm_head.dense",
    .act = ACT_GELU,
    .norm = "lm_head.layer_norm",
    .out = "lm_head.decoder",
    .out_bias = "lm_head.bias",
    .tied = true,
};
static const struct head_names roberta_sequence = {
    .dense = "classifier.dense", .act = ACT_TANH, .out = "classifier.out_proj", .pool = HEAD_POOL_FIRST
};
static const struct head_names distilbert_masked_lm = {
    .dense = "vocab_transform", .act = ACT_COUNT, .norm = "vocab_layer_norm", .out = "vocab_projector", .tied = true
};
static const struct head_names distilbert_sequence = {
    .dense = "pre_classifier", .act = ACT_RELU, .out = "classifier", .pool = HEAD_POOL_FIRST
};
static const struct head_names electra_masked_lm = {
    .dense = "generator_predictions.dense",
    .act = ACT_GELU,
    .norm = "generator_predictions.LayerNorm",
    .out = "generator_lm_head",
    .tied = true,
};
static const struct head_names electra_sequence = {
    .dense = "classifier.dense", .act = ACT_GELU, .out = "classifier.out_proj", .pool = HEAD_POOL_FIRST
};
static const struct head_names electra_choice = {
    .dense = "sequence_summary.summary",
    .dense_key = "summary_use_proj",
    .act = ACT_GELU,
    .act_key = "summary_activation",
    .out = "classifier",
    .pool = HEAD_POOL_FIRST,
    .pool_key = "summary_type",
};
static const struct head_names albert_masked_lm = {
    .dense = "predictions.dense",
    .act = ACT_COUNT,
    .norm = "predictions.LayerNorm",
    .out = "predictions.decoder",
    .out_bias = "predictions.bias",
    .tied = true,
};
static const struct head_names albert_sequence = {
    .dense = "~pooler", .act = ACT_TANH, .out = "classifier", .pool = HEAD_POOL_FIRST
};
static const struct head_names deberta_masked_lm_new = {
    .dense = "lm_predictions.lm_head.dense",
    .act = ACT_COUNT,
    .norm = "lm_predictions.lm_head.LayerNorm",
    .out = "lm_predictions.lm_head.decoder",
    .out_bias = "lm_predictions.lm_head.bias",
    .always_tied = true,
};
static const struct head_names deberta_sequence = {
    .dense = "pooler.dense",
    .act = ACT_GELU,
    .act_key = "pooler_hidden_act",
    .out = "classifier",
    .pool = HEAD_POOL_FIRST,
};
static const struct head_names nomic_masked_lm = {
    .dense = "cls.predictions.transform.dense",
    .act = ACT_COUNT,
    .norm = "cls.predictions.transform.layer_norm",
    .out = "cls.predictions.decoder",
    .out_bias = "cls.predictions.bias",
    .tied = true,
};
#define MODERNBERT_HEAD                                                                                                \
    .dense = "head.dense", .act = ACT_GELU, .act_key = "classifier_activation", .norm = "head.norm",                   \
    .dense_bias_rule = BIAS_CLASSIFIER
static const struct head_names modernbert_masked_lm = { MODERNBERT_HEAD, .out = "decoder", .tied = true,
                                                        .out_bias_rule = BIAS_DECODER };
static const struct head_names modernbert_tokens = { MODERNBERT_HEAD, .out = "classifier" };
static const struct head_names modernbert_sequence = { MODERNBERT_HEAD, .out = "classifier", .pool = HEAD_POOL_FIRST,
                                                       .pool_key = "classifier_pooling" };
static const struct head_names eurobert_masked_lm = { .out = "lm_head", .tied = true, .out_bias_rule = BIAS_MLP };
static const struct head_names eurobert_sequence = {
    .dense = "dense",
    .act = ACT_GELU,
    .out = "classifier",
    .pool = HEAD_POOL_LATE,
    .pool_key = "classifier_pooling",
};

/* ---- rows */

#define SIZES(n_vocab, n_hidden, n_layers, n_heads, n_inner)                                                           \
    .vocab_size = (n_vocab), .hidden_size = (n_hidden), .layers = (n_layers), .heads_n = (n_heads),                    \
    .intermediate_size = (n_inner)

#define ROBERTA_ROW                                                                                                    \
    .prefix = "roberta.", .layouts = { &bert_names }, .position = POSITION_LEARNED_OFFSET, .max_positions = 512,       \
    .type_vocab_size = 2, .pad_id = 1, .norm_eps = 1e-12, .act = ACT_GELU,                                             \
    .heads = { [HEAD_MASKED_LM] = &roberta_masked_lm,                                                                  \
               [HEAD_SEQUENCE] = &roberta_sequence,                                                                    \
               [HEAD_TOKEN] = &token_classifier,                                                                       \
               [HEAD_QA] = &qa_outputs,                                                                                \
               [HEAD_CHOICE] = &pooled_classifier }

static const char *const distilbert_aliases[][2] = {
    { "hidden_size", "dim" },
    { "num_hidden_layers", "n_layers" },
    { "num_attention_heads", "n_heads" },
    { "intermediate_size", "hidden_dim" },
    { "hidden_act", "activation" },
    { NULL, NULL },
};
static const char *const modernbert_aliases[][2] = { { "hidden_act", "hidden_activation" },
                                                     { "layer_norm_eps", "norm_eps" },
                                                     { NULL, NULL } };
static const char *const eurobert_aliases[][2] = { { "layer_norm_eps", "rms_norm_eps" }, { NULL, NULL } };
static const char *const nomic_aliases[][2] = {
    { "hidden_size", "n_embd" },
    { "num_hidden_layers", "n_layer" },
    { "num_attention_heads", "n_head" },
    { "intermediate_size", "n_inner" },
    { "max_position_embeddings", "n_positions" },
    { "layer_norm_eps", "layer_norm_epsilon" },
    { "rope_theta", "rotary_emb_base" },
    { NULL, NULL },
};

static const struct arch archs[] = {
    {
        .model_type = "albert",
        .prefix = "albert.",
        .layouts = { &albert_names },
        .shared_layers = true,
        .always_project = true,
        SIZES(30000, 4096, 12, 64, 16384),
        .position = POSITION_LEARNED,
        .embedding_size = 128,
        .max_positions = 512,
        .type_vocab_size = 2,
        .act = ACT_GELU_TANH,
        .heads = { [HEAD_MASKED_LM] = &albert_masked_lm,
                   [HEAD_SEQUENCE] = &albert_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &albert_sequence },
        .norm_eps = 1e-12,
    },
    {
        .model_type = "bert",
        .prefix = "bert.",
        .layouts = { &bert_names },
        SIZES(30522, 768, 12, 12, 3072),
        .position = POSITION_LEARNED,
        .max_positions = 512,
        .type_vocab_size = 2,
        .heads = { [HEAD_MASKED_LM] = &bert_masked_lm,
                   [HEAD_SEQUENCE] = &pooled_classifier,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &pooled_classifier },
        .norm_eps = 1e-12,
        .act = ACT_GELU,
    },
    { ROBERTA_ROW, SIZES(30522, 768, 12, 12, 3072), .model_type = "camembert" },
    {
        .model_type = "deberta-v2",
        .prefix = "deberta.",
        .layouts = { &deberta_names },
        SIZES(128100, 1536, 24, 24, 6144),
        .position = POSITION_DISENTANGLED,
        .embedding_norm_last = true,
        .max_positions = 512,
        .norm_eps = 1e-7,
        .heads = { [HEAD_MASKED_LM] = &bert_masked_lm,
                   [HEAD_SEQUENCE] = &deberta_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &deberta_sequence },
        .masked_lm_new = &deberta_masked_lm_new,
        .act = ACT_GELU,
    },
    {
        .model_type = "distilbert",
        .prefix = "distilbert.",
        .layouts = { &distilbert_names },
        SIZES(30522, 768, 6, 12, 3072),
        .aliases = distilbert_aliases,
        .position = POSITION_LEARNED,
        .max_positions = 512,
        .fixed_norm_eps = 1e-12,
        .heads = { [HEAD_MASKED_LM] = &distilbert_masked_lm,
                   [HEAD_SEQUENCE] = &distilbert_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &distilbert_sequence },
        .norm_eps = 1e-12,
        .act = ACT_GELU,
    },
    {
        .model_type = "electra",
        .prefix = "electra.",
        .layouts = { &bert_names },
        SIZES(30522, 256, 12, 4, 1024),
        .position = POSITION_LEARNED,
        .embedding_size = 128,
        .max_positions = 512,
        .type_vocab_size = 2,
        .heads = { [HEAD_MASKED_LM] = &electra_masked_lm,
                   [HEAD_SEQUENCE] = &electra_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &electra_choice },
        .norm_eps = 1e-12,
        .act = ACT_GELU,
    },
    {
        .model_type = "eurobert",
        .prefix = "model.",
        .layouts = { &eurobert_names },
        SIZES(128256, 768, 12, 12, 3072),
        .aliases = eurobert_aliases,
        .position = POSITION_ROTARY,
        .norm_kind = NORM_RMS,
        .pre_norm = true,
        .gated = true,
        .final_norm = true,
        .no_embedding_norm = true,
        .head_dim_free = true,
        .bias_keys = true,
        .no_bias = true,
        .max_positions = 8192,
        .pad_id = 128001,
        .norm_eps = 1e-5,
        .act = ACT_SILU,
        .rope_theta = 10000,
        .heads = { [HEAD_MASKED_LM] = &eurobert_masked_lm,
                   [HEAD_SEQUENCE] = &eurobert_sequence,
                   [HEAD_TOKEN] = &token_classifier },
    },
    {
        .model_type = "jina_embeddings_v3",
        .prefix = "roberta.",
        .layouts = { &jina_names, &jina_hub_names },
        SIZES(250002, 1024, 24, 16, 4096),
        .position = POSITION_ROTARY,
        .head_dim_free = true,
        .max_positions = 8194,
        .type_vocab_size = 1,
        .pad_id = 1,
        .norm_eps = 1e-5,
        .rope_theta = 20000,
        .heads = { [HEAD_MASKED_LM] = &roberta_masked_lm,
                   [HEAD_SEQUENCE] = &roberta_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs },
        .act = ACT_GELU,
    },
    {
        .model_type = "modernbert",
        .prefix = "model.",
        .layouts = { &modernbert_names },
        SIZES(50368, 768, 22, 12, 1152),
        .aliases = modernbert_aliases,
        .position = POSITION_ROTARY,
        .pre_norm = true,
        .gated = true,
        .final_norm = true,
        .first_norm_is_identity = true,
        .bias_keys = true,
        .no_bias = true,
        .max_positions = 8192,
        .pad_id = 50283,
        .norm_eps = 1e-5,
        .rope_theta = 160000,
        .rope_theta_local = 10000,
        .heads = { [HEAD_MASKED_LM] = &modernbert_masked_lm,
                   [HEAD_SEQUENCE] = &modernbert_sequence,
                   [HEAD_TOKEN] = &modernbert_tokens,
                   [HEAD_QA] = &modernbert_tokens,
                   [HEAD_CHOICE] = &modernbert_sequence },
        .act = ACT_GELU,
    },
    {
        .model_type = "mpnet",
        .prefix = "mpnet.",
        .layouts = { &mpnet_names },
        SIZES(30527, 768, 12, 12, 3072),
        .position = POSITION_RELATIVE_BIAS,
        .max_positions = 512,
        .pad_id = 1,
        .fixed_position_offset = 2,
        .heads = { [HEAD_MASKED_LM] = &roberta_masked_lm,
                   [HEAD_SEQUENCE] = &roberta_sequence,
                   [HEAD_TOKEN] = &token_classifier,
                   [HEAD_QA] = &qa_outputs,
                   [HEAD_CHOICE] = &pooled_classifier },
        .norm_eps = 1e-12,
        .act = ACT_GELU,
    },
    {
        .model_type = "nomic_bert",
        .prefix = "nomic_bert.",
        .layouts = { &nomic_names, &nomic_hub_names },
        SIZES(30528, 768, 12, 12, 3072),
        .aliases = nomic_aliases,
        .position = POSITION_ROTARY,
        .gated = true,
        .head_dim_free = true,
        .no_bias = true,
        .max_positions = 2048,
        .type_vocab_size = 2,
        .act = ACT_SILU,
        .rope_theta = 1000,
        .heads = { [HEAD_MASKED_LM] = &nomic_masked_lm,
                   [HEAD_SEQUENCE] = &pooled_classifier,
                   [HEAD_TOKEN] = &token_classifier },
        .norm_eps = 1e-12,
    },
    { ROBERTA_ROW, SIZES(50265, 768, 12, 12, 3072), .model_type = "roberta" },
    { ROBERTA_ROW, SIZES(30522, 768, 12, 12, 3072), .model_type = "xlm-roberta" },
};

const struct arch *arch_find(const char *model_type)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(archs[i].model_type, model_type))
            return &archs[i];
    return NULL;
}

const char *arch_list(char *buf, size_t cap)
{
    size_t used = 0;
    for (size_t i = 0; i < sizeof archs / sizeof *archs && used < cap; i++)
        used += (size_t)snprintf(buf + used, cap - used, "%s%s", i ? ", " : "", archs[i].model_type);
    return buf;
}

const char *spec_model_type(const struct encoder_spec *spec)
{
    return spec->arch->model_type;
}

uint32_t spec_layer_set(const struct encoder_spec *spec, uint32_t layer)
{
    if (!spec->layer_groups)
        return layer;
    uint32_t rounds = spec->layers / spec->group_layers, round = layer / spec->group_layers;
    /* in floating point, as the reference does */
    uint32_t group = (uint32_t)(round / ((double)rounds / spec->layer_groups));
    return group * spec->group_layers + layer % spec->group_layers;
}

bool arch_weight_name(const struct encoder_spec *spec, const struct weight_names *names, const char *prefix,
                      enum weight_role role, uint32_t set, char *buf, size_t cap)
{
    const char *p = role < WEIGHT_ROLES ? names->name[role] : NULL; /* WEIGHT_ROLES: no such weight anywhere */
    uint32_t per = spec->layer_groups ? spec->group_layers : 1;
    if (!p)
        return false;
    size_t used = (size_t)snprintf(buf, cap, "%s", prefix);
    for (; *p && used + 1 < cap; p++)
        if (*p == '#')
            used += (size_t)snprintf(buf + used, cap - used, "%u", set / per);
        else if (*p == '@')
            used += (size_t)snprintf(buf + used, cap - used, "%u", set % per);
        else
            buf[used++] = *p;
    buf[used < cap ? used : cap - 1] = 0;
    return true;
}
