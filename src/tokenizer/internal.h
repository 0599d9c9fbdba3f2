/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: the parts of a tokenizer, and the working memory of one encode call.
 *
 * The way of a text: added tokens are cut out of the raw text (added.c); what is between them is normalised
 * (normalize*.c), cut at normalised added tokens, split into pieces (pretokenize.c) and turned into tokens by the model
 * (wordpiece.c, bpe.c, unigram.c); then the two texts are truncated, joined and framed (post.c).
 */
#ifndef RKF_TOKENIZER_INTERNAL_H
#define RKF_TOKENIZER_INTERNAL_H

#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

enum { MAX_PARTS = 64 };                   /* components in a Sequence, all levels together */
enum { MAX_TEXT = 256 << 20 };             /* bytes of one text */
static const uint32_t AT_EMPTY = 1u << 31; /* in text.at: the byte came from nothing, just before that code point */

/* ---- working text: bytes and where they came from */

struct text {
    char *p;
    uint32_t *at; /* [n] the code point of the caller's text that a byte came from; not kept if !track */
    size_t n, cap;
    bool track, failed; /* failed: out of memory, or beyond 2^31 bytes; further additions are dropped */
};
bool text_room(struct text *t, size_t more);                                       /* false: failed */
void text_add(struct text *t, const char *s, size_t n, uint32_t at);               /* all bytes from code point `at` */
void text_copy(struct text *t, const struct text *from, size_t begin, size_t end); /* with their origins */
static inline void text_put(struct text *t, uint32_t cp, uint32_t at)
{
    if (t->cap - t->n < 4 && !text_room(t, 4))
        return;
    char *p = t->p + t->n;
    uint32_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    if (n == 1) {
        p[0] = (char)cp;
    } else if (n == 2) {
        p[0] = (char)(0xc0 | cp >> 6);
        p[1] = (char)(0x80 | (cp & 63));
    } else if (n == 3) {
        p[0] = (char)(0xe0 | cp >> 12);
        p[1] = (char)(0x80 | (cp >> 6 & 63));
        p[2] = (char)(0x80 | (cp & 63));
    } else {
        p[0] = (char)(0xf0 | cp >> 18);
        p[1] = (char)(0x80 | (cp >> 12 & 63));
        p[2] = (char)(0x80 | (cp >> 6 & 63));
        p[3] = (char)(0x80 | (cp & 63));
    }
    if (t->track)
        for (uint32_t i = 0; i < n; i++)
            t->at[t->n + i] = at;
    t->n += n;
}

/* Writes out character by character while it follows the changes through in. A change says how many characters of in a
 * new one uses up: 0: one, whose origin it takes; -k: k more, which are gone; 1: none, and its origin is that of the
 * character before. */
struct writer {
    const struct text *in;
    struct text *out;
    size_t at; /* bytes of in used up; not followed if !track */
};
void writer_put(struct writer *w, uint32_t cp, int32_t change);

struct piece {
    uint32_t begin, end; /* bytes of the working text */
};
struct pieces {
    struct piece *p;
    size_t n, cap;
    bool failed;
};
bool pieces_grow(struct pieces *list);
static inline void pieces_add(struct pieces *list, size_t begin, size_t end)
{
    if (list->n == list->cap && !pieces_grow(list))
        return;
    list->p[list->n++] = (struct piece){ (uint32_t)begin, (uint32_t)end };
}

/* A token before the post-processor. Without offsets only the id is set. */
struct token {
    int32_t id;
    uint32_t begin, end; /* code points of the caller's text */
    uint32_t word;
    uint32_t lead, trail; /* white space that trim_offsets takes off */
};
struct tokens {
    struct token *p;
    size_t n, cap;
    bool failed;
};
bool tokens_grow(struct tokens *list, size_t more);

/* ---- words seen before: piece of text -> tokens. Direct mapped, bounded, belongs to one tokenizer at a time. */

enum { CACHE_SLOTS = 8192, CACHE_KEY = 30, CACHE_TOKENS = 6 };
struct cached {
    uint32_t hash;
    uint8_t len, n; /* len 0: free */
    char key[CACHE_KEY];
    int32_t ids[CACHE_TOKENS];
    uint8_t ends[CACHE_TOKENS]; /* where each token ends in the piece */
};

/* Tokens of one piece as the model gives them: ids, and where each begins and ends in the piece. */
struct model_token {
    int32_t id;
    uint32_t begin, end;
};
struct model_tokens {
    struct model_token *p;
    size_t n, cap;
};

struct bpe_symbol;
struct bpe_merge;
struct unigram_node;

struct tokenizer_scratch {
    uint64_t serial; /* of the tokenizer that `cache` is about */
    struct cached *cache;
    struct text text[2]; /* the working text is text[cur], the other is for the next step */
    struct pieces pieces[2];
    unsigned cur, cur_pieces;
    struct tokens tokens;       /* of both texts, one after the other */
    struct model_tokens model;  /* of the current piece */
    struct bpe_symbol *symbols; /* bpe.c */
    struct bpe_merge *heap;     /* bpe.c */
    size_t symbols_cap, heap_cap;
    struct unigram_node *nodes; /* unigram.c */
    size_t nodes_cap;
    uint32_t *marks; /* normalize_form.c: characters waiting to be put in order */
    size_t marks_cap;
};
static inline struct text *scratch_text(struct tokenizer_scratch *s)
{
    return &s->text[s->cur];
}
/* The other text, emptied, to be filled from the current one; scratch_swap makes it the current one. */
struct text *scratch_next(struct tokenizer_scratch *s);
void scratch_swap(struct tokenizer_scratch *s);
static inline struct pieces *scratch_pieces(struct tokenizer_scratch *s)
{
    return &s->pieces[s->cur_pieces];
}
struct pieces *scratch_next_pieces(struct tokenizer_scratch *s);
void scratch_tidy(struct tokenizer_scratch *s); /* gives back what one enormous text made it take */
/* Room for `need` elements of `size` bytes in *p (contents are kept); false: out of memory. */
bool scratch_room(void *p, size_t *cap, size_t need, size_t size);

/* ---- regular expressions (Oniguruma) and the patterns known by heart */

struct regex;
/* what: for messages. A literal matches itself. */
rkf_status regex_compile(const char *pattern, size_t len, bool literal, const char *what, struct regex **out,
                         rkf_error *err) MUST_CHECK;
void regex_free(struct regex *re);
/* All matches in s[0..n), in order; the callback's false ends the search. */
rkf_status regex_each(const struct regex *re, const char *s, size_t n, void (*match)(void *arg, size_t b, size_t e),
                      void *arg, rkf_error *err) MUST_CHECK;

/* ---- normalisers */

enum normalizer_kind {
    NORM_BERT,
    NORM_FORM, /* NFC, NFD, NFKC, NFKD */
    NORM_LOWERCASE,
    NORM_STRIP_ACCENTS,
    NORM_STRIP,
    NORM_REPLACE,
    NORM_PREPEND,
    NORM_PRECOMPILED,
    NORM_NMT,
    NORM_BYTE_LEVEL,
};
struct charsmap;
struct normalizer {
    enum normalizer_kind kind;
    bool clean, cjk, accents, lower; /* BERT; STRIP: clean = left, cjk = right */
    bool compatible, compose;        /* FORM */
    bool spaces;                     /* REPLACE: the pattern is " {2,}" */
    uint8_t ascii[128];              /* BERT: what an ASCII character becomes, 0: nothing */
    char *content;                   /* REPLACE, PREPEND */
    size_t content_len;
    char *literal; /* REPLACE: the string to look for; NULL: regex */
    size_t literal_len;
    struct regex *regex;
    struct charsmap *map; /* PRECOMPILED */
};
/* Runs the normalisers on the current text. */
rkf_status normalize_run(const struct tokenizer *t, struct tokenizer_scratch *s, rkf_error *err) MUST_CHECK;
void normalize_bert_prepare(struct normalizer *n); /* fills ascii */
bool normalize_bert(const struct normalizer *n, const struct text *in,
                    struct text *out); /* false: needs the long way */
rkf_status normalize_form(struct tokenizer_scratch *s, const struct text *in, struct text *out, bool compatible,
                          bool compose, rkf_error *err) MUST_CHECK;
rkf_status charsmap_create(const char *base64, size_t len, struct charsmap **out, rkf_error *err) MUST_CHECK;
void charsmap_free(struct charsmap *m);
void normalize_precompiled(const struct charsmap *m, const struct text *in, struct text *out);

/* ---- pre-tokenisers */

enum split_behavior { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_MERGED_PREVIOUS, SPLIT_MERGED_NEXT, SPLIT_CONTIGUOUS };
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };
enum pretokenizer_kind {
    PRE_BERT,
    PRE_BYTE_LEVEL,
    PRE_METASPACE,
    PRE_WHITESPACE,
    PRE_WHITESPACE_SPLIT,
    PRE_PUNCTUATION,
    PRE_DIGITS,
    PRE_SPLIT,
    PRE_CHAR_DELIMITER,
    PRE_FIXED_LENGTH,
};
/* Cuts s[0..n) into matches, end to end: each begins where the one before ended. Patterns known by heart. */
typedef size_t scan_fn(const char *s, size_t n, size_t at);
struct pretokenizer {
    enum pretokenizer_kind kind;
    enum split_behavior behavior; /* PUNCTUATION, DIGITS, SPLIT */
    enum prepend_scheme prepend;  /* METASPACE */
    bool add_prefix_space;        /* BYTE_LEVEL */
    bool use_regex;               /* BYTE_LEVEL */
    bool raw;                     /* BYTE_LEVEL: bytes stay bytes, the model's tokens are bytes too */
    bool split;                   /* METASPACE */
    bool invert;                  /* SPLIT */
    char symbol[4];               /* METASPACE, CHAR_DELIMITER */
    uint32_t symbol_len;
    size_t length;       /* FIXED_LENGTH */
    scan_fn *scan;       /* SPLIT, BYTE_LEVEL: instead of the regex */
    struct regex *regex; /* SPLIT */
};
/* Runs the pre-tokenisers on the pieces of the current text. */
rkf_status pretokenize_run(const struct tokenizer *t, struct tokenizer_scratch *s, rkf_error *err) MUST_CHECK;
scan_fn scan_gpt2;
scan_fn *scanner_find(const char *pattern, size_t len); /* NULL: not known by heart */
uint32_t byte_level_char(uint8_t b);                    /* the character that stands for a byte */
int byte_level_byte(uint32_t cp);                       /* the byte that cp stands for, -1: none */

/* ---- models */

enum model_kind { MODEL_WORDPIECE, MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDLEVEL };

struct wordpiece {
    char *prefix;
    size_t prefix_len;
    struct trie_pos inside; /* after the prefix */
    bool has_inside;        /* some token begins with the prefix */
    uint32_t max_chars;
};
struct bpe;
struct unigram;
struct model {
    enum model_kind kind;
    struct vocab vocab;
    struct trie trie; /* WORDPIECE, UNIGRAM */
    uint32_t size;    /* as `tokenizers` counts it */
    int32_t unk;      /* -1: none */
    char *unk_token;
    struct wordpiece wordpiece;
    struct bpe *bpe;
    struct unigram *unigram;
};
/* Each appends the tokens of the piece p[0..n) to s->model (emptied by the caller). */
rkf_status wordpiece_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n,
                              rkf_error *err) MUST_CHECK;
rkf_status bpe_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n,
                        rkf_error *err) MUST_CHECK;
rkf_status unigram_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n,
                            rkf_error *err) MUST_CHECK;
bool model_add(struct tokenizer_scratch *s, int32_t id, size_t begin, size_t end); /* false: out of memory */
rkf_status model_unknown(const struct model *m, struct tokenizer_scratch *s, size_t n, rkf_error *err) MUST_CHECK;
bool bpe_use_bytes(struct model *m); /* prepares for raw byte pieces; false: this model cannot */
void bpe_free(struct bpe *b);
void unigram_free(struct unigram *u);

/* ---- added tokens */

struct added_token {
    char *content; /* NUL-terminated */
    size_t len;
    char *pattern; /* what is looked for: the content, or its normalised form */
    size_t pattern_len;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool replaced; /* a later token took its id: it is no longer looked for, nor in the answers */
};
struct added {
    struct added_token *tokens;
    uint32_t n;
    size_t cap;
    uint32_t *by_id; /* [n_ids] index + 1 of the token with id first_id + i */
    uint32_t n_ids;
    struct vocab contents; /* content -> id */
    struct added_set {     /* what to look for: 0 in the raw text, 1 in the normalised one */
        struct vocab patterns;
        struct trie trie; /* pattern -> index of the token */
        uint32_t n;
        bool first[256]; /* bytes that a pattern begins with */
    } sets[2];
};
/* A match of an added token (index >= 0) or the text before it (-1): s[begin..end). */
struct added_match {
    size_t begin, end;
    int32_t index;
};
struct added_cursor {
    size_t at, start; /* search from at; text since start is not yet reported */
    struct added_match held;
    bool has_held;
};
/* Next match or text between matches; false at the end. */
bool added_next(const struct added *a, int set, const char *s, size_t n, struct added_cursor *c,
                struct added_match *out);
/* Loading: add tokens in order (list: tokenizer.json's added_tokens, or NULL), then finish once the model is there. */
rkf_status added_list(struct added *a, yyjson_val *list, rkf_error *err) MUST_CHECK;
/* v: NULL, or an object with the flags. */
rkf_status added_append(struct added *a, const char *content, size_t len, yyjson_val *v, bool special, bool normalized,
                        rkf_error *err) MUST_CHECK;
bool added_has(const struct added *a, const char *content, size_t len);
rkf_status added_finish(struct tokenizer *t, rkf_error *err) MUST_CHECK;
void added_free(struct added *a);
const struct added_token *added_by_id(const struct added *a, int32_t id);

/* ---- post-processor: templates of texts and special tokens */

struct post_piece {
    int8_t sequence; /* 0, 1; -1: special tokens */
    uint8_t type_id;
    uint8_t overflow_type; /* of windows beyond the first */
    uint32_t first, n;     /* special tokens: ids[first .. first + n) */
};
enum { MAX_PIECES = 32 };
struct post_template {
    struct post_piece pieces[MAX_PIECES];
    uint32_t n, n_special;
};
struct post {
    struct post_template single, pair;
    int32_t *ids; /* of special tokens */
    uint32_t n_ids;
    bool none;             /* no post-processor at all */
    bool roberta;          /* windows are of type 0 only where special tokens are added */
    bool trim, trim_space; /* trim_offsets, and its add_prefix_space */
};
rkf_status post_finish(const struct tokenizer *t, struct tokenizer_scratch *s, size_t n_first, bool pair,
                       const struct encode_options *o, struct encoding *out, rkf_error *err) MUST_CHECK;

/* ---- decoders */

enum decoder_kind {
    DECODE_WORDPIECE,
    DECODE_BYTE_LEVEL,
    DECODE_METASPACE,
    DECODE_BPE,
    DECODE_REPLACE,
    DECODE_FUSE,
    DECODE_STRIP,
    DECODE_BYTE_FALLBACK,
};
struct decoder {
    enum decoder_kind kind;
    char *text; /* WORDPIECE: prefix; BPE: suffix; REPLACE: content; METASPACE, STRIP: the character */
    size_t text_len;
    bool cleanup;                /* WORDPIECE */
    enum prepend_scheme prepend; /* METASPACE */
    size_t start, stop;          /* STRIP */
    char *literal;               /* REPLACE */
    size_t literal_len;
    struct regex *regex; /* REPLACE */
};

struct tokenizer {
    uint64_t serial; /* never given twice in a process */
    struct normalizer normalizers[MAX_PARTS];
    struct pretokenizer pretokenizers[MAX_PARTS];
    struct decoder decoders[MAX_PARTS];
    uint32_t n_normalizers, n_pretokenizers, n_decoders;
    bool track; /* origins are needed even where offsets are not asked for */
    struct model model;
    struct added added;
    struct post post;
    int32_t special[TOKEN_COUNT];
    struct tokenizer_facts facts;
};

/* ---- loading */

/* What `tokenizers` calls a component of that name; messages name it. */
rkf_status parts_load_normalizer(struct tokenizer *t, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status parts_load_pretokenizer(struct tokenizer *t, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status parts_load_post(struct tokenizer *t, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status parts_load_decoder(struct tokenizer *t, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status post_load_plain(struct post *post, rkf_error *err) MUST_CHECK;
rkf_status post_load_bert(struct post *post, int32_t cls, int32_t sep, rkf_error *err) MUST_CHECK;
rkf_status post_load_roberta(struct post *post, int32_t cls, int32_t sep, rkf_error *err) MUST_CHECK;
rkf_status model_load(struct tokenizer *t, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status wordpiece_prepare(struct model *m, const char *prefix, size_t prefix_len, int64_t max_chars,
                             rkf_error *err) MUST_CHECK;
rkf_status bpe_load(struct model *m, yyjson_val *v, rkf_error *err) MUST_CHECK;
rkf_status bpe_create(struct model *m, size_t n_merges, rkf_error *err) MUST_CHECK; /* no merges yet */
rkf_status bpe_add_line(struct model *m, uint32_t rank, const char *line, size_t len, struct buf *buf,
                        rkf_error *err) MUST_CHECK; /* "left right" */
rkf_status unigram_load(struct model *m, yyjson_val *v, rkf_error *err) MUST_CHECK;
/* The vocabulary as a JSON object of token -> id. */
rkf_status model_load_vocab(struct model *m, yyjson_val *v, rkf_error *err) MUST_CHECK;
/* After all parts are loaded: how they fit together. */
rkf_status tokenizer_finish(struct tokenizer *t, rkf_error *err) MUST_CHECK;

/* tokenizer_config.json and special_tokens_map.json; either may be NULL. */
struct config {
    yyjson_val *main, *map;
    const char *const
        *defaults; /* [TOKEN_COUNT] of the tokenizer class, for directories without tokenizer.json; or NULL */
};
/* The content of a special token, a string or {"content": ...}, in either file; NULL: none. *object: that object. */
const char *config_special(const struct config *c, enum special_token which, size_t *len, yyjson_val **object);
rkf_status config_load_facts(struct tokenizer *t, const struct config *c, rkf_error *err) MUST_CHECK;
/* Calls for every added token that the files name, in the order in which transformers adds them. */
rkf_status config_load_added(struct tokenizer *t, const struct config *c, rkf_error *err) MUST_CHECK;
/* A copy of a JSON string in *out (mem_free) and its length. */
rkf_status copy_str(yyjson_val *v, const char *what, char **out, size_t *len, rkf_error *err) MUST_CHECK;
rkf_status tokenizer_from_json(yyjson_val *root, const struct config *c, struct tokenizer **out,
                               rkf_error *err) MUST_CHECK;
rkf_status tokenizer_new(struct tokenizer **out, rkf_error *err) MUST_CHECK;

#endif
