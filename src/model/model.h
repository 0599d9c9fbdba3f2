/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model directory as Hugging Face and sentence-transformers write it: configuration, weights by name, modules, .rknn
 * files. Reading only; nothing here computes.
 *
 *   model_dir    everything known about a directory (immutable after model_dir_open, shared by all threads)
 *   encoder_spec config.json in our words: what the one forward pass of src/encoder needs to know
 *   weights      tensors of model.safetensors (one file, or shards with their index), mapped
 */
#ifndef RKF_MODEL_MODEL_H
#define RKF_MODEL_MODEL_H

#include "base/file.h"
#include "base/json.h"
#include "base/ops.h"
#include "base/view.h"

/* ---- weights */
struct tensor { /* borrowed from the map */
    const char *name;
    enum dtype type;
    uint32_t ndim;
    uint64_t shape[4];
    const void *data;
    size_t bytes;
};
struct weights;
/* dir/model.safetensors, or the shards that dir/model.safetensors.index.json lists. Errors name file and tensor. */
rkf_status weights_open(const char *dir, struct weights **out, rkf_error *err) MUST_CHECK;
void weights_close(struct weights *w);
const struct tensor *weights_find(const struct weights *w, const char *name); /* NULL: none */
uint32_t weights_count(const struct weights *w);
const struct tensor *weights_at(const struct weights *w, uint32_t i);
size_t weights_bytes(const struct weights *w);
uint64_t weights_identity(const struct weights *w); /* of these files as they are now: names, sizes, times, inodes */
bool weights_changed(const struct weights *w);      /* a file changed on disk since it was mapped */
/* Lets go of the pages of t (NULL: of all): they are read again from the file if needed. */
void weights_drop(const struct weights *w, const struct tensor *t);
bool weights_exist(const char *dir); /* there is something for weights_open */
/* Parses one header: pure, for fuzzing. map is the whole file. */
rkf_status safetensors_parse(const uint8_t *map, size_t len, const char *what, struct tensor **out, uint32_t *n,
                             rkf_error *err) MUST_CHECK;
void safetensors_free(struct tensor *t, uint32_t n);

/* ---- config.json */
enum position_kind {
    POSITION_NONE,
    POSITION_LEARNED,
    POSITION_LEARNED_OFFSET,
    POSITION_RELATIVE_BIAS,
    POSITION_ROTARY,
    POSITION_DISENTANGLED
};
enum head_kind { HEAD_NONE, HEAD_MASKED_LM, HEAD_SEQUENCE, HEAD_TOKEN, HEAD_QA, HEAD_CHOICE };
/* Which rows a head reads: every token, the first or last of each sequence, their mean, or every token with the mean
 * taken of the logits. */
enum head_pool { HEAD_POOL_TOKENS, HEAD_POOL_FIRST, HEAD_POOL_LAST, HEAD_POOL_MEAN, HEAD_POOL_LATE };

struct arch; /* row of the architecture table (arch.h): model_type, weight names, facts */

#define SPEC_MAX_LAYERS 256
struct encoder_spec {
    const struct arch *arch;
    uint32_t vocab_size, hidden_size, embedding_size, layers, heads, kv_heads, head_dim, intermediate_size;
    uint32_t max_positions; /* longest sequence that the positions allow (RoBERTa's offset already subtracted) */
    uint32_t type_vocab_size;
    int32_t pad_id, position_offset;
    enum position_kind position;
    enum activation act;
    bool gated;    /* gated MLP */
    bool pre_norm; /* norm before attention and MLP; else after (BERT) */
    bool attention_bias, mlp_bias, norm_bias;
    enum norm_kind norm_kind;
    float norm_eps;
    bool embedding_norm, final_norm;
    uint32_t layer_groups, group_layers; /* ALBERT: groups of shared layers, layers in each; 0: every layer its own */
    uint32_t layer_sets;                 /* distinct sets of layer weights */
    /* rotary */
    double rope_theta, rope_theta_local;   /* global and local layers */
    double rope_factor, rope_factor_local; /* "linear" scaling: positions are divided by it */
    uint32_t rotary_dim;
    bool rotary_interleaved;
    uint32_t local_window;                /* tokens to either side on local layers */
    uint8_t layer_local[SPEC_MAX_LAYERS]; /* 1: local attention */
    /* relative positions */
    uint32_t relative_buckets;       /* MPNet: rows of its table */
    uint32_t relative_span;          /* DeBERTa: rows of rel_embeddings / 2 */
    uint32_t position_buckets;       /* DeBERTa: log buckets; 0: none */
    uint32_t max_relative_positions; /* DeBERTa */
    bool c2p, p2c, share_att_key, norm_rel;
    bool position_biased; /* DeBERTa: has absolute positions too */
    /* head */
    enum head_kind head;
    char head_class[64]; /* "architectures"[0], quoted; "" none */
    uint32_t num_labels;
    enum activation head_act; /* after the head's dense layer */
    enum head_pool head_pool;
    bool head_dense;  /* the head's dense layer is there (where the family has one) */
    bool head_legacy; /* DeBERTa: the old masked-LM head */
    bool tie_word_embeddings;
    bool classifier_bias, decoder_bias; /* ModernBERT, EuroBERT */
    uint32_t head_size;                 /* columns of the head's dense layer (masked LM: the embedding size) */
    char problem_type[40];              /* "" none */
};
/* Reads config.json (already parsed; `what` names it). Pure, for fuzzing. Errors: RKF_FORMAT, RKF_UNSUPPORTED (names
 * key and value; an unknown model_type is named beside the known ones). */
rkf_status spec_read(yyjson_val *config, const char *what, struct encoder_spec *out, rkf_error *err) MUST_CHECK;
const char *spec_model_type(const struct encoder_spec *spec); /* static */

/* ---- sentence-transformers modules */
enum pooling_mode {
    POOL_CLS,
    POOL_MEAN,
    POOL_MAX,
    POOL_MEAN_SQRT_LEN,
    POOL_WEIGHTED_MEAN,
    POOL_LAST_TOKEN,
    POOL_COUNT
};
enum module_kind { MODULE_POOLING, MODULE_DENSE, MODULE_NORMALIZE, MODULE_LAYER_NORM, MODULE_SPLADE };
struct st_module {
    enum module_kind kind;
    char *path;               /* folder with the module's own weights, the model's path included; "" none */
    uint8_t pool[POOL_COUNT]; /* POOLING: modes in order, n_pool of them, concatenated */
    uint32_t n_pool;
    bool include_prompt;
    uint32_t in, out; /* DENSE; LAYER_NORM: in */
    bool bias;
    bool residual; /* DENSE: the input is added (projected where the sizes differ) */
    enum activation act;
    bool splade_relu_log_max; /* SPLADE: max (else sum) over tokens of log(1 + relu(logit)) */
    bool splade_log_twice;
};

struct prompt {
    char *name, *text;
};
struct rknn_file; /* rknn.h */

struct model_dir {
    char *path; /* directory with config.json */
    yyjson_doc *config_doc;
    struct encoder_spec spec;
    rkf_error spec_error; /* status RKF_OK: spec holds; else (only beside .rknn files) why the native body cannot run */
    bool has_config, has_weights, has_modules;
    char **labels;             /* [spec.num_labels] id2label; owned */
    struct st_module *modules; /* [n_modules] after the transformer */
    uint32_t n_modules;
    struct prompt *prompts;
    uint32_t n_prompts;
    char *default_prompt_name; /* NULL none */
    char *similarity;          /* "cosine" ...; NULL none */
    int64_t st_max_seq_length; /* sentence_bert_config.json; 0 none */
    bool do_lower_case;        /* sentence_bert_config.json: lower-case text before tokenising */
    char *ce_activation;       /* sentence_transformers.activation_fn of a cross-encoder; NULL none */
    char **rknn_files;         /* [n_rknn_files] .rknn files relative to path */
    uint32_t n_rknn_files;
};
/* path: directory or .rknn file inside one. Errors: RKF_NOT_FOUND (says what is missing), RKF_FORMAT, RKF_UNSUPPORTED
 * (names model_type and lists the known ones; says how to convert pytorch_model.bin). */
rkf_status model_dir_open(const char *path, const char *subfolder, struct model_dir **out, rkf_error *err) MUST_CHECK;
void model_dir_close(struct model_dir *m);
/*
 * The base model of a directory that holds only graphs compiled for an NPU (or held them where it came from: its
 * config.json or README.md says so): what README.md names, looked up in the Hugging Face cache. root: where README.md
 * is. *found is false for any other directory. Errors: RKF_UNAVAILABLE (it names none), RKF_NOT_FOUND (the cache does
 * not have it: says what to pull).
 */
struct base_model {
    char id[256], path[4096];
};
rkf_status model_base(const char *root, const struct model_dir *m, struct base_model *out, bool *found,
                      rkf_error *err) MUST_CHECK;
/* The Hugging Face cache's directory as the environment says; false: nothing says. It need not exist. */
bool model_cache_dir(char *out, size_t cap);
/* Hub id (or directory, or .rknn file: itself) -> directory, from the Hugging Face cache layout; no network.
 * RKF_NOT_FOUND says what to pull. */
rkf_status model_locate(const char *id_or_path, const char *revision, char *out, size_t cap, rkf_error *err) MUST_CHECK;

#endif
