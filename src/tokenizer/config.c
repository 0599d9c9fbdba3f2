/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_config.json and special_tokens_map.json: special tokens, limits, and the added tokens that transformers
 * adds to those of tokenizer.json. */
#include "tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const keys[TOKEN_COUNT] = {
    [TOKEN_PAD] = "pad_token",   [TOKEN_UNK] = "unk_token", [TOKEN_CLS] = "cls_token", [TOKEN_SEP] = "sep_token",
    [TOKEN_MASK] = "mask_token", [TOKEN_BOS] = "bos_token", [TOKEN_EOS] = "eos_token",
};

static yyjson_val *content_of(yyjson_val *file, const char *key, yyjson_val **object)
{
    yyjson_val *v = yyjson_obj_get(file, key), *content = yyjson_obj_get(v, "content");
    if (yyjson_is_str(content)) {
        *object = v;
        return content;
    }
    *object = NULL;
    return yyjson_is_str(v) ? v : NULL;
}

/* As in transformers: special_tokens_map.json counts first, and not at all beside an added_tokens_decoder. */
const char *config_special(const struct config *c, enum special_token which, size_t *len, yyjson_val **object)
{
    yyjson_val *map = json_has(c->main, "added_tokens_decoder") ? NULL : c->map;
    yyjson_val *file = yyjson_obj_get(map, keys[which]) ? map : c->main;
    yyjson_val *v = content_of(file, keys[which], object);
    if (!v && c->defaults && c->defaults[which] && !yyjson_obj_get(file, keys[which])) {
        *len = strlen(c->defaults[which]);
        return c->defaults[which];
    }
    *len = yyjson_get_len(v);
    return yyjson_get_str(v);
}

/* Without a word about it in the files: the names that everybody uses, if the tokenizer has them as added tokens. */
static int32_t guess(const struct tokenizer *t, enum special_token which)
{
    static const char *const names[TOKEN_COUNT][2] = {
        [TOKEN_PAD] = { "[PAD]", "<pad>" }, [TOKEN_UNK] = { "[UNK]", "<unk>" },    [TOKEN_CLS] = { "[CLS]", "<s>" },
        [TOKEN_SEP] = { "[SEP]", "</s>" },  [TOKEN_MASK] = { "[MASK]", "<mask>" }, [TOKEN_BOS] = { "<s>", "[CLS]" },
        [TOKEN_EOS] = { "</s>", "[SEP]" },
    };
    for (int i = 0; i < 2; i++) {
        int32_t id = vocab_find(&t->added.contents, names[which][i], strlen(names[which][i]));
        if (id >= 0)
            return id;
    }
    return -1;
}

static rkf_status load_names(struct tokenizer *t, yyjson_val *names, rkf_error *err)
{
    size_t i, n;
    yyjson_val *v;
    if (!names || yyjson_is_null(names))
        return RKF_OK;
    if (!yyjson_is_arr(names))
        return rkf_fail(err, RKF_FORMAT, "tokenizer_config.json: \"model_input_names\" must be an array");
    t->facts.token_types = false;
    yyjson_arr_foreach(names, i, n, v) if (yyjson_equals_str(v, "token_type_ids")) t->facts.token_types = true;
    return RKF_OK;
}

rkf_status config_load_facts(struct tokenizer *t, const struct config *c, rkf_error *err)
{
    static const char what[] = "tokenizer_config.json";
    const char *side = "right";
    double max_length = 0; /* "none" is written as 1e30 */
    rkf_status rc;
    size_t len;
    yyjson_val *object;
    if (c->main && !yyjson_is_obj(c->main))
        return rkf_fail(err, RKF_FORMAT, "%s is not an object", what);
    if ((rc = json_get_num(c->main, "model_max_length", &max_length, what, err)) ||
        (rc = json_get_str(c->main, "truncation_side", &side, what, err)) ||
        (rc = load_names(t, yyjson_obj_get(c->main, "model_input_names"), err)))
        return rc;
    if (max_length >= 1 && max_length <= 1e6)
        t->facts.model_max_length = (int64_t)max_length;
    if (strcmp(side, "left") != 0 && strcmp(side, "right") != 0)
        return rkf_fail(err, RKF_FORMAT, "%s: \"truncation_side\" must be left or right", what);
    t->facts.truncate_left = side[0] == 'l';
    for (int i = 0; i < TOKEN_COUNT; i++) {
        const char *s = config_special(c, (enum special_token)i, &len, &object);
        t->special[i] = s ? tokenizer_token_id(t, s, len) : guess(t, (enum special_token)i);
    }
    return RKF_OK;
}

struct extra {
    long id;
    yyjson_val *v;
};

static int by_id(const void *a, const void *b)
{
    long x = ((const struct extra *)a)->id, y = ((const struct extra *)b)->id;
    return (x > y) - (x < y);
}

/* {"0": {"content": "[PAD]", ...}, ...}, by rising id. */
static rkf_status load_decoder(struct tokenizer *t, yyjson_val *decoder, rkf_error *err)
{
    enum { MAX_EXTRA = 4096 };
    size_t i, n, count = 0;
    yyjson_val *key, *v;
    rkf_status rc = RKF_OK;
    if (!yyjson_is_obj(decoder))
        return RKF_OK;
    if (yyjson_obj_size(decoder) > MAX_EXTRA)
        return rkf_fail(err, RKF_FORMAT, "tokenizer_config.json: added_tokens_decoder has more than %d tokens",
                        (int)MAX_EXTRA);
    struct extra list[MAX_EXTRA];
    yyjson_obj_foreach(decoder, i, n, key, v)
        list[count++] = (struct extra){ strtol(yyjson_get_str(key), NULL, 10), v };
    qsort(list, count, sizeof *list, by_id);
    for (i = 0; i < count && !rc; i++) {
        yyjson_val *content = yyjson_obj_get(list[i].v, "content");
        if (yyjson_is_str(content))
            rc = added_append(&t->added, yyjson_get_str(content), yyjson_get_len(content), list[i].v, false, true, err);
    }
    return rc;
}

rkf_status config_load_added(struct tokenizer *t, const struct config *c, rkf_error *err)
{
    static const enum special_token order[] = { TOKEN_BOS, TOKEN_EOS, TOKEN_UNK, TOKEN_SEP,
                                                TOKEN_PAD, TOKEN_CLS, TOKEN_MASK };
    rkf_status rc = load_decoder(t, yyjson_obj_get(c->main, "added_tokens_decoder"), err);
    for (size_t i = 0; !rc && i < sizeof order / sizeof *order; i++) {
        size_t len;
        yyjson_val *object;
        const char *s = config_special(c, order[i], &len, &object);
        if (s && !added_has(&t->added, s, len))
            rc = added_append(&t->added, s, len, object, true, false, err);
    }
    return rc;
}
