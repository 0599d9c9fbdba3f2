/* SPDX-License-Identifier: Apache-2.0 */
/* Reads normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json. Sequences, however nested, are one
 * flat list. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

rkf_status copy_str(yyjson_val *v, const char *what, char **out, size_t *len, rkf_error *err)
{
    if (!yyjson_is_str(v))
        return rkf_fail(err, RKF_FORMAT, "%s: a string is missing", what);
    char *copy = mem_strndup(yyjson_get_str(v), yyjson_get_len(v));
    if (!copy)
        return rkf_fail_memory(err, yyjson_get_len(v), what);
    *out = copy;
    *len = yyjson_get_len(v);
    return RKF_OK;
}

/* One row per component: the name in the file, and what fills the part. */
struct part_row {
    const char *type;
    int kind;
    rkf_status (*load)(void *part, yyjson_val *v, rkf_error *err);
};

static rkf_status plain(void *part, yyjson_val *v, rkf_error *err)
{
    (void)part;
    (void)v;
    (void)err;
    return RKF_OK;
}

struct list {
    const char *what;     /* "normalizer" */
    const char *children; /* key of a Sequence's list */
    const struct part_row *rows;
    size_t n_rows;
    char *parts; /* [MAX_PARTS] of size bytes, each beginning with its kind */
    size_t size;
    uint32_t *n;
};

static rkf_status load_list(const struct list *l, yyjson_val *v, rkf_error *err)
{
    char quoted[80];
    yyjson_val *type = yyjson_obj_get(v, "type"), *child;
    if (!yyjson_is_str(type))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: a %s has no \"type\"", l->what);
    if (yyjson_equals_str(type, "Sequence")) {
        yyjson_val *list = yyjson_obj_get(v, l->children);
        size_t i, count;
        if (!yyjson_is_arr(list))
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: a Sequence has no \"%s\"", l->children);
        yyjson_arr_foreach(list, i, count, child)
        {
            rkf_status rc = load_list(l, child, err);
            if (rc)
                return rc;
        }
        return RKF_OK;
    }
    for (size_t i = 0; i < l->n_rows; i++) {
        if (!yyjson_equals_str(type, l->rows[i].type))
            continue;
        if (*l->n == MAX_PARTS)
            return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: more than %d %ss", (int)MAX_PARTS, l->what);
        char *part = l->parts + *l->n * l->size;
        memcpy(part, &l->rows[i].kind, sizeof l->rows[i].kind);
        ++*l->n;
        return l->rows[i].load(part, v, err);
    }
    return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: %s '%s' is not supported", l->what,
                    rkf_quote(quoted, sizeof quoted, yyjson_get_str(type), yyjson_get_len(type)));
}

static rkf_status load_any(const struct list *l, yyjson_val *v, rkf_error *err)
{
    return !v || yyjson_is_null(v) ? RKF_OK : load_list(l, v, err);
}

/* {"String": "..."} or {"Regex": "..."}; old files have the string itself. */
static rkf_status load_pattern(yyjson_val *v, const char *what, char **literal, size_t *len, struct regex **regex,
                               rkf_error *err)
{
    yyjson_val *re = yyjson_obj_get(v, "Regex"), *s = yyjson_is_str(v) ? v : yyjson_obj_get(v, "String");
    if (re && yyjson_is_str(re))
        return regex_compile(yyjson_get_str(re), yyjson_get_len(re), false, what, regex, err);
    if (!yyjson_is_str(s))
        return rkf_fail(err, RKF_FORMAT, "%s: the pattern is neither a String nor a Regex", what);
    if (!yyjson_get_len(s)) /* matches everywhere, like an empty regular expression */
        return regex_compile("", 0, true, what, regex, err);
    return copy_str(s, what, literal, len, err);
}

/* ---- normalisers */

static rkf_status norm_bert(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: BertNormalizer";
    struct normalizer *n = part;
    rkf_status rc;
    n->clean = n->cjk = n->lower = true;
    if ((rc = json_get_bool(v, "clean_text", &n->clean, what, err)) ||
        (rc = json_get_bool(v, "handle_chinese_chars", &n->cjk, what, err)) ||
        (rc = json_get_bool(v, "lowercase", &n->lower, what, err)))
        return rc;
    n->accents = n->lower;
    if ((rc = json_get_bool(v, "strip_accents", &n->accents, what, err)))
        return rc;
    normalize_bert_prepare(n);
    return RKF_OK;
}

void normalize_bert_prepare(struct normalizer *n)
{
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t flags = unicode_flags(c), to = c;
        if (n->clean && (flags & UNI_CONTROL))
            to = 0;
        else if (n->clean && (flags & UNI_SPACE))
            to = ' ';
        n->ascii[c] = (uint8_t)(n->lower ? unicode_lower(to) : to);
    }
}

static rkf_status norm_form(void *part, yyjson_val *v, rkf_error *err)
{
    struct normalizer *n = part;
    (void)err;
    const char *type = yyjson_get_str(yyjson_obj_get(v, "type")); /* NF[K]C, NF[K]D */
    n->compatible = type[2] == 'K';
    n->compose = type[strlen(type) - 1] == 'C';
    return RKF_OK;
}

static rkf_status norm_strip(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: Strip";
    struct normalizer *n = part;
    rkf_status rc;
    n->clean = n->cjk = true;
    if ((rc = json_get_bool(v, "strip_left", &n->clean, what, err)))
        return rc;
    return json_get_bool(v, "strip_right", &n->cjk, what, err);
}

static rkf_status norm_replace(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: Replace";
    struct normalizer *n = part;
    yyjson_val *pattern = yyjson_obj_get(v, "pattern");
    rkf_status rc = copy_str(yyjson_obj_get(v, "content"), what, &n->content, &n->content_len, err);
    if (rc)
        return rc;
    n->spaces = yyjson_equals_str(yyjson_obj_get(pattern, "Regex"), " {2,}");
    return n->spaces ? RKF_OK : load_pattern(pattern, what, &n->literal, &n->literal_len, &n->regex, err);
}

static rkf_status norm_prepend(void *part, yyjson_val *v, rkf_error *err)
{
    struct normalizer *n = part;
    return copy_str(yyjson_obj_get(v, "prepend"), "tokenizer.json: Prepend", &n->content, &n->content_len, err);
}

static rkf_status norm_precompiled(void *part, yyjson_val *v, rkf_error *err)
{
    struct normalizer *n = part;
    yyjson_val *map = yyjson_obj_get(v, "precompiled_charsmap");
    if (!yyjson_is_str(map))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: Precompiled has no precompiled_charsmap");
    return charsmap_create(yyjson_get_str(map), yyjson_get_len(map), &n->map, err);
}

static const struct part_row normalizer_rows[] = {
    { "BertNormalizer", NORM_BERT, norm_bert },
    { "Bert", NORM_BERT, norm_bert },
    { "NFC", NORM_FORM, norm_form },
    { "NFD", NORM_FORM, norm_form },
    { "NFKC", NORM_FORM, norm_form },
    { "NFKD", NORM_FORM, norm_form },
    { "Lowercase", NORM_LOWERCASE, plain },
    { "StripAccents", NORM_STRIP_ACCENTS, plain },
    { "Strip", NORM_STRIP, norm_strip },
    { "Replace", NORM_REPLACE, norm_replace },
    { "Prepend", NORM_PREPEND, norm_prepend },
    { "Precompiled", NORM_PRECOMPILED, norm_precompiled },
    { "Nmt", NORM_NMT, plain },
    { "ByteLevel", NORM_BYTE_LEVEL, plain },
};

rkf_status parts_load_normalizer(struct tokenizer *t, yyjson_val *v, rkf_error *err)
{
    const struct list l = { .what = "normalizer",
                            .children = "normalizers",
                            .rows = normalizer_rows,
                            .n_rows = sizeof normalizer_rows / sizeof *normalizer_rows,
                            .parts = (char *)t->normalizers,
                            .size = sizeof *t->normalizers,
                            .n = &t->n_normalizers };
    return load_any(&l, v, err);
}

/* ---- pre-tokenisers */

static rkf_status load_behavior(yyjson_val *v, const char *what, enum split_behavior *out, rkf_error *err)
{
    static const char *const names[] = { [SPLIT_REMOVED] = "Removed",
                                         [SPLIT_ISOLATED] = "Isolated",
                                         [SPLIT_MERGED_PREVIOUS] = "MergedWithPrevious",
                                         [SPLIT_MERGED_NEXT] = "MergedWithNext",
                                         [SPLIT_CONTIGUOUS] = "Contiguous" };
    const char *name = NULL;
    char quoted[60];
    rkf_status rc = json_get_str(v, "behavior", &name, what, err);
    if (rc || !name)
        return rc;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) {
            *out = (enum split_behavior)i;
            return RKF_OK;
        }
    return rkf_fail(err, RKF_UNSUPPORTED, "%s: behavior '%s' is not supported", what,
                    rkf_quote(quoted, sizeof quoted, name, strlen(name)));
}

static rkf_status load_symbol(yyjson_val *v, const char *what, char symbol[4], uint32_t *len, rkf_error *err)
{
    size_t n = yyjson_get_len(v);
    if (!yyjson_is_str(v) || !n || n != utf8_width(yyjson_get_str(v)[0]))
        return rkf_fail(err, RKF_FORMAT, "%s must be one character", what);
    memcpy(symbol, yyjson_get_str(v), n);
    *len = (uint32_t)n;
    return RKF_OK;
}

static rkf_status load_prepend_scheme(yyjson_val *v, enum prepend_scheme *out, rkf_error *err)
{
    static const char what[] = "tokenizer.json: Metaspace";
    static const char *const names[] = {
        [PREPEND_ALWAYS] = "always", [PREPEND_FIRST] = "first", [PREPEND_NEVER] = "never"
    };
    const char *name = "always";
    bool add = true;
    rkf_status rc = json_get_str(v, "prepend_scheme", &name, what, err);
    if (rc || (rc = json_get_bool(v, "add_prefix_space", &add, what, err)))
        return rc;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        if (!add && i != PREPEND_NEVER && json_has(v, "prepend_scheme"))
            return rkf_fail(err, RKF_FORMAT, "%s: add_prefix_space does not match prepend_scheme", what);
        *out = add ? (enum prepend_scheme)i : PREPEND_NEVER;
        return RKF_OK;
    }
    return rkf_fail(err, RKF_FORMAT, "%s: prepend_scheme must be always, first or never", what);
}

static rkf_status pre_byte_level(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: ByteLevel";
    struct pretokenizer *p = part;
    rkf_status rc;
    p->add_prefix_space = p->use_regex = true;
    p->scan = scan_gpt2;
    if ((rc = json_get_bool(v, "add_prefix_space", &p->add_prefix_space, what, err)))
        return rc;
    return json_get_bool(v, "use_regex", &p->use_regex, what, err);
}

static rkf_status pre_metaspace(void *part, yyjson_val *v, rkf_error *err)
{
    struct pretokenizer *p = part;
    rkf_status rc = load_symbol(yyjson_obj_get(v, "replacement"), "tokenizer.json: Metaspace: replacement", p->symbol,
                                &p->symbol_len, err);
    if (rc || (rc = load_prepend_scheme(v, &p->prepend, err)))
        return rc;
    p->split = true;
    return json_get_bool(v, "split", &p->split, "tokenizer.json: Metaspace", err);
}

static rkf_status pre_punctuation(void *part, yyjson_val *v, rkf_error *err)
{
    struct pretokenizer *p = part;
    p->behavior = SPLIT_ISOLATED;
    return load_behavior(v, "tokenizer.json: Punctuation", &p->behavior, err);
}

static rkf_status pre_digits(void *part, yyjson_val *v, rkf_error *err)
{
    struct pretokenizer *p = part;
    bool single = false;
    rkf_status rc = json_get_bool(v, "individual_digits", &single, "tokenizer.json: Digits", err);
    p->behavior = single ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return rc;
}

static rkf_status pre_split(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: Split";
    struct pretokenizer *p = part;
    yyjson_val *pattern = yyjson_obj_get(v, "pattern"), *re = yyjson_obj_get(pattern, "Regex");
    rkf_status rc = json_get_bool(v, "invert", &p->invert, what, err);
    if (!json_has(v, "behavior"))
        return rkf_fail(err, RKF_FORMAT, "%s has no \"behavior\"", what);
    if (rc || (rc = load_behavior(v, what, &p->behavior, err)))
        return rc;
    bool keeps_all = p->behavior == SPLIT_ISOLATED || (p->behavior == SPLIT_REMOVED && p->invert);
    if (yyjson_is_str(re) && keeps_all)
        p->scan = scanner_find(yyjson_get_str(re), yyjson_get_len(re));
    if (p->scan)
        return RKF_OK;
    bool literal = !yyjson_is_str(re);
    if (literal)
        re = yyjson_is_str(pattern) ? pattern : yyjson_obj_get(pattern, "String");
    if (!yyjson_is_str(re))
        return rkf_fail(err, RKF_FORMAT, "%s: the pattern is neither a String nor a Regex", what);
    return regex_compile(yyjson_get_str(re), yyjson_get_len(re), literal, what, &p->regex, err);
}

static rkf_status pre_char_delimiter(void *part, yyjson_val *v, rkf_error *err)
{
    struct pretokenizer *p = part;
    return load_symbol(yyjson_obj_get(v, "delimiter"), "tokenizer.json: CharDelimiterSplit: delimiter", p->symbol,
                       &p->symbol_len, err);
}

static rkf_status pre_fixed_length(void *part, yyjson_val *v, rkf_error *err)
{
    struct pretokenizer *p = part;
    int64_t length = 5;
    rkf_status rc = json_get_int(v, "length", 1, INT32_MAX, &length, "tokenizer.json: FixedLength", err);
    p->length = (size_t)length;
    return rc;
}

static const struct part_row pretokenizer_rows[] = {
    { "BertPreTokenizer", PRE_BERT, plain },
    { "ByteLevel", PRE_BYTE_LEVEL, pre_byte_level },
    { "Metaspace", PRE_METASPACE, pre_metaspace },
    { "Whitespace", PRE_WHITESPACE, plain },
    { "WhitespaceSplit", PRE_WHITESPACE_SPLIT, plain },
    { "Punctuation", PRE_PUNCTUATION, pre_punctuation },
    { "Digits", PRE_DIGITS, pre_digits },
    { "Split", PRE_SPLIT, pre_split },
    { "CharDelimiterSplit", PRE_CHAR_DELIMITER, pre_char_delimiter },
    { "Delimiter", PRE_CHAR_DELIMITER, pre_char_delimiter },
    { "FixedLength", PRE_FIXED_LENGTH, pre_fixed_length },
};

rkf_status parts_load_pretokenizer(struct tokenizer *t, yyjson_val *v, rkf_error *err)
{
    const struct list l = { .what = "pre_tokenizer",
                            .children = "pretokenizers",
                            .rows = pretokenizer_rows,
                            .n_rows = sizeof pretokenizer_rows / sizeof *pretokenizer_rows,
                            .parts = (char *)t->pretokenizers,
                            .size = sizeof *t->pretokenizers,
                            .n = &t->n_pretokenizers };
    rkf_status rc = load_any(&l, v, err);
    for (uint32_t i = 0; i < t->n_pretokenizers; i++)
        if (t->pretokenizers[i].kind == PRE_METASPACE && t->pretokenizers[i].prepend == PREPEND_FIRST)
            t->track = true;
    return rc;
}

/* ---- decoders */

static rkf_status dec_wordpiece(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: decoder WordPiece";
    struct decoder *d = part;
    rkf_status rc = copy_str(yyjson_obj_get(v, "prefix"), what, &d->text, &d->text_len, err);
    d->cleanup = true;
    return rc ? rc : json_get_bool(v, "cleanup", &d->cleanup, what, err);
}

static rkf_status dec_metaspace(void *part, yyjson_val *v, rkf_error *err)
{
    struct decoder *d = part;
    rkf_status rc = copy_str(yyjson_obj_get(v, "replacement"), "tokenizer.json: decoder Metaspace", &d->text,
                             &d->text_len, err);
    return rc ? rc : load_prepend_scheme(v, &d->prepend, err);
}

static rkf_status dec_bpe(void *part, yyjson_val *v, rkf_error *err)
{
    struct decoder *d = part;
    return copy_str(yyjson_obj_get(v, "suffix"), "tokenizer.json: BPEDecoder", &d->text, &d->text_len, err);
}

static rkf_status dec_replace(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: decoder Replace";
    struct decoder *d = part;
    rkf_status rc = copy_str(yyjson_obj_get(v, "content"), what, &d->text, &d->text_len, err);
    return rc ? rc : load_pattern(yyjson_obj_get(v, "pattern"), what, &d->literal, &d->literal_len, &d->regex, err);
}

static rkf_status dec_strip(void *part, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: decoder Strip";
    struct decoder *d = part;
    int64_t start = 0, stop = 0;
    rkf_status rc = copy_str(yyjson_obj_get(v, "content"), what, &d->text, &d->text_len, err);
    if (rc || (rc = json_get_int(v, "start", 0, INT32_MAX, &start, what, err)))
        return rc;
    d->start = (size_t)start;
    rc = json_get_int(v, "stop", 0, INT32_MAX, &stop, what, err);
    d->stop = (size_t)stop;
    return rc;
}

static const struct part_row decoder_rows[] = {
    { "WordPiece", DECODE_WORDPIECE, dec_wordpiece },
    { "ByteLevel", DECODE_BYTE_LEVEL, plain },
    { "Metaspace", DECODE_METASPACE, dec_metaspace },
    { "BPEDecoder", DECODE_BPE, dec_bpe },
    { "Replace", DECODE_REPLACE, dec_replace },
    { "Fuse", DECODE_FUSE, plain },
    { "Strip", DECODE_STRIP, dec_strip },
    { "ByteFallback", DECODE_BYTE_FALLBACK, plain },
};

rkf_status parts_load_decoder(struct tokenizer *t, yyjson_val *v, rkf_error *err)
{
    const struct list l = { .what = "decoder",
                            .children = "decoders",
                            .rows = decoder_rows,
                            .n_rows = sizeof decoder_rows / sizeof *decoder_rows,
                            .parts = (char *)t->decoders,
                            .size = sizeof *t->decoders,
                            .n = &t->n_decoders };
    return load_any(&l, v, err);
}
