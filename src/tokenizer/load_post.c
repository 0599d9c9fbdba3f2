/* SPDX-License-Identifier: Apache-2.0 */
/* Reads post_processor: every kind becomes two templates, one for a text and one for a pair. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

static rkf_status add_piece(struct post_template *t, struct post_piece p, rkf_error *err)
{
    if (t->n == MAX_PIECES)
        return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: a template has more than %d pieces", (int)MAX_PIECES);
    t->pieces[t->n++] = p;
    if (p.sequence < 0)
        t->n_special += p.n;
    return RKF_OK;
}

/* Adds ids of special tokens to the pool; *first is where they begin. */
static rkf_status add_ids(struct post *post, const int32_t *ids, uint32_t n, uint32_t *first, rkf_error *err)
{
    int32_t *bigger = mem_grow(post->ids, post->n_ids + (size_t)n, sizeof *bigger);
    if (!bigger)
        return rkf_fail_memory(err, n * sizeof *bigger, "special tokens");
    post->ids = bigger;
    if (n)
        memcpy(post->ids + post->n_ids, ids, n * sizeof *ids);
    *first = post->n_ids;
    post->n_ids += n;
    return RKF_OK;
}

static rkf_status add_special(struct post *post, struct post_template *t, int32_t id, uint8_t type, rkf_error *err)
{
    struct post_piece p = { .sequence = -1, .type_id = type, .n = 1 };
    rkf_status rc = add_ids(post, &id, 1, &p.first, err);
    return rc ? rc : add_piece(t, p, err);
}

static rkf_status add_text(struct post_template *t, int8_t which, uint8_t type, uint8_t overflow_type, rkf_error *err)
{
    return add_piece(t, (struct post_piece){ .sequence = which, .type_id = type, .overflow_type = overflow_type }, err);
}

rkf_status post_load_plain(struct post *post, rkf_error *err)
{
    rkf_status rc;
    if ((rc = add_text(&post->single, 0, 0, 0, err)) || (rc = add_text(&post->pair, 0, 0, 0, err)))
        return rc;
    return add_text(&post->pair, 1, 1, 1, err);
}

rkf_status post_load_bert(struct post *post, int32_t cls, int32_t sep, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    struct post_template *both[2] = { &post->single, &post->pair };
    for (int i = 0; i < 2; i++)
        if ((rc = add_special(post, both[i], cls, 0, err)) || (rc = add_text(both[i], 0, 0, 0, err)) ||
            (rc = add_special(post, both[i], sep, 0, err)))
            return rc;
    rc = add_text(&post->pair, 1, 1, 1, err);
    return rc ? rc : add_special(post, &post->pair, sep, 1, err);
}

rkf_status post_load_roberta(struct post *post, int32_t cls, int32_t sep, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    struct post_template *both[2] = { &post->single, &post->pair };
    post->roberta = true;
    for (int i = 0; i < 2; i++)
        if ((rc = add_special(post, both[i], cls, 0, err)) || (rc = add_text(both[i], 0, 0, 0, err)) ||
            (rc = add_special(post, both[i], sep, 0, err)))
            return rc;
    if ((rc = add_special(post, &post->pair, sep, 0, err)) || (rc = add_text(&post->pair, 1, 0, 0, err)))
        return rc;
    return add_special(post, &post->pair, sep, 0, err);
}

static bool read_id(yyjson_val *v, int32_t *id)
{
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > INT32_MAX)
        return false;
    *id = (int32_t)yyjson_get_uint(v);
    return true;
}

/* ["[SEP]", 102] */
static rkf_status load_pair(yyjson_val *v, const char *key, int32_t *id, rkf_error *err)
{
    yyjson_val *list = yyjson_obj_get(v, key);
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) != 2 || !yyjson_is_str(yyjson_arr_get(list, 0)) ||
        !read_id(yyjson_arr_get(list, 1), id))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: post_processor: \"%s\" must be a token and its id", key);
    return RKF_OK;
}

static rkf_status load_trim(struct post *post, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: post_processor";
    bool trim = true, space = true;
    rkf_status rc = json_get_bool(v, "trim_offsets", &trim, what, err);
    if (rc || (rc = json_get_bool(v, "add_prefix_space", &space, what, err)))
        return rc;
    if (trim && post->trim)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s: offsets that are trimmed twice are not supported", what);
    if (trim) {
        post->trim = true;
        post->trim_space = space;
    }
    return RKF_OK;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}: the ids are in special_tokens. */
static rkf_status template_special(struct post *post, struct post_template *t, yyjson_val *v, yyjson_val *tokens,
                                   uint8_t type, rkf_error *err)
{
    yyjson_val *id = yyjson_obj_get(v, "id"), *token = NULL, *x;
    char quoted[80];
    struct post_piece p = { .sequence = -1, .type_id = type };
    size_t i, n;
    if (yyjson_is_str(id))
        token = yyjson_obj_getn(tokens, yyjson_get_str(id), yyjson_get_len(id));
    yyjson_val *ids = yyjson_obj_get(token, "ids");
    if (!yyjson_is_arr(ids))
        return rkf_fail(
            err, RKF_FORMAT, "tokenizer.json: TemplateProcessing uses '%s', which special_tokens does not have",
            yyjson_is_str(id) ? rkf_quote(quoted, sizeof quoted, yyjson_get_str(id), yyjson_get_len(id)) : "?");
    yyjson_arr_foreach(ids, i, n, x)
    {
        int32_t one;
        uint32_t first;
        if (!read_id(x, &one))
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: TemplateProcessing: an id is not a number");
        rkf_status rc = add_ids(post, &one, 1, &first, err);
        if (rc)
            return rc;
        if (i == 0)
            p.first = first;
        p.n++;
    }
    return add_piece(t, p, err);
}

static rkf_status load_template(struct post *post, struct post_template *t, yyjson_val *v, yyjson_val *tokens,
                                bool pair, rkf_error *err)
{
    static const char what[] = "tokenizer.json: TemplateProcessing";
    size_t i, n;
    yyjson_val *x;
    if (!yyjson_is_arr(v))
        return rkf_fail(err, RKF_FORMAT, "%s: \"single\" and \"pair\" must be arrays", what);
    yyjson_arr_foreach(v, i, n, x)
    {
        yyjson_val *special = yyjson_obj_get(x, "SpecialToken"), *text = yyjson_obj_get(x, "Sequence");
        int64_t type = 0;
        rkf_status rc = json_get_int(special ? special : text, "type_id", 0, 255, &type, what, err);
        if (rc)
            return rc;
        if (special) {
            rc = template_special(post, t, special, tokens, (uint8_t)type, err);
        } else {
            yyjson_val *id = yyjson_obj_get(text, "id");
            bool second = yyjson_equals_str(id, "B");
            if (!second && !yyjson_equals_str(id, "A"))
                return rkf_fail(err, RKF_FORMAT, "%s: a piece is neither a SpecialToken nor Sequence A or B", what);
            if (second && !pair)
                return rkf_fail(err, RKF_FORMAT, "%s: the template for one text uses two", what);
            rc = add_text(t, second, (uint8_t)type, second, err);
        }
        if (rc)
            return rc;
    }
    return RKF_OK;
}

static rkf_status load_one(struct post *post, yyjson_val *v, rkf_error *err);

static rkf_status load_sequence(struct post *post, yyjson_val *v, rkf_error *err)
{
    yyjson_val *list = yyjson_obj_get(v, "processors"), *x;
    size_t i, n;
    if (!yyjson_is_arr(list))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: a Sequence has no \"processors\"");
    yyjson_arr_foreach(list, i, n, x)
    {
        if (post->single.n) /* what it would do to already framed texts is accidental */
            return rkf_fail(err, RKF_UNSUPPORTED,
                            "tokenizer.json: a post_processor after one that adds special tokens is not supported");
        rkf_status rc = load_one(post, x, err);
        if (rc)
            return rc;
    }
    return RKF_OK;
}

static rkf_status load_one(struct post *post, yyjson_val *v, rkf_error *err)
{
    yyjson_val *type = yyjson_obj_get(v, "type");
    int32_t cls, sep;
    char quoted[80];
    rkf_status rc;
    if (!yyjson_is_str(type))
        return rkf_fail(err, RKF_FORMAT, "tokenizer.json: the post_processor has no \"type\"");
    if (yyjson_equals_str(type, "Sequence"))
        return load_sequence(post, v, err);
    if (yyjson_equals_str(type, "ByteLevel"))
        return load_trim(post, v, err);
    if (yyjson_equals_str(type, "TemplateProcessing")) {
        yyjson_val *tokens = yyjson_obj_get(v, "special_tokens");
        rc = load_template(post, &post->single, yyjson_obj_get(v, "single"), tokens, false, err);
        return rc ? rc : load_template(post, &post->pair, yyjson_obj_get(v, "pair"), tokens, true, err);
    }
    bool roberta = yyjson_equals_str(type, "RobertaProcessing");
    if (!roberta && !yyjson_equals_str(type, "BertProcessing"))
        return rkf_fail(err, RKF_UNSUPPORTED, "tokenizer.json: post_processor '%s' is not supported",
                        rkf_quote(quoted, sizeof quoted, yyjson_get_str(type), yyjson_get_len(type)));
    if ((rc = load_pair(v, "cls", &cls, err)) || (rc = load_pair(v, "sep", &sep, err)))
        return rc;
    if (!roberta)
        return post_load_bert(post, cls, sep, err);
    rc = load_trim(post, v, err);
    return rc ? rc : post_load_roberta(post, cls, sep, err);
}

rkf_status parts_load_post(struct tokenizer *t, yyjson_val *v, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    t->post.none = !v || yyjson_is_null(v);
    if (!t->post.none)
        rc = load_one(&t->post, v, err);
    if (!rc && !t->post.single.n && !t->post.pair.n)
        rc = post_load_plain(&t->post, err);
    return rc;
}
