/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json -> encoder_spec, led by the architecture table. Sizes are bounded here, so that products of them cannot
 * overflow later. What the file asks for and we do not compute is refused by key and value; keys that change nothing at
 * inference (dropout, initialisers, caches) are ignored.
 */
#include "model/arch.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct reader {
    yyjson_val *config;
    const char *what;
    const struct arch *arch;
    rkf_error *err;
};

/* The name under which this family's config.json has our key. */
static const char *key_of(const struct reader *r, const char *key)
{
    for (const char *const(*a)[2] = r->arch->aliases; a && (*a)[0]; a++)
        if (!strcmp((*a)[0], key) && json_has(r->config, (*a)[1]))
            return (*a)[1];
    return key;
}

static rkf_status unsupported(const struct reader *r, const char *key, const char *value)
{
    char q[64];
    return rkf_fail(r->err, RKF_UNSUPPORTED, "%s: %s with \"%s\": %s is not supported", r->what, r->arch->model_type,
                    key, rkf_quote(q, sizeof q, value, strlen(value)));
}

/* ---- numbers */

static rkf_status read_u32(const struct reader *r, const char *key, int64_t lo, int64_t hi, int64_t fallback,
                           uint32_t *out)
{
    int64_t v = fallback;
    rkf_status rc = json_get_int(r->config, key_of(r, key), lo, hi, &v, r->what, r->err);
    *out = (uint32_t)v;
    return rc;
}

static rkf_status read_bool(const struct reader *r, const char *key, bool fallback, bool *out)
{
    *out = fallback;
    return json_get_bool(r->config, key_of(r, key), out, r->what, r->err);
}

static rkf_status read_sizes(const struct reader *r, struct encoder_spec *s)
{
    const struct arch *a = r->arch;
    const struct {
        const char *key;
        int64_t lo, hi, fallback;
        uint32_t *out;
    } sizes[] = {
        { "vocab_size", 1, 1 << 24, a->vocab_size, &s->vocab_size },
        { "hidden_size", 1, 1 << 16, a->hidden_size, &s->hidden_size },
        { "num_hidden_layers", 1, SPEC_MAX_LAYERS, a->layers, &s->layers },
        { "num_attention_heads", 1, 1 << 12, a->heads_n, &s->heads },
        { "intermediate_size", 1, 1 << 18, a->intermediate_size, &s->intermediate_size },
        { "max_position_embeddings", 1, 1 << 17, a->max_positions, &s->max_positions },
        { "type_vocab_size", 0, 256, a->type_vocab_size, &s->type_vocab_size },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rkf_status rc = read_u32(r, sizes[i].key, sizes[i].lo, sizes[i].hi, sizes[i].fallback, sizes[i].out);
        if (rc)
            return rc;
    }
    rkf_status rc = read_u32(r, "embedding_size", 1, 1 << 16, a->embedding_size ? a->embedding_size : s->hidden_size,
                             &s->embedding_size);
    if (!a->embedding_size && !a->embedding_norm_last)
        s->embedding_size = s->hidden_size; /* the key means nothing to this family */
    return rc;
}

static rkf_status read_heads(const struct reader *r, struct encoder_spec *s)
{
    uint32_t head_dim = 0;
    rkf_status rc = RKF_OK;
    if (r->arch->head_dim_free)
        rc = read_u32(r, "head_dim", 1, 1 << 12, 0, &head_dim);
    s->kv_heads = s->heads;
    if (!rc && r->arch->norm_kind == NORM_RMS)
        rc = read_u32(r, "num_key_value_heads", 1, 1 << 12, s->heads, &s->kv_heads);
    if (rc)
        return rc;
    if (!head_dim && s->hidden_size % s->heads)
        return rkf_fail(r->err, RKF_FORMAT, "%s: hidden size %u is not a multiple of %u attention heads", r->what,
                        s->hidden_size, s->heads);
    s->head_dim = head_dim ? head_dim : s->hidden_size / s->heads;
    if (r->arch->position == POSITION_DISENTANGLED) { /* the reference cannot run any other */
        rc = read_u32(r, "attention_head_size", 1, 1 << 12, s->head_dim, &head_dim);
        if (!rc && head_dim != s->head_dim)
            rc = unsupported(r, "attention_head_size", "another size than hidden_size / num_attention_heads");
        if (rc)
            return rc;
    }
    if ((uint64_t)s->head_dim * s->heads > 1 << 16)
        return rkf_fail(r->err, RKF_FORMAT, "%s: %u attention heads of %u columns are too many", r->what, s->heads,
                        s->head_dim);
    if (s->heads % s->kv_heads)
        return rkf_fail(r->err, RKF_FORMAT, "%s: %u attention heads are not a multiple of %u key and value heads",
                        r->what, s->heads, s->kv_heads);
    return RKF_OK;
}

static rkf_status read_activation(const struct reader *r, const char *key, enum activation fallback,
                                  enum activation *out)
{
    const char *name = NULL;
    rkf_status rc = json_get_str(r->config, key, &name, r->what, r->err);
    *out = fallback;
    if (!rc && name && !activation_parse(name, out))
        rc = unsupported(r, key, name);
    return rc;
}

static rkf_status read_norm(const struct reader *r, struct encoder_spec *s)
{
    double eps = r->arch->norm_eps;
    rkf_status rc = json_get_num(r->config, key_of(r, "layer_norm_eps"), &eps, r->what, r->err);
    if (rc)
        return rc;
    if (!(eps >= 0 && eps < 1))
        return rkf_fail(r->err, RKF_FORMAT, "%s: a norm epsilon of %g makes no sense", r->what, eps);
    s->norm_eps = (float)(r->arch->fixed_norm_eps != 0 ? r->arch->fixed_norm_eps : eps);
    s->norm_kind = r->arch->norm_kind;
    s->pre_norm = r->arch->pre_norm;
    s->embedding_norm = !r->arch->no_embedding_norm;
    s->final_norm = r->arch->final_norm;
    s->norm_bias = s->norm_kind == NORM_LAYER;
    if (s->norm_bias && r->arch->bias_keys)
        rc = read_bool(r, "norm_bias", false, &s->norm_bias);
    return rc;
}

static rkf_status read_biases(const struct reader *r, struct encoder_spec *s)
{
    rkf_status rc = RKF_OK;
    s->attention_bias = s->mlp_bias = !r->arch->no_bias;
    if (r->arch->bias_keys && !(rc = read_bool(r, "attention_bias", false, &s->attention_bias)))
        rc = read_bool(r, "mlp_bias", false, &s->mlp_bias);
    return rc;
}

/* ALBERT: every forward pass through a group runs all of its inner layers. */
static rkf_status read_groups(const struct reader *r, struct encoder_spec *s)
{
    uint32_t layers = s->layers;
    s->layer_sets = s->layers;
    if (!r->arch->shared_layers)
        return RKF_OK;
    rkf_status rc = read_u32(r, "num_hidden_groups", 1, layers, 1, &s->layer_groups);
    if (!rc)
        rc = read_u32(r, "inner_group_num", 1, SPEC_MAX_LAYERS, 1, &s->group_layers);
    if (rc)
        return rc;
    if (layers * s->group_layers > SPEC_MAX_LAYERS)
        return rkf_fail(r->err, RKF_FORMAT, "%s: %u layers of %u inner layers are more than %d", r->what, layers,
                        s->group_layers, SPEC_MAX_LAYERS);
    s->layers = layers * s->group_layers;
    s->layer_sets = s->layer_groups * s->group_layers;
    return RKF_OK;
}

/* ---- positions */

static rkf_status read_learned(const struct reader *r, struct encoder_spec *s)
{
    int64_t pad = r->arch->pad_id;
    rkf_status rc = json_get_int(r->config, "pad_token_id", -1, INT32_MAX - 1, &pad, r->what, r->err);
    if (rc)
        return rc;
    s->pad_id = (int32_t)pad;
    if (r->arch->fixed_position_offset)
        s->position_offset = r->arch->fixed_position_offset;
    else if (s->position == POSITION_LEARNED_OFFSET)
        s->position_offset = s->pad_id + 1;
    if (s->position_offset >= (int64_t)s->max_positions)
        return rkf_fail(r->err, RKF_FORMAT, "%s: %u positions leave none after the first %d", r->what, s->max_positions,
                        s->position_offset);
    s->max_positions -= (uint32_t)s->position_offset;
    return RKF_OK;
}

/* One set of rotary parameters: {"rope_type": "default" or "linear", "rope_theta", "factor"}; v may be NULL. */
static rkf_status read_rope(const struct reader *r, yyjson_val *v, double *theta, double *factor)
{
    const char *type = NULL;
    double partial = 1;
    rkf_status rc = json_get_str(v, "rope_type", &type, r->what, r->err);
    if (!rc && !type)
        rc = json_get_str(v, "type", &type, r->what, r->err);
    *factor = 1;
    if (!rc)
        rc = json_get_num(v, "rope_theta", theta, r->what, r->err);
    if (!rc)
        rc = json_get_num(v, "partial_rotary_factor", &partial, r->what, r->err);
    if (!rc && type && !strcmp(type, "linear"))
        rc = json_get_num(v, "factor", factor, r->what, r->err);
    else if (!rc && type && strcmp(type, "default") != 0)
        rc = unsupported(r, "rope_type", type);
    if (!rc && partial != 1)
        rc = unsupported(r, "partial_rotary_factor", "a factor other than 1");
    if (!rc && !(*theta > 0 && *theta < 1e12 && *factor >= 1e-3 && *factor < 1e6))
        rc = rkf_fail(r->err, RKF_FORMAT, "%s: rotary positions with theta %g and factor %g make no sense", r->what,
                      *theta, *factor);
    return rc;
}

static yyjson_val *object_of(const struct reader *r, const char *key)
{
    yyjson_val *v = yyjson_obj_get(r->config, key);
    return yyjson_is_obj(v) ? v : NULL;
}

/* One theta for all layers: rope_parameters, or rope_theta with rope_scaling beside it as older files have it. */
static rkf_status read_rotary_global(const struct reader *r, struct encoder_spec *s)
{
    yyjson_val *v = object_of(r, "rope_scaling");
    if (!v)
        v = object_of(r, "rope_parameters");
    rkf_status rc = json_get_num(r->config, key_of(r, "rope_theta"), &s->rope_theta, r->what, r->err);
    return rc ? rc : read_rope(r, v, &s->rope_theta, &s->rope_factor);
}

/* ModernBERT: a theta for each kind of layer. */
static rkf_status read_rotary_both(const struct reader *r, struct encoder_spec *s)
{
    yyjson_val *all = object_of(r, "rope_parameters");
    rkf_status rc = RKF_OK;
    if (object_of(r, "rope_scaling"))
        rc = unsupported(r, "rope_scaling", "scaling of rotary positions");
    if (!rc)
        rc = json_get_num(r->config, "global_rope_theta", &s->rope_theta, r->what, r->err);
    if (!rc)
        rc = json_get_num(r->config, "local_rope_theta", &s->rope_theta_local, r->what, r->err);
    if (!rc)
        rc = read_rope(r, yyjson_obj_get(all, "full_attention"), &s->rope_theta, &s->rope_factor);
    if (!rc)
        rc = read_rope(r, yyjson_obj_get(all, "sliding_attention"), &s->rope_theta_local, &s->rope_factor_local);
    return rc;
}

static rkf_status read_layer_types(const struct reader *r, struct encoder_spec *s)
{
    uint32_t every, window;
    yyjson_val *types = yyjson_obj_get(r->config, "layer_types"), *v;
    rkf_status rc = read_u32(r, "global_attn_every_n_layers", 1, INT32_MAX, 3, &every);
    if (!rc)
        rc = read_u32(r, "local_attention", 2, INT32_MAX, 128, &window);
    if (rc)
        return rc;
    s->local_window = window / 2;
    for (uint32_t i = 0; i < s->layers; i++)
        s->layer_local[i] = i % every != 0;
    if (!types || yyjson_is_null(types))
        return RKF_OK;
    if (yyjson_arr_size(types) != s->layers)
        return rkf_fail(r->err, RKF_FORMAT, "%s: \"layer_types\" must have one name for each of the %u layers", r->what,
                        s->layers);
    size_t i, n;
    yyjson_arr_foreach(types, i, n, v)
    {
        s->layer_local[i] = yyjson_equals_str(v, "sliding_attention");
        if (!s->layer_local[i] && !yyjson_equals_str(v, "full_attention"))
            return unsupported(r, "layer_types", yyjson_is_str(v) ? yyjson_get_str(v) : "something other than a name");
    }
    return RKF_OK;
}

static rkf_status read_rotary(const struct reader *r, struct encoder_spec *s)
{
    s->rope_theta = r->arch->rope_theta;
    s->rope_theta_local = r->arch->rope_theta_local;
    s->rope_factor = s->rope_factor_local = 1;
    s->rotary_dim = s->head_dim;
    if (s->head_dim % 2)
        return rkf_fail(r->err, RKF_FORMAT, "%s: rotary positions need an even head size, not %u", r->what,
                        s->head_dim);
    rkf_status rc = r->arch->rope_theta_local != 0 ? read_rotary_both(r, s) : read_rotary_global(r, s);
    if (!rc && r->arch->rope_theta_local != 0)
        rc = read_layer_types(r, s);
    return rc;
}

/* MPNet: the reference computes 32 buckets whatever the table's size. */
static rkf_status read_relative(const struct reader *r, struct encoder_spec *s)
{
    rkf_status rc = read_u32(r, "relative_attention_num_buckets", 1, 1 << 16, 32, &s->relative_buckets);
    if (!rc && s->relative_buckets < 32)
        rc = unsupported(r, "relative_attention_num_buckets", "fewer than 32");
    return rc ? rc : read_learned(r, s);
}

/* "p2c|c2p" or ["p2c", "c2p"] */
static rkf_status read_pos_att_type(const struct reader *r, struct encoder_spec *s)
{
    yyjson_val *v = yyjson_obj_get(r->config, "pos_att_type"), *item;
    char words[64] = "";
    size_t i, n;
    if (yyjson_is_str(v))
        snprintf(words, sizeof words, "%s", yyjson_get_str(v));
    yyjson_arr_foreach(v, i, n, item)
    {
        size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "|%s", yyjson_is_str(item) ? yyjson_get_str(item) : "?");
    }
    for (char *save = NULL, *word = strtok_r(words, "| ", &save); word; word = strtok_r(NULL, "| ", &save))
        if (!strcmp(word, "c2p"))
            s->c2p = true;
        else if (!strcmp(word, "p2c"))
            s->p2c = true;
        else
            return unsupported(r, "pos_att_type", word);
    return RKF_OK;
}

static rkf_status read_disentangled(const struct reader *r, struct encoder_spec *s)
{
    bool relative;
    int64_t buckets = -1, furthest = -1;
    const char *norm = "none";
    rkf_status rc = read_bool(r, "relative_attention", false, &relative);
    if (!rc)
        rc = read_bool(r, "position_biased_input", true, &s->position_biased);
    if (!rc)
        rc = read_bool(r, "share_att_key", false, &s->share_att_key);
    if (!rc)
        rc = read_pos_att_type(r, s);
    if (!rc)
        rc = json_get_int(r->config, "position_buckets", -1, 1 << 16, &buckets, r->what, r->err);
    if (!rc)
        rc = json_get_int(r->config, "max_relative_positions", -1, 1 << 16, &furthest, r->what, r->err);
    if (!rc)
        rc = json_get_str(r->config, "norm_rel_ebd", &norm, r->what, r->err);
    if (rc)
        return rc;
    if (strcmp(norm, "none") != 0 && strcmp(norm, "layer_norm") != 0)
        return unsupported(r, "norm_rel_ebd", norm);
    s->norm_rel = !strcmp(norm, "layer_norm");
    if (!relative) { /* the scale still counts c2p and p2c */
        s->relative_span = 0;
        return read_learned(r, s);
    }
    s->max_relative_positions = furthest < 1 ? s->max_positions : (uint32_t)furthest;
    s->position_buckets = buckets > 0 ? (uint32_t)buckets : 0;
    s->relative_span = s->position_buckets ? s->position_buckets : s->max_relative_positions;
    if (s->position_buckets && (s->position_buckets < 4 || s->max_relative_positions <= s->position_buckets / 2 + 1))
        return unsupported(r, "position_buckets", "a size that leaves no room for logarithmic buckets");
    return read_learned(r, s);
}

static rkf_status read_positions(const struct reader *r, struct encoder_spec *s)
{
    static rkf_status (*const readers[])(const struct reader *, struct encoder_spec *) = {
        [POSITION_NONE] = NULL,
        [POSITION_LEARNED] = read_learned,
        [POSITION_LEARNED_OFFSET] = read_learned,
        [POSITION_RELATIVE_BIAS] = read_relative,
        [POSITION_ROTARY] = read_rotary,
        [POSITION_DISENTANGLED] = read_disentangled,
    };
    s->position = r->arch->position;
    s->pad_id = r->arch->pad_id;
    return readers[s->position](r, s);
}

/* ---- heads */

static enum head_kind head_of_class(const char *class_name)
{
    static const struct {
        const char *end;
        enum head_kind kind;
    } ends[] = {
        { "ForMaskedLM", HEAD_MASKED_LM },        { "ForSequenceClassification", HEAD_SEQUENCE },
        { "ForTokenClassification", HEAD_TOKEN }, { "ForQuestionAnswering", HEAD_QA },
        { "ForMultipleChoice", HEAD_CHOICE },
    };
    size_t n = strlen(class_name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i].end) && !strcmp(class_name + n - strlen(ends[i].end), ends[i].end))
            return ends[i].kind;
    return HEAD_NONE;
}

static rkf_status read_num_labels(const struct reader *r, struct encoder_spec *s)
{
    yyjson_val *labels = yyjson_obj_get(r->config, "id2label");
    bool named = yyjson_is_obj(labels) && yyjson_obj_size(labels);
    size_t n = named ? yyjson_obj_size(labels) : 2;
    if (n > 1 << 20)
        return rkf_fail(r->err, RKF_FORMAT, "%s: \"id2label\" has %zu labels, at most %d are read", r->what, n,
                        1 << 20);
    return read_u32(r, named ? "" : "num_labels", 1, 1 << 20, (int64_t)n, &s->num_labels);
}

static rkf_status read_head_pool(const struct reader *r, const struct head_names *h, struct encoder_spec *s)
{
    static const struct {
        const char *name;
        enum head_pool pool;
    } pools[] = {
        { "cls", HEAD_POOL_FIRST },      { "bos", HEAD_POOL_FIRST }, { "first", HEAD_POOL_FIRST },
        { "last", HEAD_POOL_LAST },      { "mean", HEAD_POOL_MEAN }, { "late", HEAD_POOL_LATE },
        { "cls_index", HEAD_POOL_LAST }, /* without an index the reference takes the last token */
    };
    const char *name = NULL;
    s->head_pool = h->pool;
    rkf_status rc = h->pool_key ? json_get_str(r->config, h->pool_key, &name, r->what, r->err) : RKF_OK;
    if (rc || !name)
        return rc;
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        if (!strcmp(name, pools[i].name)) {
            s->head_pool = pools[i].pool;
            return RKF_OK;
        }
    return unsupported(r, h->pool_key, name);
}

static rkf_status read_head_shape(const struct reader *r, const struct head_names *h, struct encoder_spec *s)
{
    rkf_status rc = RKF_OK;
    s->head_dense = h->dense != NULL;
    s->head_act = h->act == ACT_COUNT ? s->act : h->act;
    s->head_size = s->head == HEAD_MASKED_LM && h != r->arch->masked_lm_new ? s->embedding_size : s->hidden_size;
    if (h->dense_key)
        rc = read_bool(r, h->dense_key, true, &s->head_dense);
    if (h->act_key && yyjson_is_null(yyjson_obj_get(r->config, h->act_key)))
        s->head_act = ACT_NONE;
    if (!rc && h->act_key)
        rc = read_activation(r, h->act_key, s->head_act, &s->head_act);
    return rc ? rc : read_head_pool(r, h, s);
}

static rkf_status read_head(const struct reader *r, struct encoder_spec *s)
{
    const char *problem = NULL;
    yyjson_val *classes = yyjson_obj_get(r->config, "architectures");
    const char *name = yyjson_get_str(yyjson_arr_get_first(classes));
    if (name) {
        rkf_quote(s->head_class, sizeof s->head_class, name, strlen(name));
        s->head = head_of_class(name);
        if (strstr(name, "ForPreTraining") && r->arch->heads[HEAD_MASKED_LM] &&
            r->arch->heads[HEAD_MASKED_LM]->out_bias)
            s->head = HEAD_MASKED_LM; /* BERT and ALBERT: the masked-LM head is one of the two */
        if (strstr(name, "ForCausalLM") || strstr(name, "LMHeadModel"))
            return unsupported(r, "architectures", name);
    }
    rkf_status rc = json_get_str(r->config, "problem_type", &problem, r->what, r->err);
    if (!rc)
        rc = read_num_labels(r, s);
    if (!rc)
        rc = read_bool(r, "tie_word_embeddings", r->arch->norm_kind != NORM_RMS, &s->tie_word_embeddings);
    if (!rc)
        rc = read_bool(r, "legacy", true, &s->head_legacy);
    if (!rc)
        rc = read_bool(r, "classifier_bias", false, &s->classifier_bias);
    if (!rc)
        rc = read_bool(r, "decoder_bias", true, &s->decoder_bias);
    if (rc)
        return rc;
    if (problem)
        rkf_quote(s->problem_type, sizeof s->problem_type, problem, strlen(problem));
    const struct head_names *h = arch_head(s);
    if (!h)
        s->head = HEAD_NONE;
    return h ? read_head_shape(r, h, s) : RKF_OK;
}

const struct head_names *arch_head(const struct encoder_spec *s)
{
    if (s->head == HEAD_MASKED_LM && !s->head_legacy && s->arch->masked_lm_new)
        return s->arch->masked_lm_new;
    return s->arch->heads[s->head];
}

/* ---- refusals */

/* Keys whose value changes what a model computes, in a way that is not implemented. */
static const struct {
    const char *key, *only_for; /* model_type; NULL: any */
    const char *allowed;        /* a string that is fine; NULL: any value but null, false, 0, {} and [] is refused */
} refused[] = {
    { "is_decoder", NULL, NULL },
    { "is_encoder_decoder", NULL, NULL },
    { "add_cross_attention", NULL, NULL },
    { "position_embedding_type", NULL, "absolute" },
    { "pruned_heads", NULL, NULL },
    { "quantization_config", NULL, NULL },
    { "conv_kernel_size", "deberta-v2", NULL },
    { "num_experts", "nomic_bert", NULL },
    { "prenorm", "nomic_bert", NULL },
    { "parallel_block", "nomic_bert", NULL },
    { "use_rms_norm", "nomic_bert", NULL },
    { "causal", "nomic_bert", NULL },
    { "rotary_emb_interleaved", "nomic_bert", NULL },
    { "rotary_emb_scale_base", "nomic_bert", NULL },
    { "scale_attn_by_inverse_layer_idx", "nomic_bert", NULL },
    { "qkv_proj_bias", "nomic_bert", NULL },
    { "mlp_fc1_bias", "nomic_bert", NULL },
    { "mlp_fc2_bias", "nomic_bert", NULL },
};

static bool is_set(yyjson_val *v)
{
    return v && !yyjson_is_null(v) && !yyjson_is_false(v) && !(yyjson_is_num(v) && yyjson_get_num(v) == 0) &&
           !(yyjson_is_ctn(v) && yyjson_get_len(v) == 0);
}

static const char *say_value(yyjson_val *v, char *buf, size_t cap)
{
    if (yyjson_is_str(v))
        return yyjson_get_str(v);
    if (yyjson_is_num(v))
        snprintf(buf, cap, "%g", yyjson_get_num(v));
    else
        snprintf(buf, cap, "%s", yyjson_is_true(v) ? "true" : "a value other than its default");
    return buf;
}

static rkf_status refuse(const struct reader *r)
{
    char buf[48];
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        yyjson_val *v = yyjson_obj_get(r->config, refused[i].key);
        if (!is_set(v) || (refused[i].only_for && strcmp(refused[i].only_for, r->arch->model_type) != 0))
            continue;
        if (!refused[i].allowed || !yyjson_equals_str(v, refused[i].allowed))
            return unsupported(r, refused[i].key, say_value(v, buf, sizeof buf));
    }
    return RKF_OK;
}

/* nomic_bert from before transformers had the class: other keys for the same facts. */
static rkf_status read_nomic_hub(const struct reader *r, struct encoder_spec *s)
{
    const char *act = NULL;
    double fraction = 1;
    int64_t trained = 0;
    if (!json_has(r->config, "n_embd"))
        return RKF_OK;
    rkf_status rc = json_get_str(r->config, "activation_function", &act, r->what, r->err);
    if (!rc)
        rc = json_get_num(r->config, "rotary_emb_fraction", &fraction, r->what, r->err);
    if (!rc)
        rc = json_get_int(r->config, "max_trained_positions", 1, 1 << 17, &trained, r->what, r->err);
    if (rc)
        return rc;
    if (!act || strcmp(act, "swiglu") != 0)
        return unsupported(r, "activation_function", act ? act : "none");
    if (fraction != 1)
        return unsupported(r, "rotary_emb_fraction", "a fraction other than 1");
    /* Longer texts would need another theta for each length ("dynamic NTK"): they are cut instead. */
    if (is_set(yyjson_obj_get(r->config, "rotary_scaling_factor")) && trained && s->max_positions > trained)
        s->max_positions = (uint32_t)trained;
    return RKF_OK;
}

/* ---- all */

static rkf_status read_all(const struct reader *r, struct encoder_spec *s)
{
    static rkf_status (*const steps[])(const struct reader *, struct encoder_spec *) = {
        read_sizes, read_heads, read_norm, read_biases, read_groups, read_positions, read_nomic_hub
    };
    rkf_status rc = refuse(r);
    for (size_t i = 0; !rc && i < sizeof steps / sizeof *steps; i++)
        rc = steps[i](r, s);
    if (!rc)
        rc = read_activation(r, key_of(r, "hidden_act"), r->arch->act, &s->act);
    return rc ? rc : read_head(r, s);
}

rkf_status spec_read(yyjson_val *config, const char *what, struct encoder_spec *out, rkf_error *err)
{
    char known[256], q[64];
    const char *type = NULL;
    if (!yyjson_is_obj(config))
        return rkf_fail(err, RKF_FORMAT, "%s is not a JSON object", what);
    rkf_status rc = json_get_str(config, "model_type", &type, what, err);
    if (rc)
        return rc;
    if (!type)
        return rkf_fail(err, RKF_FORMAT, "%s has no \"model_type\": it must name one of %s", what,
                        arch_list(known, sizeof known));
    struct reader r = { config, what, arch_find(type), err };
    if (!r.arch)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: model_type \"%s\" is not supported; known are %s", what,
                        rkf_quote(q, sizeof q, type, strlen(type)), arch_list(known, sizeof known));
    struct encoder_spec s = { .arch = r.arch, .gated = r.arch->gated };
    if ((rc = read_all(&r, &s)))
        return rc;
    *out = s;
    return RKF_OK;
}
