/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text to token ids and back, as Hugging Face's `tokenizers` does it, from tokenizer.json (or vocab.txt, or vocab.json
 * with merges.txt, with tokenizer_config.json, where there is none).
 *
 * A tokenizer is immutable once made and shared by all threads. Working memory is in a tokenizer_scratch, one per
 * thread. The truncation and padding blocks of tokenizer.json are ignored: the caller says what it wants.
 */
#ifndef RKF_TOKENIZER_TOKENIZER_H
#define RKF_TOKENIZER_TOKENIZER_H

#include "base/json.h"
#include "base/mem.h"

struct tokenizer;
struct tokenizer_scratch;

/* Reads dir. Errors: RKF_NOT_FOUND (no tokenizer files: names them), RKF_FORMAT, RKF_UNSUPPORTED (names the component).
 */
rkf_status tokenizer_open(const char *dir, struct tokenizer **out, rkf_error *err) MUST_CHECK;
/* From the bytes of a tokenizer.json; config may be NULL or the bytes of tokenizer_config.json. */
rkf_status tokenizer_parse(const char *json, size_t len, const char *config, size_t config_len, struct tokenizer **out,
                           rkf_error *err) MUST_CHECK;
void tokenizer_free(struct tokenizer *t); /* NULL is fine */

rkf_status tokenizer_scratch_create(struct tokenizer_scratch **out, rkf_error *err) MUST_CHECK;
void tokenizer_scratch_free(struct tokenizer_scratch *s);

enum truncation_side { TRUNCATE_RIGHT, TRUNCATE_LEFT };
enum truncation_strategy { TRUNCATE_LONGEST_FIRST, TRUNCATE_ONLY_FIRST, TRUNCATE_ONLY_SECOND };

struct encode_options {
    bool add_special_tokens;
    uint32_t max_length; /* tokens, special ones included; 0: no truncation */
    uint32_t stride;     /* overlap of the overflow windows in tokens */
    enum truncation_side side;
    enum truncation_strategy strategy;
    bool overflow; /* make the overflow windows too (QA, NER, chunk) */
    bool offsets;  /* fill offsets, word_ids, sequence_ids, special; without it they may be NULL */
};

/* One sequence (or one window of it). Arrays are [n]; memory belongs to the encoding. */
struct encoding {
    uint32_t n;
    int32_t *ids;
    uint8_t *type_ids;
    int32_t (
        *offsets)[2];  /* begin, end in code points of the text the token came from; [0,0] for added special tokens */
    int32_t *word_ids; /* -1: none */
    int8_t *sequence_ids;      /* 0: text, 1: pair, -1: none */
    uint8_t *special;          /* 1: added by the post-processor */
    uint32_t truncated;        /* tokens cut off (of both texts), before windows bring them back */
    struct encoding *overflow; /* [n_overflow] further windows */
    uint32_t n_overflow;
};

/* text (and pair, NULL: none) is valid UTF-8. out need not be initialised; end with encoding_free. */
rkf_status tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, const char *text, size_t len,
                            const char *pair, size_t pair_len, const struct encode_options *options,
                            struct encoding *out, rkf_error *err) MUST_CHECK;
void encoding_free(struct encoding *e); /* arrays and overflow; not e itself */

/* Appends the text of ids. Unknown ids are skipped as `tokenizers` does. */
rkf_status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special_tokens,
                            struct buf *out, rkf_error *err) MUST_CHECK;

/* Appends pieces (texts of tokens, or of what tokens were joined to) as the decoder puts them together. */
rkf_status tokenizer_decode_pieces(const struct tokenizer *t, const rkf_str *pieces, size_t n, struct buf *out,
                                   rkf_error *err) MUST_CHECK;

/* Vocabulary, added tokens included. */
uint32_t tokenizer_vocab_size(const struct tokenizer *t);                             /* highest id + 1 */
const char *tokenizer_token(const struct tokenizer *t, int32_t id);                   /* NUL-terminated; NULL: none */
int32_t tokenizer_token_id(const struct tokenizer *t, const char *token, size_t len); /* -1: none */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);        /* an added token marked special */
bool tokenizer_is_wordpiece(const struct tokenizer *t, char prefix[16]); /* and its continuing_subword_prefix */

/* tokenizer_config.json and special_tokens_map.json. */
enum special_token { TOKEN_PAD, TOKEN_UNK, TOKEN_CLS, TOKEN_SEP, TOKEN_MASK, TOKEN_BOS, TOKEN_EOS, TOKEN_COUNT };
int32_t tokenizer_special_id(const struct tokenizer *t, enum special_token which); /* -1: none */
struct tokenizer_facts {
    int64_t model_max_length;                  /* 0: not given or not sane (> 1e6) */
    bool token_types;                          /* model_input_names has token_type_ids (true if the key is absent) */
    bool truncate_left;                        /* truncation_side */
    uint32_t n_special_single, n_special_pair; /* tokens that the post-processor adds */
};
struct tokenizer_facts tokenizer_facts(const struct tokenizer *t);

#endif
