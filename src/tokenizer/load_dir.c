/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tokenizer from a model directory: tokenizer.json; else vocab.txt, as transformers' BertTokenizer reads it; else
 * vocab.json with merges.txt, as its RobertaTokenizer does. The configuration files are read beside each.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 512 << 20, MAX_CONFIG = 16 << 20 };

static const char *const bert_tokens[TOKEN_COUNT] = {
    [TOKEN_PAD] = "[PAD]", [TOKEN_UNK] = "[UNK]", [TOKEN_CLS] = "[CLS]", [TOKEN_SEP] = "[SEP]", [TOKEN_MASK] = "[MASK]"
};
static const char *const roberta_tokens[TOKEN_COUNT] = {
    [TOKEN_PAD] = "<pad>",   [TOKEN_UNK] = "<unk>", [TOKEN_CLS] = "<s>", [TOKEN_SEP] = "</s>",
    [TOKEN_MASK] = "<mask>", [TOKEN_BOS] = "<s>",   [TOKEN_EOS] = "</s>"
};

/* Where Rust's trim_end stops. */
static size_t trimmed(const char *s, size_t n)
{
    uint32_t w;
    while (n > 0 && (unicode_flags(utf8_previous(s, n, &w)) & UNI_SPACE))
        n -= w;
    return n;
}

/* Next line of [*at, n) without its newline (LF or CR LF); false at the end. */
static bool next_line(const char *text, size_t n, size_t *at, const char **line, size_t *len)
{
    if (*at >= n)
        return false;
    const char *begin = text + *at, *end = memchr(begin, '\n', n - *at);
    *line = begin;
    *len = end ? (size_t)(end - begin) : n - *at;
    *at += *len + 1;
    if (end && *len && begin[*len - 1] == '\r')
        --*len;
    return true;
}

static rkf_status add_lines(struct model *m, const char *text, size_t n, rkf_error *err)
{
    size_t lines = 0, at = 0, len;
    const char *line;
    while (next_line(text, n, &at, &line, &len))
        lines++;
    rkf_status rc = vocab_init(&m->vocab, lines, n, err);
    if (rc)
        return rc;
    int32_t id = 0;
    for (at = 0; next_line(text, n, &at, &line, &len); id++)
        vocab_put(&m->vocab, line, trimmed(line, len), id);
    m->size = m->vocab.n;
    return vocab_index_ids(&m->vocab, err);
}

static rkf_status set_unk(struct model *m, const struct config *c, rkf_error *err)
{
    size_t len;
    yyjson_val *object;
    const char *unk = config_special(c, TOKEN_UNK, &len, &object);
    if (!unk)
        return RKF_OK;
    m->unk_token = mem_strndup(unk, len);
    if (!m->unk_token)
        return rkf_fail_memory(err, len, "the unknown token");
    m->unk = vocab_find(&m->vocab, unk, len);
    return RKF_OK;
}

static rkf_status need_token(struct tokenizer *t, const struct config *c, enum special_token which, const char *file,
                             int32_t *id, rkf_error *err)
{
    size_t len;
    yyjson_val *object;
    const char *s = config_special(c, which, &len, &object);
    *id = s ? vocab_find(&t->model.vocab, s, len) : -1;
    if (*id >= 0)
        return RKF_OK;
    return rkf_fail(err, RKF_FORMAT, "%s does not have the special token %s", file, s ? s : "that the model needs");
}

/* BertNormalizer, BertPreTokenizer, WordPiece, [CLS] A [SEP] B [SEP]. */
static rkf_status build_bert(struct tokenizer *t, const char *text, size_t n, const struct config *c, rkf_error *err)
{
    static const char what[] = "tokenizer_config.json";
    struct normalizer *norm = &t->normalizers[t->n_normalizers++];
    int32_t cls, sep;
    rkf_status rc;
    *norm = (struct normalizer){ .kind = NORM_BERT, .clean = true, .cjk = true, .lower = true };
    if ((rc = json_get_bool(c->main, "do_lower_case", &norm->lower, what, err)) ||
        (rc = json_get_bool(c->main, "tokenize_chinese_chars", &norm->cjk, what, err)))
        return rc;
    norm->accents = norm->lower;
    if ((rc = json_get_bool(c->main, "strip_accents", &norm->accents, what, err)))
        return rc;
    normalize_bert_prepare(norm);
    t->pretokenizers[t->n_pretokenizers++] = (struct pretokenizer){ .kind = PRE_BERT };
    t->decoders[t->n_decoders++] = (struct decoder){ .kind = DECODE_WORDPIECE, .text_len = 2, .cleanup = true };
    t->decoders[0].text = mem_strdup("##");
    if (!t->decoders[0].text)
        return rkf_fail_memory(err, 3, "a prefix");
    t->model.kind = MODEL_WORDPIECE;
    if ((rc = add_lines(&t->model, text, n, err)) || (rc = set_unk(&t->model, c, err)) ||
        (rc = wordpiece_prepare(&t->model, "##", 2, 100, err)) ||
        (rc = need_token(t, c, TOKEN_CLS, "vocab.txt", &cls, err)) ||
        (rc = need_token(t, c, TOKEN_SEP, "vocab.txt", &sep, err)))
        return rc;
    return post_load_bert(&t->post, cls, sep, err);
}

/* merges.txt: one merge a line, the first line may be "#version: ..." */
static rkf_status add_merges(struct model *m, const char *text, size_t n, rkf_error *err)
{
    size_t lines = 1, at = 0, len;
    uint32_t rank = 0;
    const char *line;
    struct buf buf;
    while (next_line(text, n, &at, &line, &len))
        lines++;
    rkf_status rc = bpe_create(m, lines, err);
    buf_init(&buf, INT32_MAX);
    for (at = 0; !rc && next_line(text, n, &at, &line, &len);)
        if (len < 8 || memcmp(line, "#version", 8) != 0)
            rc = bpe_add_line(m, rank++, line, len, &buf, err);
    buf_free(&buf);
    return rc ? rkf_fail_within(err, rc, "merges.txt") : RKF_OK;
}

/* Byte-level BPE, <s> A </s></s> B </s>. */
static rkf_status build_roberta(struct tokenizer *t, yyjson_val *vocab, const char *merges, size_t n,
                                const struct config *c, rkf_error *err)
{
    static const char what[] = "tokenizer_config.json";
    int32_t cls, sep;
    rkf_status rc;
    struct pretokenizer *pre = &t->pretokenizers[t->n_pretokenizers++];
    *pre = (struct pretokenizer){ .kind = PRE_BYTE_LEVEL, .use_regex = true, .scan = scan_gpt2 };
    t->decoders[t->n_decoders++] = (struct decoder){ .kind = DECODE_BYTE_LEVEL };
    t->post.trim = true;
    t->model.kind = MODEL_BPE;
    if ((rc = json_get_bool(c->main, "add_prefix_space", &pre->add_prefix_space, what, err)) ||
        (rc = json_get_bool(c->main, "trim_offsets", &t->post.trim, what, err)))
        return rc;
    t->post.trim_space = pre->add_prefix_space;
    if ((rc = model_load_vocab(&t->model, vocab, err)) || (rc = add_merges(&t->model, merges, n, err)) ||
        (rc = need_token(t, c, TOKEN_CLS, "vocab.json", &cls, err)) ||
        (rc = need_token(t, c, TOKEN_SEP, "vocab.json", &sep, err)))
        return rc;
    return post_load_roberta(&t->post, cls, sep, err);
}

static rkf_status read_text(const char *dir, const char *name, char **text, size_t *n, rkf_error *err)
{
    char path[PATH_MAX];
    if (!path_join(path, sizeof path, dir, name))
        return rkf_fail(err, RKF_INVALID, "path too long: %.200s...", dir);
    rkf_status rc = file_read(path, MAX_FILE, text, n, err);
    if (!rc && utf8_valid_prefix(*text, *n) != *n) {
        mem_free(*text);
        *text = NULL;
        rc = rkf_fail(err, RKF_FORMAT, "%s is not UTF-8", path);
    }
    return rc;
}

static rkf_status load_bert(const char *dir, const struct config *c, struct tokenizer *t, rkf_error *err)
{
    char *text = NULL;
    size_t n = 0;
    rkf_status rc = read_text(dir, "vocab.txt", &text, &n, err);
    if (!rc)
        rc = build_bert(t, text, n, c, err);
    mem_free(text);
    return rc;
}

static rkf_status load_roberta(const char *dir, const struct config *c, struct tokenizer *t, rkf_error *err)
{
    char *merges = NULL;
    size_t n = 0;
    yyjson_doc *vocab = NULL;
    rkf_status rc = read_text(dir, "merges.txt", &merges, &n, err);
    if (!rc)
        rc = json_load(dir, "vocab.json", MAX_FILE, &vocab, err);
    if (!rc)
        rc = build_roberta(t, yyjson_doc_get_root(vocab), merges, n, c, err);
    yyjson_doc_free(vocab);
    mem_free(merges);
    return rc;
}

static rkf_status load_vocabulary(const char *dir, struct config *c, bool bert, struct tokenizer **out, rkf_error *err)
{
    struct tokenizer *t = NULL;
    c->defaults = bert ? bert_tokens : roberta_tokens;
    rkf_status rc = tokenizer_new(&t, err);
    if (!rc)
        rc = bert ? load_bert(dir, c, t, err) : load_roberta(dir, c, t, err);
    if (!rc)
        rc = config_load_added(t, c, err);
    if (!rc)
        rc = tokenizer_finish(t, err);
    if (!rc)
        rc = config_load_facts(t, c, err);
    if (rc)
        tokenizer_free(t);
    else
        *out = t;
    return rc;
}

/* A configuration file that need not be there. */
static rkf_status load_optional(const char *dir, const char *name, yyjson_doc **out, rkf_error *err)
{
    rkf_status rc = json_load(dir, name, MAX_CONFIG, out, err);
    return rc == RKF_NOT_FOUND ? RKF_OK : rc;
}

static bool has(const char *dir, const char *name)
{
    char path[PATH_MAX];
    return path_join(path, sizeof path, dir, name) && path_is_file(path);
}

rkf_status tokenizer_open(const char *dir, struct tokenizer **out, rkf_error *err)
{
    yyjson_doc *config = NULL, *map = NULL, *root = NULL;
    rkf_status rc = load_optional(dir, "tokenizer_config.json", &config, err);
    if (!rc)
        rc = load_optional(dir, "special_tokens_map.json", &map, err);
    if (rc)
        goto end;
    struct config c = { .main = yyjson_doc_get_root(config), .map = yyjson_doc_get_root(map) };
    if (has(dir, "tokenizer.json")) {
        rc = json_load(dir, "tokenizer.json", MAX_FILE, &root, err);
        if (!rc)
            rc = tokenizer_from_json(yyjson_doc_get_root(root), &c, out, err);
    } else if (has(dir, "vocab.txt")) {
        rc = load_vocabulary(dir, &c, true, out, err);
    } else if (has(dir, "vocab.json") && has(dir, "merges.txt")) {
        rc = load_vocabulary(dir, &c, false, out, err);
    } else {
        rc = rkf_fail(err, RKF_NOT_FOUND,
                      "%s has no tokenizer: it needs tokenizer.json, or vocab.txt, or vocab.json with merges.txt", dir);
    }
end:
    if (rc && err && rc != RKF_NOT_FOUND && !strstr(err->message, dir))
        rc = rkf_fail_within(err, rc, "%s", dir);
    yyjson_doc_free(root);
    yyjson_doc_free(config);
    yyjson_doc_free(map);
    return rc;
}
