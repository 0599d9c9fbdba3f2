/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The architecture table: one row of facts per model_type of config.json. Everything that differs between families is
 * data here; src/encoder and config.c read it and know no names of models.
 *
 * Weight names are patterns without their ".weight" or ".bias": '#' stands for the layer (ALBERT: the group), '@' for
 * the layer within its group. Names of the body may carry the row's prefix or not.
 */
#ifndef RKF_MODEL_ARCH_H
#define RKF_MODEL_ARCH_H

#include "model/model.h"

enum weight_role {
    WEIGHT_WORD, /* embeddings */
    WEIGHT_POSITION,
    WEIGHT_TYPE,
    WEIGHT_EMBEDDING_NORM,
    WEIGHT_EMBEDDING_PROJECT, /* embedding_size -> hidden_size */
    WEIGHT_QKV,               /* one matrix [q; k; v], or ... */
    WEIGHT_Q,
    WEIGHT_K,
    WEIGHT_V,
    WEIGHT_O,
    WEIGHT_ATTENTION_NORM, /* after attention (post-norm) or before it (pre-norm) */
    WEIGHT_GATE_UP,        /* one matrix [gate; up], or ... */
    WEIGHT_GATE,
    WEIGHT_UP, /* the only one where the MLP is not gated */
    WEIGHT_DOWN,
    WEIGHT_MLP_NORM,
    WEIGHT_FINAL_NORM,
    WEIGHT_RELATIVE_BIAS, /* MPNet [buckets, heads] */
    WEIGHT_RELATIVE,      /* DeBERTa [2 * span, hidden] */
    WEIGHT_RELATIVE_NORM,
    WEIGHT_POSITION_KEY, /* DeBERTa, share_att_key false */
    WEIGHT_POSITION_QUERY,
    WEIGHT_ROLES
};

/* One way of naming the weights of a body. The hub has several for some architectures. */
struct weight_names {
    const char *name[WEIGHT_ROLES]; /* NULL: this layout has no such weight */
};

/* Whether a linear layer of a head has a bias: always, or as a key of config.json says. */
enum bias_rule { BIAS_ALWAYS, BIAS_CLASSIFIER, BIAS_DECODER, BIAS_MLP };

/* logits = out(norm(act(dense(x)))), with x the rows that pool chooses; every step but out may be missing. */
struct head_names {
    const char *dense;     /* '~' at its begin: belongs to the body and takes its prefix */
    const char *dense_key; /* config.json key that can switch dense off; NULL: none */
    const char *norm;
    const char *out;
    const char *out_bias; /* bias kept beside out ("cls.predictions.bias"); NULL: out's own */
    const char *act_key;  /* config.json key of the activation; NULL: act */
    enum activation act;  /* after dense; ACT_COUNT: the spec's own (hidden_act) */
    enum head_pool pool;
    const char *pool_key; /* config.json key that says otherwise; NULL: none */
    bool tied;            /* with tie_word_embeddings, out is the word embeddings where it has no matrix of its own */
    bool always_tied;     /* out is the word embeddings */
    enum bias_rule dense_bias_rule, out_bias_rule;
};

struct arch {
    const char *model_type;
    const char *prefix;                    /* of the body's weights in models with heads: "bert." */
    const struct weight_names *layouts[2]; /* NULL: no second one */
    const char *const (*aliases)[2];       /* {our key, the config's key}, ended by NULL; the first hit counts */
    const struct head_names *heads[HEAD_CHOICE + 1]; /* by head_kind; NULL: the family has no such class */
    const struct head_names *masked_lm_new;          /* DeBERTa with "legacy": false */
    enum position_kind position;
    enum norm_kind norm_kind;
    bool pre_norm, gated, final_norm;
    bool no_embedding_norm;      /* EuroBERT */
    bool embedding_norm_last;    /* DeBERTa: the norm comes after the projection to hidden_size */
    bool always_project;         /* ALBERT: even where embedding_size is hidden_size */
    bool first_norm_is_identity; /* ModernBERT: layer 0 takes the embeddings as they are */
    bool shared_layers;          /* ALBERT: num_hidden_groups, inner_group_num */
    bool head_dim_free;          /* config's head_dim is honoured (else hidden_size / heads) */
    /* what transformers takes where config.json is silent */
    uint32_t vocab_size, hidden_size, embedding_size, layers, heads_n, intermediate_size, max_positions,
        type_vocab_size;
    int32_t pad_id;
    int32_t fixed_position_offset;   /* not 0: row of the first position whatever config.json says (MPNet) */
    double norm_eps, fixed_norm_eps; /* fixed: not 0 where no key sets it (DistilBERT) */
    enum activation act;
    double rope_theta, rope_theta_local;
    bool no_bias;   /* linear layers of the body have none by default */
    bool bias_keys; /* attention_bias and mlp_bias of config.json are honoured */
};

/* The spec's head; NULL: none. */
const struct head_names *arch_head(const struct encoder_spec *spec);
const struct arch *arch_find(const char *model_type); /* NULL: unknown */
/* "albert, bert, ..."; for messages */
const char *arch_list(char *buf, size_t cap);

/* Name of weight `role` of weight set `set` (see spec_layer_set) in buf, prefix included. false: the layout has none.
 */
bool arch_weight_name(const struct encoder_spec *spec, const struct weight_names *names, const char *prefix,
                      enum weight_role role, uint32_t set, char *buf, size_t cap);
/* Which set of weights layer i uses: i itself, but for ALBERT's shared groups. */
uint32_t spec_layer_set(const struct encoder_spec *spec, uint32_t layer);

#endif
