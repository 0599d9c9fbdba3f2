/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of fields: how each is read and what its JSON schema is. */
#include "server/fields.h"

#include <math.h>
#include <string.h>

/* $ID, $DIM, $PROMPTS, $MASK and $WHERE stand for what the loaded models and the runtime allow: see struct
 * schema_facts. */
#define ID                           "{\"type\":\"integer\",\"minimum\":0,\"maximum\":$ID}"
#define IDS                          "{\"type\":\"array\",\"minItems\":1,\"items\":" ID "}"
#define STRING                       "{\"type\":\"string\"}"
#define WORDS                        "{\"type\":\"string\",\"minLength\":1}"
#define LIST(item)                   "{\"type\":\"array\",\"minItems\":1,\"items\":" item "}"
#define ANY(alternatives)            "{\"anyOf\":[" alternatives "]}"
#define OBJECT(required, properties) "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"
#define DOCUMENT(text)               ANY(text "," OBJECT("\"text\"", "\"text\":" text))
#define PAIR                         OBJECT("\"text\"", "\"text\":" STRING ",\"text_pair\":" ANY(STRING ",{\"type\":\"null\"}"))
#define QUESTION                     OBJECT("\"question\",\"context\"", "\"question\":" WORDS ",\"context\":" WORDS)
#define CONTENT                                                                                                        \
    OBJECT("\"content\"",                                                                                              \
           "\"content\":" LIST(OBJECT("\"type\",\"text\"", "\"type\":{\"const\":\"text\"},\"text\":" WORDS)))
/* At least one of the two is not empty. */
#define SEQUENCE "{\"type\":\"array\",\"minItems\":1,\"maxItems\":2,\"items\":" STRING ",\"contains\":" WORDS "}"

struct reading {
    const struct field *field;
    struct api_request *r;
    struct api_error *e;
    char *at; /* the field's place in r */
};

static bool wrong(const struct reading *in, const char *expected, yyjson_val *v)
{
    return api_fail(in->e, FAULT_TYPE, in->field->name, "%s: expected %s, got %s", in->field->name, expected,
                    yyjson_get_type_desc(v));
}

static bool no_memory(const struct reading *in)
{
    return api_fail(in->e, FAULT_INTERNAL, "", "out of memory");
}

static rkf_str str_of(yyjson_val *v)
{
    return (rkf_str){ yyjson_get_str(v), yyjson_get_len(v) };
}

/* ---- scalars */

static bool read_bool(const struct reading *in, yyjson_val *v)
{
    if (!yyjson_is_bool(v))
        return wrong(in, "true or false", v);
    *(bool *)in->at = yyjson_get_bool(v);
    return true;
}

static bool read_tristate(const struct reading *in, yyjson_val *v)
{
    if (!yyjson_is_bool(v))
        return wrong(in, "true or false", v);
    *(int32_t *)in->at = yyjson_get_bool(v) ? TRI_YES : TRI_NO;
    return true;
}

static bool whole(const struct reading *in, yyjson_val *v, int64_t lo, int64_t hi, int64_t *out)
{
    double d = yyjson_get_num(v);
    if (!yyjson_is_num(v) || floor(d) != d)
        return wrong(in, "a whole number", v);
    if (d < (double)lo || d > (double)hi)
        return api_fail(in->e, FAULT_TYPE, in->field->name, "%s: %.17g is not in %lld..%lld", in->field->name, d,
                        (long long)lo, (long long)hi);
    *out = (int64_t)d;
    return true;
}

static bool read_int(const struct reading *in, yyjson_val *v)
{
    return whole(in, v, in->field->lo, in->field->hi, (int64_t *)in->at);
}

static bool read_int32(const struct reading *in, yyjson_val *v)
{
    int64_t n = 0;
    if (!whole(in, v, in->field->lo, in->field->hi, &n))
        return false;
    *(int32_t *)in->at = (int32_t)n;
    return true;
}

static bool read_str(const struct reading *in, yyjson_val *v)
{
    if (!yyjson_is_str(v))
        return wrong(in, "a string", v);
    *(rkf_str *)in->at = str_of(v);
    return true;
}

static bool read_template(const struct reading *in, yyjson_val *v)
{
    static const char place[] = "{}";
    if (yyjson_is_str(v) && !memmem(yyjson_get_str(v), yyjson_get_len(v), place, sizeof place - 1))
        return api_fail(in->e, FAULT_VALIDATION, in->field->name, "`%s` must contain {}, where the label goes",
                        in->field->name);
    return read_str(in, v);
}

static int choice_of(const struct field *f, yyjson_val *v)
{
    for (int i = 0; yyjson_is_str(v) && f->choices[i]; i++)
        if (yyjson_equals_str(v, f->choices[i]))
            return i;
    return -1;
}

static bool bad_choice(const struct reading *in, yyjson_val *v)
{
    char got[64], known[256];
    size_t n = 0;
    if (!yyjson_is_str(v))
        return wrong(in, "a string", v);
    known[0] = 0;
    for (int i = 0; in->field->choices[i] && n < sizeof known - 40; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", in->field->choices[i]);
    return api_fail(in->e, FAULT_TYPE, in->field->name, "%s: unknown value '%s', expected one of %s", in->field->name,
                    rkf_quote(got, sizeof got, yyjson_get_str(v), yyjson_get_len(v)), known);
}

static bool read_choice(const struct reading *in, yyjson_val *v)
{
    int i = choice_of(in->field, v);
    if (i < 0)
        return bad_choice(in, v);
    *(int32_t *)in->at = i + (int32_t)in->field->lo;
    return true;
}

static bool read_choices(const struct reading *in, yyjson_val *v)
{
    size_t i, n;
    yyjson_val *x;
    uint32_t bits = 0;
    if (!yyjson_is_arr(v))
        return wrong(in, "a list of strings", v);
    yyjson_arr_foreach(v, i, n, x)
    {
        int c = choice_of(in->field, x);
        if (c < 0)
            return bad_choice(in, x);
        bits |= 1u << c;
    }
    *(uint32_t *)in->at = bits;
    return true;
}

/* ---- lists of strings */

static bool read_strs(const struct reading *in, yyjson_val *v)
{
    size_t i, n;
    yyjson_val *x;
    if (!yyjson_is_arr(v))
        return wrong(in, "a list of strings", v);
    rkf_str *strs = arena_array(&in->r->mem, yyjson_arr_size(v), sizeof *strs);
    if (!strs)
        return no_memory(in);
    yyjson_arr_foreach(v, i, n, x)
    {
        if (!yyjson_is_str(x))
            return wrong(in, "a list of strings", x);
        strs[i] = str_of(x);
    }
    in->r->labels = strs;
    in->r->n_labels = n;
    return true;
}

/* transformers' zero-shot pipeline also takes "a, b, c". */
static bool split_labels(const struct reading *in, rkf_str s)
{
    size_t n = 1, k = 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == ',';
    rkf_str *strs = arena_array(&in->r->mem, n, sizeof *strs);
    if (!strs)
        return no_memory(in);
    for (size_t i = 0; i <= s.len;) {
        const char *comma = i < s.len ? memchr(s.ptr + i, ',', s.len - i) : NULL;
        size_t end = comma ? (size_t)(comma - s.ptr) : s.len, from = i;
        i = end + 1;
        while (from < end && s.ptr[from] == ' ')
            from++;
        while (end > from && s.ptr[end - 1] == ' ')
            end--;
        if (end > from)
            strs[k++] = (rkf_str){ s.ptr + from, end - from };
    }
    in->r->labels = strs;
    in->r->n_labels = k;
    return true;
}

static bool read_words(const struct reading *in, yyjson_val *v)
{
    if (!read_strs(in, v))
        return false;
    for (size_t i = 0; i < in->r->n_labels; i++)
        if (!in->r->labels[i].len)
            return api_fail(in->e, FAULT_VALIDATION, in->field->name, "`%s` holds an empty string", in->field->name);
    return true;
}

static bool read_labels(const struct reading *in, yyjson_val *v)
{
    if (yyjson_is_str(v) ? !split_labels(in, str_of(v)) : !read_strs(in, v))
        return false;
    return in->r->n_labels || api_fail(in->e, FAULT_VALIDATION, in->field->name, "`%s` is empty", in->field->name);
}

static bool read_str_or_strs(const struct reading *in, yyjson_val *v)
{
    if (!yyjson_is_str(v))
        return read_strs(in, v);
    rkf_str *one = arena_alloc(&in->r->mem, sizeof *one);
    if (!one)
        return no_memory(in);
    *one = str_of(v);
    in->r->labels = one;
    in->r->n_labels = 1;
    return true;
}

static bool read_query(const struct reading *in, yyjson_val *v)
{
    return read_str(in, yyjson_is_obj(v) ? yyjson_obj_get(v, "text") : v);
}

/* ---- inputs */

static rkf_input *make_inputs(const struct reading *in, size_t n)
{
    rkf_input *inputs = in->r->inputs ? NULL : arena_array(&in->r->mem, n, sizeof *inputs);
    if (in->r->inputs) {
        api_fail(in->e, FAULT_VALIDATION, in->field->name, "%s: the inputs are already given by another field",
                 in->field->name);
        return NULL;
    }
    if (!inputs) {
        no_memory(in);
        return NULL;
    }
    memset(inputs, 0, n * sizeof *inputs);
    in->r->inputs = inputs;
    in->r->n_inputs = n;
    return inputs;
}

/* One element of a list of inputs; which forms are legal is the kind's. */
typedef bool element_fn(const struct reading *in, yyjson_val *v, rkf_input *out);

static bool read_list(const struct reading *in, yyjson_val *v, element_fn *element)
{
    size_t i, n;
    yyjson_val *x;
    if (yyjson_arr_size(v) > in->r->max_inputs)
        return api_fail(in->e, FAULT_BATCH_SIZE, in->field->name, "batch size %zu > maximum allowed batch size %zu",
                        yyjson_arr_size(v), in->r->max_inputs);
    rkf_input *inputs = make_inputs(in, yyjson_arr_size(v));
    if (!inputs)
        return false;
    yyjson_arr_foreach(v, i, n, x)
    {
        if (!element(in, x, &inputs[i]))
            return false;
    }
    return true;
}

static bool read_single(const struct reading *in, yyjson_val *v, element_fn *element)
{
    rkf_input *inputs = make_inputs(in, 1);
    in->r->single = true;
    return inputs && element(in, v, inputs);
}

static bool text_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    if (!yyjson_is_str(v))
        return wrong(in, "a string or a list of strings", v);
    out->text = str_of(v);
    return true;
}

static bool ids_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    size_t i, n;
    yyjson_val *x;
    if (!yyjson_is_arr(v))
        return wrong(in, "a list of token ids", v);
    int32_t *ids = arena_array(&in->r->mem, yyjson_arr_size(v), sizeof *ids);
    if (!ids)
        return no_memory(in);
    yyjson_arr_foreach(v, i, n, x)
    {
        int64_t id = 0;
        if (!whole(in, x, 0, INT32_MAX, &id))
            return false;
        ids[i] = (int32_t)id;
    }
    out->ids = ids;
    out->n_ids = n;
    return true;
}

static bool text_or_ids_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    if (yyjson_is_arr(v))
        return ids_element(in, v, out);
    if (!yyjson_is_str(v))
        return wrong(in, "a string, a list of strings, a list of token ids, or a list of these lists", v);
    out->text = str_of(v);
    return true;
}

static bool read_inputs(const struct reading *in, yyjson_val *v)
{
    if (yyjson_is_arr(v) && !yyjson_is_num(yyjson_arr_get_first(v)))
        return read_list(in, v, text_or_ids_element);
    return read_single(in, v, text_or_ids_element);
}

static bool read_texts(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, text_element) : read_single(in, v, text_element);
}

static bool read_text_list(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, text_element) : wrong(in, "a list of strings", v);
}

/* Adds a string value as one more line. */
static void add_line(char *text, size_t *n, yyjson_val *v)
{
    if (!yyjson_is_str(v))
        return;
    if (*n)
        text[(*n)++] = '\n';
    memcpy(text + *n, yyjson_get_str(v), yyjson_get_len(v));
    *n += yyjson_get_len(v);
}

/* An object without "text": its strings, a line each; those that rank_fields (Cohere v1) names, in that order. */
static bool object_document(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    const struct api_request *r = in->r;
    size_t len = 1, n = 0, i, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(v, i, count, key, value) len += yyjson_get_len(value) + 1;
    for (i = 0; i < r->n_labels; i++)
        len += yyjson_get_len(yyjson_obj_getn(v, r->labels[i].ptr, r->labels[i].len)) + 1;
    char *text = arena_alloc(&in->r->mem, len);
    if (!text)
        return no_memory(in);
    for (i = 0; i < r->n_labels; i++)
        add_line(text, &n, yyjson_obj_getn(v, r->labels[i].ptr, r->labels[i].len));
    if (!r->n_labels)
        yyjson_obj_foreach(v, i, count, key, value) add_line(text, &n, value);
    out->text = (rkf_str){ text, n };
    return true;
}

static bool document_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    yyjson_val *text = yyjson_is_obj(v) ? yyjson_obj_get(v, "text") : v;
    if (yyjson_is_obj(v) && (in->r->n_labels || !yyjson_is_str(text)))
        return object_document(in, v, out);
    if (!yyjson_is_str(text))
        return wrong(in, "a list of strings or of objects", v);
    out->text = str_of(text);
    return true;
}

static bool read_documents(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, document_element) : wrong(in, "a list of strings or of objects", v);
}

static bool anything_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    if (yyjson_is_obj(v) && yyjson_is_str(yyjson_obj_get(v, "text")))
        return text_element(in, yyjson_obj_get(v, "text"), out);
    return text_or_ids_element(in, v, out);
}

static bool read_inputs_or_documents(const struct reading *in, yyjson_val *v)
{
    if (yyjson_is_arr(v) && !yyjson_is_num(yyjson_arr_get_first(v)))
        return read_list(in, v, anything_element);
    return read_single(in, v, anything_element);
}

/* Several text parts of one input are one text. */
static bool content_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    size_t i, n, len = 0, used = 0;
    yyjson_val *x, *content = yyjson_obj_get(v, "content");
    if (!yyjson_arr_size(content))
        return wrong(in, "a list of {\"content\": [{\"type\": \"text\", \"text\": ...}]}", v);
    yyjson_arr_foreach(content, i, n, x)
    {
        if (!yyjson_equals_str(yyjson_obj_get(x, "type"), "text") || !yyjson_is_str(yyjson_obj_get(x, "text")))
            return api_fail(in->e, FAULT_VALIDATION, in->field->name, "%s: only content of type text is supported",
                            in->field->name);
        len += yyjson_get_len(yyjson_obj_get(x, "text"));
    }
    char *text = arena_alloc(&in->r->mem, len + 1);
    if (!text)
        return no_memory(in);
    yyjson_arr_foreach(content, i, n, x)
    {
        rkf_str s = str_of(yyjson_obj_get(x, "text"));
        memcpy(text + used, s.ptr, s.len);
        used += s.len;
    }
    out->text = (rkf_str){ text, used };
    return true;
}

static bool read_contents(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, content_element)
                            : wrong(in, "a list of {\"content\": [{\"type\": \"text\", \"text\": ...}]}", v);
}

/* [text] or [text, pair] */
static bool sequence_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    static const char expected[] = "a string, a pair of strings [string, string] or a batch of mixed strings and pairs "
                                   "[[string], [string, string], ...]";
    yyjson_val *first = yyjson_is_arr(v) ? yyjson_arr_get_first(v) : v, *second = yyjson_arr_get(v, 1);
    if (!yyjson_is_str(first) || yyjson_arr_size(v) > 2 || (second && !yyjson_is_str(second)))
        return wrong(in, expected, v);
    out->text = str_of(first);
    if (second)
        out->pair = str_of(second);
    return true;
}

static bool sequence_in_batch(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    return yyjson_is_arr(v) ? sequence_element(in, v, out) : wrong(in, "[string] or [string, string]", v);
}

static bool read_sequences(const struct reading *in, yyjson_val *v)
{
    if (yyjson_is_arr(yyjson_arr_get_first(v)))
        return read_list(in, v, sequence_in_batch);
    return read_single(in, v, sequence_element);
}

static bool pairable_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    yyjson_val *text = yyjson_is_obj(v) ? yyjson_obj_get(v, "text") : v;
    yyjson_val *pair = yyjson_is_obj(v) ? yyjson_obj_get(v, "text_pair") : NULL;
    if (!yyjson_is_str(text) || (pair && !yyjson_is_null(pair) && !yyjson_is_str(pair)))
        return wrong(in, "a string, {\"text\", \"text_pair\"}, or a list of these", v);
    out->text = str_of(text);
    if (yyjson_is_str(pair))
        out->pair = str_of(pair);
    return true;
}

static bool read_pairable(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, pairable_element) : read_single(in, v, pairable_element);
}

static bool question_element(const struct reading *in, yyjson_val *v, rkf_input *out)
{
    yyjson_val *question = yyjson_obj_get(v, "question"), *context = yyjson_obj_get(v, "context");
    if (!yyjson_is_str(question) || !yyjson_is_str(context))
        return wrong(in, "{\"question\": string, \"context\": string} or a list of these", v);
    out->text = str_of(question);
    out->pair = str_of(context);
    return true;
}

static bool read_questions(const struct reading *in, yyjson_val *v)
{
    return yyjson_is_arr(v) ? read_list(in, v, question_element) : read_single(in, v, question_element);
}

static bool read_ids(const struct reading *in, yyjson_val *v)
{
    if (!yyjson_is_arr(v))
        return wrong(in, "a list of token ids or a list of these lists", v);
    if (yyjson_is_num(yyjson_arr_get_first(v)))
        return read_single(in, v, ids_element);
    return read_list(in, v, ids_element);
}

static bool read_ignored(const struct reading *in, yyjson_val *v)
{
    (void)in;
    (void)v;
    return true;
}

static bool read_unsupported(const struct reading *in, yyjson_val *v)
{
    if (yyjson_is_false(v) || (yyjson_is_arr(v) && !yyjson_arr_size(v)))
        return true;
    return api_fail(in->e, FAULT_VALIDATION, in->field->name, "%s is not supported by this server", in->field->name);
}

/* ---- the table of kinds */

static const struct kind {
    bool (*read)(const struct reading *in, yyjson_val *v);
    const char *schema; /* NULL: made from the field */
} kinds[FIELD_KIND_COUNT] = {
    [FIELD_BOOL] = { read_bool, "{\"type\":\"boolean\"}" },
    [FIELD_TRISTATE] = { read_tristate, "{\"type\":\"boolean\"}" },
    [FIELD_INT] = { read_int, NULL },
    [FIELD_INT32] = { read_int32, NULL },
    [FIELD_STR] = { read_str, STRING },
    [FIELD_TEMPLATE] = { read_template, "{\"type\":\"string\",\"pattern\":\"\\\\{\\\\}\"}" },
    [FIELD_CHOICE] = { read_choice, NULL },
    [FIELD_CHOICES] = { read_choices, NULL },
    [FIELD_STRS] = { read_strs, "{\"type\":\"array\",\"items\":" STRING "}" },
    [FIELD_WORDS] = { read_words, "{\"type\":\"array\",\"items\":" WORDS "}" },
    [FIELD_LABELS] = { read_labels, ANY("{\"type\":\"string\",\"pattern\":\"[^, ]\"}," LIST(STRING)) },
    [FIELD_STR_OR_STRS] = { read_str_or_strs, ANY(STRING "," LIST(STRING)) },
    [FIELD_QUERY] = { read_query, DOCUMENT(STRING) },
    [FIELD_INPUTS] = { read_inputs, ANY(WORDS "," LIST(ANY(WORDS "," IDS)) "," IDS) },
    [FIELD_INPUTS_OR_DOCUMENTS] = { read_inputs_or_documents,
                                    ANY(DOCUMENT(WORDS) "," LIST(ANY(DOCUMENT(WORDS) "," IDS)) "," IDS) },
    [FIELD_TEXTS] = { read_texts, ANY(STRING "," LIST(STRING)) },
    [FIELD_TEXT_LIST] = { read_text_list, LIST(STRING) },
    [FIELD_DOCUMENTS] = { read_documents, LIST(ANY(STRING ",{\"type\":\"object\"}")) },
    [FIELD_CONTENTS] = { read_contents, LIST(CONTENT) },
    [FIELD_SEQUENCES] = { read_sequences, ANY(WORDS "," SEQUENCE "," LIST(SEQUENCE)) },
    [FIELD_PAIRABLE] = { read_pairable, ANY(STRING "," PAIR "," LIST(ANY(STRING "," PAIR))) },
    [FIELD_QUESTIONS] = { read_questions, ANY(QUESTION "," LIST(QUESTION)) },
    [FIELD_IDS] = { read_ids, ANY(IDS "," LIST(IDS)) },
    [FIELD_OBJECT] = { NULL, NULL },
    [FIELD_IGNORED] = { read_ignored, "{}" },
    [FIELD_UNSUPPORTED] = { read_unsupported, "{\"enum\":[null,false]}" },
};

/* ---- reading */

bool body_parse(const char *p, size_t len, yyjson_doc **out, struct api_error *e)
{
    rkf_error err;
    rkf_status rc = json_parse(p, len, "the request body", out, &err);
    if (rc == RKF_OK)
        return true;
    return api_fail(e, rc == RKF_NO_MEMORY ? FAULT_INTERNAL : FAULT_JSON, "", "%s", err.message);
}

static bool known_field(const struct field *fields, yyjson_val *key)
{
    for (const struct field *f = fields; f->name; f++)
        if (yyjson_equals_str(key, f->name))
            return true;
    return false;
}

static bool refuse_unknown(const struct field *fields, yyjson_val *obj, struct api_error *e)
{
    size_t i, n;
    yyjson_val *key, *v;
    yyjson_obj_foreach(obj, i, n, key, v)
    {
        char name[48];
        if (known_field(fields, key))
            continue;
        rkf_quote(name, sizeof name, yyjson_get_str(key), yyjson_get_len(key));
        return api_fail(e, FAULT_FIELD, name, "unknown field: parameter '%s' is not a valid field", name);
    }
    return true;
}

static bool read_fields(const struct field *fields, bool strict, yyjson_val *obj, struct api_request *r,
                        struct api_error *e)
{
    if (strict && !refuse_unknown(fields, obj, e))
        return false;
    for (const struct field *f = fields; f->name; f++) {
        struct reading in = { f, r, e, (char *)r + f->offset };
        yyjson_val *v = yyjson_obj_get(obj, f->name);
        if (!v || yyjson_is_null(v)) {
            if (f->required)
                return api_fail(e, FAULT_TYPE, f->name, "missing field `%s`", f->name);
            continue;
        }
        if (f->kind == FIELD_OBJECT) {
            if (!yyjson_is_obj(v))
                return wrong(&in, "an object", v);
            if (!read_fields(f->fields, strict, v, r, e))
                return false;
        } else if (!kinds[f->kind].read(&in, v)) {
            return false;
        }
    }
    return true;
}

bool body_read(const struct body *body, yyjson_val *root, struct api_request *r, struct api_error *e)
{
    if (!yyjson_is_obj(root))
        return api_fail(e, FAULT_TYPE, "", "expected a JSON object, got %s", yyjson_get_type_desc(root));
    if (!read_fields(body->fields, body->strict, root, r, e))
        return false;
    r->rq.inputs = r->inputs;
    r->rq.n_inputs = r->n_inputs;
    return !body->finish || body->finish(r, e);
}

/* ---- schema */

/* Text with $ID, $DIM, $PROMPTS, $MASK and $WHERE replaced. */
static void put_schema(struct buf *out, const char *text, const struct schema_facts *facts)
{
    const char *const words[128] = { ['P'] = facts->prompts, ['M'] = facts->mask, ['W'] = facts->devices };
    for (const char *p; (p = strchr(text, '$')); text = p) {
        buf_append(out, text, (size_t)(p - text));
        const char *word = words[p[1] & 127];
        if (word)
            buf_puts(out, word);
        else
            buf_printf(out, "%lld", (long long)(p[1] == 'I' ? facts->max_id : facts->max_dimension));
        for (p++; *p >= 'A' && *p <= 'Z';)
            p++;
    }
    buf_puts(out, text);
}

static void write_choices(struct buf *out, const struct field *f)
{
    buf_puts(out, "{\"type\":\"string\",\"enum\":[");
    for (int i = 0; f->choices[i]; i++) {
        if (i)
            buf_putc(out, ',');
        json_put_str(out, f->choices[i], strlen(f->choices[i]));
    }
    buf_puts(out, "]}");
}

static void write_fields(const struct field *fields, bool strict, const char *extra, const struct schema_facts *facts,
                         struct buf *out);

static void write_field_type(const struct field *f, bool strict, const struct schema_facts *facts, struct buf *out)
{
    if (f->schema) {
        put_schema(out, f->schema, facts);
    } else if (f->kind == FIELD_OBJECT) {
        write_fields(f->fields, strict, NULL, facts, out);
    } else if (f->kind == FIELD_INT || f->kind == FIELD_INT32) {
        buf_printf(out, "{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld}", (long long)f->lo, (long long)f->hi);
    } else if (f->kind == FIELD_CHOICE) {
        write_choices(out, f);
    } else if (f->kind == FIELD_CHOICES) {
        buf_puts(out, "{\"type\":\"array\",\"items\":");
        write_choices(out, f);
        buf_putc(out, '}');
    } else {
        put_schema(out, kinds[f->kind].schema, facts);
    }
}

static void write_property(const struct field *f, bool strict, const struct schema_facts *facts, struct buf *out)
{
    json_put_str(out, f->name, strlen(f->name));
    buf_puts(out, ":{\"anyOf\":[");
    write_field_type(f, strict, facts, out);
    buf_puts(out, f->required ? "]" : ",{\"type\":\"null\"}]");
    if (f->doc) {
        buf_puts(out, ",\"description\":");
        json_put_str(out, f->doc, strlen(f->doc));
    }
    buf_putc(out, '}');
}

static void write_fields(const struct field *fields, bool strict, const char *extra, const struct schema_facts *facts,
                         struct buf *out)
{
    const char *comma = "";
    buf_puts(out, "{\"type\":\"object\",\"properties\":{");
    for (const struct field *f = fields; f->name; f++) {
        buf_puts(out, comma);
        write_property(f, strict, facts, out);
        comma = ",";
    }
    buf_puts(out, "},\"required\":[");
    comma = "";
    for (const struct field *f = fields; f->name; f++) {
        if (!f->required)
            continue;
        buf_puts(out, comma);
        json_put_str(out, f->name, strlen(f->name));
        comma = ",";
    }
    buf_puts(out, strict ? "],\"additionalProperties\":false" : "]");
    if (extra)
        buf_printf(out, ",%s", extra);
    buf_putc(out, '}');
}

void body_write_schema(const struct body *body, const struct schema_facts *facts, struct buf *out)
{
    write_fields(body->fields, body->strict, body->extra, facts, out);
}
