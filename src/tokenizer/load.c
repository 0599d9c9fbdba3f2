/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer from the bytes of a tokenizer.json, and what can be asked about it. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

rkf_status tokenizer_new(struct tokenizer **out, rkf_error *err)
{
    static _Atomic uint64_t serial;
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "a tokenizer");
    t->serial = atomic_fetch_add(&serial, 1) + 1;
    t->model.unk = -1;
    for (int i = 0; i < TOKEN_COUNT; i++)
        t->special[i] = -1;
    t->facts.token_types = true;
    *out = t;
    return RKF_OK;
}

static void free_parts(struct tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_normalizers; i++) {
        struct normalizer *n = &t->normalizers[i];
        mem_free(n->content);
        mem_free(n->literal);
        regex_free(n->regex);
        charsmap_free(n->map);
    }
    for (uint32_t i = 0; i < t->n_pretokenizers; i++)
        regex_free(t->pretokenizers[i].regex);
    for (uint32_t i = 0; i < t->n_decoders; i++) {
        mem_free(t->decoders[i].text);
        mem_free(t->decoders[i].literal);
        regex_free(t->decoders[i].regex);
    }
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    free_parts(t);
    added_free(&t->added);
    vocab_free(&t->model.vocab);
    trie_free(&t->model.trie);
    mem_free(t->model.unk_token);
    mem_free(t->model.wordpiece.prefix);
    bpe_free(t->model.bpe);
    unigram_free(t->model.unigram);
    mem_free(t->post.ids);
    mem_free(t);
}

/* ---- model */

rkf_status model_load_vocab(struct model *m, yyjson_val *v, rkf_error *err)
{
    size_t i, n, bytes = 0;
    yyjson_val *key, *id;
    char quoted[80];
    if (!yyjson_is_obj(v))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: the model has no \"vocab\" of tokens and ids");
    yyjson_obj_foreach(v, i, n, key, id)
    {
        bytes += yyjson_get_len(key);
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) > INT32_MAX)
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: token '%s' has no valid id",
                            rkf_quote(quoted, sizeof quoted, yyjson_get_str(key), yyjson_get_len(key)));
    }
    rkf_status rc = vocab_init(&m->vocab, yyjson_obj_size(v), bytes, err);
    if (rc)
        return rc;
    yyjson_obj_foreach(v, i, n, key, id)
        vocab_put(&m->vocab, yyjson_get_str(key), yyjson_get_len(key), (int32_t)yyjson_get_uint(id));
    m->size = m->vocab.n;
    return vocab_index_ids(&m->vocab, err);
}

static rkf_status load_unk(struct model *m, yyjson_val *v, rkf_error *err)
{
    size_t len;
    yyjson_val *unk = yyjson_obj_get(v, "unk_token");
    if (!yyjson_is_str(unk))
        return RKF_OK;
    rkf_status rc = copy_str(unk, "tokenizer.json: unk_token", &m->unk_token, &len, err);
    if (!rc)
        m->unk = vocab_find(&m->vocab, m->unk_token, len);
    return rc;
}

static rkf_status load_wordpiece(struct model *m, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: WordPiece";
    yyjson_val *prefix = yyjson_obj_get(v, "continuing_subword_prefix");
    int64_t max_chars = 100;
    rkf_status rc = json_get_int(v, "max_input_chars_per_word", 0, INT32_MAX, &max_chars, what, err);
    if (rc)
        return rc;
    if (prefix && !yyjson_is_str(prefix))
        return rkf_fail(err, RKF_FORMAT, "%s: continuing_subword_prefix must be a string", what);
    return wordpiece_prepare(m, prefix ? yyjson_get_str(prefix) : "##", prefix ? yyjson_get_len(prefix) : 2, max_chars,
                             err);
}

/* Files of 2020 do not say the type. */
static const char *model_type(yyjson_val *v)
{
    yyjson_val *type = yyjson_obj_get(v, "type");
    if (yyjson_is_str(type))
        return yyjson_get_str(type);
    if (yyjson_obj_get(v, "merges"))
        return "BPE";
    if (yyjson_obj_get(v, "continuing_subword_prefix"))
        return "WordPiece";
    return yyjson_is_arr(yyjson_obj_get(v, "vocab")) ? "Unigram" : "WordLevel";
}

rkf_status model_load(struct tokenizer *t, yyjson_val *v, rkf_error *err)
{
    static const struct {
        const char *name;
        enum model_kind kind;
        rkf_status (*load)(struct model *m, yyjson_val *v, rkf_error *err);
    } rows[] = { { "WordPiece", MODEL_WORDPIECE, load_wordpiece },
                 { "BPE", MODEL_BPE, bpe_load },
                 { "Unigram", MODEL_UNIGRAM, unigram_load },
                 { "WordLevel", MODEL_WORDLEVEL, NULL } };
    char quoted[80];
    struct model *m = &t->model;
    if (!yyjson_is_obj(v))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json has no \"model\"");
    const char *type = model_type(v);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(type, rows[i].name) != 0)
            continue;
        rkf_status rc = RKF_OK;
        m->kind = rows[i].kind;
        if (m->kind != MODEL_UNIGRAM &&
            ((rc = model_load_vocab(m, yyjson_obj_get(v, "vocab"), err)) || (rc = load_unk(m, v, err))))
            return rc;
        return rows[i].load ? rows[i].load(m, v, err) : RKF_OK;
    }
    return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: model '%s' is not supported",
                    rkf_quote(quoted, sizeof quoted, type, strlen(type)));
}

/* ---- the whole */

rkf_status tokenizer_finish(struct tokenizer *t, rkf_error *err)
{
    struct pretokenizer *last = t->n_pretokenizers ? &t->pretokenizers[t->n_pretokenizers - 1] : NULL;
    if (last && last->kind == PRE_BYTE_LEVEL && t->model.kind == MODEL_BPE)
        last->raw = bpe_use_bytes(&t->model);
    t->facts.n_special_single = t->post.single.n_special;
    t->facts.n_special_pair = t->post.pair.n_special;
    return added_finish(t, err);
}

static rkf_status load_root(struct tokenizer *t, yyjson_val *root, const struct config *c, rkf_error *err)
{
    rkf_status rc;
    const char *version = "1.0";
    if (!yyjson_is_obj(root))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json is not an object");
    if ((rc = json_get_str(root, "version", &version, "tokenizer.json", err)))
        return rc;
    if (strcmp(version, "1.0") != 0)
        return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: version %.20s is not supported", version);
    if ((rc = parts_load_normalizer(t, yyjson_obj_get(root, "normalizer"), err)) ||
        (rc = parts_load_pretokenizer(t, yyjson_obj_get(root, "pre_tokenizer"), err)) ||
        (rc = parts_load_post(t, yyjson_obj_get(root, "post_processor"), err)) ||
        (rc = parts_load_decoder(t, yyjson_obj_get(root, "decoder"), err)) ||
        (rc = model_load(t, yyjson_obj_get(root, "model"), err)) ||
        (rc = added_list(&t->added, yyjson_obj_get(root, "added_tokens"), err)) ||
        (rc = config_load_added(t, c, err)) || (rc = tokenizer_finish(t, err)))
        return rc;
    return config_load_facts(t, c, err);
}

rkf_status tokenizer_from_json(yyjson_val *root, const struct config *c, struct tokenizer **out, rkf_error *err)
{
    struct tokenizer *t = NULL;
    rkf_status rc = tokenizer_new(&t, err);
    if (!rc)
        rc = load_root(t, root, c, err);
    if (rc)
        tokenizer_free(t);
    else
        *out = t;
    return rc;
}

rkf_status tokenizer_parse(const char *json, size_t len, const char *config, size_t config_len, struct tokenizer **out,
                           rkf_error *err)
{
    yyjson_doc *doc = NULL, *config_doc = NULL;
    rkf_status rc = json_parse(json, len, "tokenizer.json", &doc, err);
    if (!rc && config)
        rc = json_parse(config, config_len, "tokenizer_config.json", &config_doc, err);
    if (!rc) {
        struct config c = { .main = yyjson_doc_get_root(config_doc) };
        rc = tokenizer_from_json(yyjson_doc_get_root(doc), &c, out, err);
    }
    yyjson_doc_free(doc);
    yyjson_doc_free(config_doc);
    return rc;
}

/* ---- questions */

uint32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->added.n_ids > t->model.vocab.n_ids ? t->added.n_ids : t->model.vocab.n_ids;
}

const char *tokenizer_token(const struct tokenizer *t, int32_t id)
{
    size_t len;
    const struct added_token *a = added_by_id(&t->added, id);
    return a ? a->content : vocab_token(&t->model.vocab, id, &len);
}

int32_t tokenizer_token_id(const struct tokenizer *t, const char *token, size_t len)
{
    int32_t id = vocab_find(&t->added.contents, token, len);
    return id >= 0 ? id : vocab_find(&t->model.vocab, token, len);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    const struct added_token *a = added_by_id(&t->added, id);
    return a && a->special;
}

bool tokenizer_is_wordpiece(const struct tokenizer *t, char prefix[16])
{
    if (t->model.kind != MODEL_WORDPIECE)
        return false;
    snprintf(prefix, 16, "%s", t->model.wordpiece.prefix);
    return true;
}

int32_t tokenizer_special_id(const struct tokenizer *t, enum special_token which)
{
    return t->special[which];
}

struct tokenizer_facts tokenizer_facts(const struct tokenizer *t)
{
    return t->facts;
}
