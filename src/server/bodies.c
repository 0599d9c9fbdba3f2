/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of TEI, OpenAI, Jina, Cohere, vLLM and Ollama. Ours are in bodies_own.c. */
#include "server/bodies.h"

#include <string.h>

#define AT(member) offsetof(struct api_request, member)
#define END                                                                                                            \
    {                                                                                                                  \
        NULL                                                                                                           \
    }
/* What every body but the strict ones takes. */
#define SCHEDULING                                                                                                     \
    { "priority", FIELD_INT, AT(priority), .lo = -1000, .hi = 1000, .doc = "higher runs first; 0: the model's" },      \
    {                                                                                                                  \
        "timeout_ms", FIELD_INT, AT(timeout_ms),                                                                       \
            .lo = 100, .hi = 86400000, .doc = "give up after so many milliseconds; left out: the server's limit"       \
    }
#define TRUNCATION                                                                                                     \
    { "truncate", FIELD_TRISTATE, AT(truncate),                                                                        \
      .doc = "cut texts that are too long; left out: the server's default" },                                          \
    {                                                                                                                  \
        "truncation_direction", FIELD_CHOICE, AT(direction), .choices = directions                                     \
    }
#define PROMPT                                                                                                         \
    {                                                                                                                  \
        "prompt_name", FIELD_STR, AT(prompt_name), .schema = "{\"enum\":$PROMPTS}",                                    \
                                                   .doc = "a key of the model's prompts"                               \
    }
#define DIMENSIONS(name)                                                                                               \
    {                                                                                                                  \
        name, FIELD_INT, AT(dimensions), .hi = INT32_MAX,                                                              \
                                         .schema = "{\"type\":\"integer\",\"minimum\":1,\"maximum\":$DIM}"             \
    }
#define PRECISION                                                                                                      \
    {                                                                                                                  \
        "precision", FIELD_CHOICE, AT(precision), .choices = precisions                                                \
    }
#define MODEL                                                                                                          \
    {                                                                                                                  \
        "model", FIELD_STR, AT(model), .doc = "a loaded model's name; left out: the first that can do the task"        \
    }

/* Schemas of texts that may not be empty. */
#define WORDS      "{\"type\":\"string\",\"minLength\":1}"
#define WORDS_LIST "{\"type\":\"array\",\"minItems\":1,\"items\":" WORDS "}"
#define ANY_IDS_LIST                                                                                                   \
    "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2147483647}}"
#define ANY_IDS       "{\"anyOf\":[" ANY_IDS_LIST ",{\"type\":\"array\",\"minItems\":1,\"items\":" ANY_IDS_LIST "}]}"
#define WORDS_OR_LIST "{\"anyOf\":[" WORDS "," WORDS_LIST "]}"

static const char *const directions[] = { "Right", "Left", "right", "left", NULL };              /* & 1: enum side */
static const char *const precisions[] = { "float", "int8", "uint8", "binary", "ubinary", NULL }; /* enum embed_type */
const char *const embed_type_names[EMBED_TYPE_COUNT + 1] = { "float", "int8", "uint8", "binary", "ubinary", "base64" };

void api_request_init(struct api_request *r, size_t max_inputs)
{
    *r = (struct api_request){ .rq = RKF_REQUEST_INIT,
                               .max_inputs = max_inputs,
                               .truncate = TRI_UNSET,
                               .cut = CUT_UNSET,
                               .normalize = TRI_UNSET,
                               .return_text = TRI_UNSET,
                               .dimensions = -1,
                               .top_n = -1,
                               .aggregation = 1, /* simple */
                               .add_special_tokens = true,
                               .skip_special_tokens = true };
}

void api_request_free(struct api_request *r)
{
    yyjson_doc_free(r->doc);
    r->doc = NULL;
    arena_free(&r->mem);
}

/* ---- what the words mean */

bool api_request_settle(struct api_request *r, bool auto_truncate, struct api_error *e)
{
    static const rkf_truncate by_cut[] = { RKF_TRUNCATE_NONE, RKF_TRUNCATE_LEFT, RKF_TRUNCATE_RIGHT };
    bool yes = r->truncate == TRI_UNSET ? auto_truncate : r->truncate == TRI_YES;
    if (r->cut != CUT_UNSET)
        r->rq.truncate = by_cut[r->cut];
    else
        r->rq.truncate = !yes                              ? RKF_TRUNCATE_NONE
                         : (r->direction & 1) == SIDE_LEFT ? RKF_TRUNCATE_LEFT
                                                           : RKF_TRUNCATE_RIGHT;
    r->rq.max_length = r->max_length;
    r->rq.prompt_name = r->prompt_name;
    r->rq.priority = (int32_t)r->priority;
    r->rq.timeout_us = r->timeout_ms * 1000;
    if (r->n_inputs > r->max_inputs)
        return api_fail(e, FAULT_BATCH_SIZE, "", "batch size %zu > maximum allowed batch size %zu", r->n_inputs,
                        r->max_inputs);
    return true;
}

static bool empty_input(const rkf_input *in)
{
    return in->ids ? !in->n_ids : !in->text.len && !in->pair.len;
}

/* Refuses an empty list, and with `texts` an empty text in it. */
static bool refuse_empty(const struct api_request *r, const char *name, bool texts, struct api_error *e)
{
    if (!r->n_inputs)
        return api_fail(e, FAULT_EMPTY, name, "`%s` cannot be empty", name);
    for (size_t i = 0; texts && i < r->n_inputs; i++)
        if (empty_input(&r->inputs[i]))
            return api_fail(e, FAULT_EMPTY, name, "Input validation error: `%s` cannot be empty", name);
    return true;
}

static bool finish_dimensions(struct api_request *r, const char *name, struct api_error *e)
{
    if (!r->dimensions)
        return api_fail(e, FAULT_VALIDATION, name, "Input validation error: `%s` should be positive", name);
    r->rq.truncate_dim = r->dimensions < 0 ? 0 : (int32_t)r->dimensions;
    r->rq.normalize = r->normalize == TRI_NO ? RKF_OFF : RKF_ON;
    return true;
}

static bool finish_tei_inputs(struct api_request *r, struct api_error *e)
{
    return refuse_empty(r, "inputs", true, e);
}

static bool finish_tei_embed(struct api_request *r, struct api_error *e)
{
    return refuse_empty(r, "inputs", true, e) && finish_dimensions(r, "dimensions", e);
}

static bool finish_tei_predict(struct api_request *r, struct api_error *e)
{
    r->rq.scores = r->raw_scores ? RKF_SCORES_RAW : RKF_SCORES_DEFAULT;
    return refuse_empty(r, "inputs", true, e);
}

static bool finish_rerank(struct api_request *r, const char *name, struct api_error *e)
{
    r->rq.query = r->query;
    r->rq.scores = r->raw_scores ? RKF_SCORES_RAW : RKF_SCORES_SIGMOID;
    return refuse_empty(r, name, false, e);
}

static bool finish_tei_rerank(struct api_request *r, struct api_error *e)
{
    for (size_t i = 0; !r->query.len && i < r->n_inputs; i++)
        if (!r->inputs[i].text.len)
            return api_fail(e, FAULT_EMPTY, "texts", "Input validation error: `inputs` cannot be empty");
    return finish_rerank(r, "texts", e);
}

/* The source sentence becomes input 0. */
static bool finish_tei_similarity(struct api_request *r, struct api_error *e)
{
    if (!refuse_empty(r, "inputs.sentences", false, e))
        return false;
    rkf_input *all = arena_array(&r->mem, r->n_inputs + 1, sizeof *all);
    if (!all)
        return api_fail(e, FAULT_INTERNAL, "", "out of memory");
    all[0] = (rkf_input){ .text = r->query };
    memcpy(all + 1, r->inputs, r->n_inputs * sizeof *all);
    r->inputs = all;
    r->n_inputs++;
    r->rq.inputs = all;
    r->rq.n_inputs = r->n_inputs;
    r->rq.normalize = RKF_OFF;
    return refuse_empty(r, "inputs", true, e);
}

static bool finish_tei_tokenize(struct api_request *r, struct api_error *e)
{
    return refuse_empty(r, "inputs", true, e);
}

static bool finish_tei_decode(struct api_request *r, struct api_error *e)
{
    if (r->n_inputs == 1 && r->single && !r->inputs[0].n_ids)
        r->n_inputs = 0;
    return refuse_empty(r, "ids", true, e);
}

static bool finish_openai(struct api_request *r, struct api_error *e)
{
    if (r->jina_type == JINA_BASE64)
        r->base64 = 1;
    else if (r->jina_type != JINA_FLOAT)
        r->precision = r->jina_type == JINA_BINARY ? EMBED_BINARY : EMBED_UBINARY;
    return refuse_empty(r, "input", true, e) && finish_dimensions(r, "dimensions", e);
}

/* An empty input asks Ollama whether the model is there. */
static bool finish_ollama(struct api_request *r, struct api_error *e)
{
    if (r->single && !r->inputs[0].text.len)
        r->n_inputs = r->rq.n_inputs = 0;
    return finish_dimensions(r, "dimensions", e);
}

/* The legacy route gives what the model gives: not normalised. */
static bool finish_ollama_legacy(struct api_request *r, struct api_error *e)
{
    if (!r->single)
        return api_fail(e, FAULT_TYPE, "prompt", "prompt: expected a string, got array");
    r->normalize = TRI_NO;
    return finish_ollama(r, e);
}

static bool finish_jina_rerank(struct api_request *r, struct api_error *e)
{
    if (r->return_text == TRI_UNSET)
        r->return_text = TRI_YES;
    return finish_rerank(r, "documents", e);
}

static bool finish_cohere_rerank(struct api_request *r, struct api_error *e)
{
    r->priority = -r->priority; /* Cohere: lower is handled earlier */
    return finish_rerank(r, "documents", e);
}

static bool finish_cohere_embed(struct api_request *r, struct api_error *e)
{
    r->priority = -r->priority;
    return refuse_empty(r, "texts", true, e) && finish_dimensions(r, "output_dimension", e);
}

static bool finish_score(struct api_request *r, struct api_error *e)
{
    if (!r->n_labels)
        return api_fail(e, FAULT_EMPTY, "text_1", "`text_1` cannot be empty");
    if (!refuse_empty(r, "text_2", false, e))
        return false;
    if (r->n_labels != 1 && r->n_labels != r->n_inputs)
        return api_fail(e, FAULT_VALIDATION, "text_1", "Input lengths must be either 1:1, 1:N or N:N");
    r->rq.scores = RKF_SCORES_SIGMOID;
    for (size_t i = 0; i < r->n_inputs; i++) {
        r->inputs[i].pair = r->inputs[i].text;
        r->inputs[i].text = r->labels[r->n_labels == 1 ? 0 : i];
    }
    return true;
}

/* ---- TEI */

const struct body body_tei_embed = {
    .name = "EmbedRequest",
    .finish = finish_tei_embed,
    .fields = (const struct field[]){ { "inputs", FIELD_INPUTS, .required = true },
                                      TRUNCATION,
                                      PROMPT,
                                      { "normalize", FIELD_TRISTATE, AT(normalize), .doc = "default true" },
                                      DIMENSIONS("dimensions"),
                                      PRECISION,
                                      SCHEDULING,
                                      END },
};
const struct body body_tei_embed_all = {
    .name = "EmbedAllRequest",
    .finish = finish_tei_inputs,
    .fields =
        (const struct field[]){ { "inputs", FIELD_INPUTS, .required = true }, TRUNCATION, PROMPT, SCHEDULING, END },
};
const struct body body_tei_embed_sparse = {
    .name = "EmbedSparseRequest",
    .finish = finish_tei_inputs,
    .fields =
        (const struct field[]){ { "inputs", FIELD_INPUTS, .required = true }, TRUNCATION, PROMPT, SCHEDULING, END },
};
const struct body body_tei_predict = {
    .name = "PredictRequest",
    .finish = finish_tei_predict,
    .fields =
        (const struct field[]){ { "inputs", FIELD_SEQUENCES, .required = true,
                                  .doc = "a text, one pair [text, text], or a batch [[text], [text, text], ...]" },
                                TRUNCATION,
                                { "raw_scores", FIELD_BOOL, AT(raw_scores), .doc = "default false" },
                                SCHEDULING,
                                END },
};
const struct body body_tei_rerank = {
    .name = "RerankRequest",
    .key = "texts",
    .extra = "\"anyOf\":[{\"properties\":{\"query\":{\"minLength\":1}}},{\"properties\":{\"texts\":{\"items\":{"
             "\"minLength\":1}}}}]",
    .finish = finish_tei_rerank,
    .fields = (const struct field[]){ { "query", FIELD_STR, AT(query), .required = true },
                                      { "texts", FIELD_TEXT_LIST, .required = true },
                                      TRUNCATION,
                                      { "raw_scores", FIELD_BOOL, AT(raw_scores), .doc = "default false" },
                                      { "return_text", FIELD_TRISTATE, AT(return_text), .doc = "default false" },
                                      SCHEDULING,
                                      END },
};
const struct body body_tei_similarity = {
    .name = "SimilarityRequest",
    .finish = finish_tei_similarity,
    .fields = (const struct field[]){ { "inputs", FIELD_OBJECT, .required = true,
                                        .fields = (const struct field[]){ { "source_sentence", FIELD_STR, AT(query),
                                                                            .required = true, .schema = WORDS },
                                                                          { "sentences", FIELD_TEXT_LIST,
                                                                            .required = true, .schema = WORDS_LIST },
                                                                          END } },
                                      { "parameters", FIELD_OBJECT,
                                        .fields = (const struct field[]){ TRUNCATION, PROMPT, END } },
                                      SCHEDULING,
                                      END },
};
const struct body body_tei_tokenize = {
    .name = "TokenizeRequest",
    .finish = finish_tei_tokenize,
    .fields = (const struct field[]){ { "inputs", FIELD_TEXTS, .required = true, .schema = WORDS_OR_LIST },
                                      { "add_special_tokens", FIELD_BOOL, AT(add_special_tokens),
                                        .doc = "default true" },
                                      PROMPT,
                                      END },
};
const struct body body_tei_decode = {
    .name = "DecodeRequest",
    .finish = finish_tei_decode,
    .fields = (const struct field[]){ { "ids", FIELD_IDS, .required = true, .schema = ANY_IDS },
                                      { "skip_special_tokens", FIELD_BOOL, AT(skip_special_tokens),
                                        .doc = "default true" },
                                      END },
};

/* ---- OpenAI, with Jina's fields (the path is the same), and vLLM's scores */

static const char *const openai_formats[] = { "float", "base64", NULL };
static const char *const jina_types[] = { "float", "base64", "binary", "ubinary", NULL };
static const char *const jina_tasks[] = {
    "retrieval.query", "retrieval.passage", "classification", "separation", "text-matching", NULL
}; /* enum input_type from INPUT_QUERY on */

const struct body body_openai_embeddings = {
    .name = "EmbeddingsRequest",
    .finish = finish_openai,
    .fields = (const struct field[]){ { "input", FIELD_INPUTS_OR_DOCUMENTS, .required = true },
                                      MODEL,
                                      { "encoding_format", FIELD_CHOICE, AT(base64), .choices = openai_formats },
                                      DIMENSIONS("dimensions"),
                                      { "user", FIELD_IGNORED },
                                      { "task", FIELD_CHOICE, AT(input_type), .choices = jina_tasks, .lo = INPUT_QUERY,
                                        .doc = "Jina: chooses the model's prompt" },
                                      { "late_chunking", FIELD_UNSUPPORTED },
                                      { "truncate", FIELD_TRISTATE, AT(truncate) },
                                      { "normalized", FIELD_TRISTATE, AT(normalize), .doc = "default true" },
                                      { "embedding_type", FIELD_CHOICE, AT(jina_type), .choices = jina_types,
                                        .doc = "Jina: one type for the answer" },
                                      PROMPT,
                                      PRECISION,
                                      SCHEDULING,
                                      END },
};
const struct body body_vllm_score = {
    .name = "ScoreRequest",
    .finish = finish_score,
    .fields =
        (const struct field[]){
            MODEL,
            { "text_1", FIELD_STR_OR_STRS, .required = true,
              .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"maxItems\":1,\"items\":"
                        "{\"type\":\"string\"}}]}",
              .doc = "one text for all of text_2, or a list of as many" },
            { "text_2", FIELD_TEXTS, .required = true },
            { "user", FIELD_IGNORED },
            SCHEDULING,
            END },
};

/* ---- Jina and Cohere */

const struct body body_jina_rerank = {
    .name = "RerankDocumentsRequest",
    .key = "documents",
    .finish = finish_jina_rerank,
    .fields = (const struct field[]){ MODEL,
                                      { "query", FIELD_QUERY, AT(query), .required = true },
                                      { "rank_fields", FIELD_STRS,
                                        .doc = "Cohere v1: the fields of object documents to rank by" },
                                      { "documents", FIELD_DOCUMENTS, .required = true },
                                      { "top_n", FIELD_INT, AT(top_n), .lo = 1, .hi = INT32_MAX },
                                      { "return_documents", FIELD_TRISTATE, AT(return_text), .doc = "default true" },
                                      { "raw_scores", FIELD_BOOL, AT(raw_scores), .doc = "default false" },
                                      { "max_chunks_per_doc", FIELD_IGNORED },
                                      SCHEDULING,
                                      END },
};
const struct body body_cohere_rerank = {
    .name = "CohereRerankRequest",
    .strict = true,
    .finish = finish_cohere_rerank,
    .fields = (const struct field[]){ MODEL,
                                      { "query", FIELD_STR, AT(query), .required = true },
                                      { "documents", FIELD_TEXT_LIST, .required = true },
                                      { "top_n", FIELD_INT, AT(top_n), .lo = 1, .hi = INT32_MAX },
                                      { "return_documents", FIELD_TRISTATE, AT(return_text), .doc = "default false" },
                                      { "max_tokens_per_doc", FIELD_INT, AT(max_tokens_per_doc), .lo = 1,
                                        .hi = INT32_MAX },
                                      { "relevant_spans", FIELD_UNSUPPORTED },
                                      { "priority", FIELD_INT, AT(priority), .lo = 0, .hi = 999,
                                        .doc = "lower is handled earlier" },
                                      END },
};

static const char *const cohere_inputs[] = { "search_query", "search_document", "classification", "clustering",
                                             NULL };                       /* enum input_type from INPUT_QUERY on */
static const char *const cohere_cuts[] = { "NONE", "START", "END", NULL }; /* enum cut */

#define COHERE_EMBED                                                                                                   \
    MODEL, { "input_type", FIELD_CHOICE, AT(input_type), .choices = cohere_inputs, .lo = INPUT_QUERY },                \
        { "embedding_types", FIELD_CHOICES, AT(types), .choices = embed_type_names },                                  \
        { "truncate", FIELD_CHOICE, AT(cut), .choices = cohere_cuts }, { "images", FIELD_UNSUPPORTED },                \
        DIMENSIONS("output_dimension"), { "max_tokens", FIELD_INT32, AT(max_length), .lo = 4, .hi = INT32_MAX },       \
    {                                                                                                                  \
        "priority", FIELD_INT, AT(priority), .lo = 0, .hi = 999, .doc = "lower is handled earlier"                     \
    }

const struct body body_cohere_embed_v1 = {
    .name = "CohereEmbedV1Request",
    .finish = finish_cohere_embed,
    .fields = (const struct field[]){ { "texts", FIELD_TEXT_LIST, .required = true, .schema = WORDS_LIST },
                                      COHERE_EMBED,
                                      END },
};
const struct body body_cohere_embed = {
    .name = "CohereEmbedRequest",
    .strict = true,
    .extra = "\"oneOf\":[{\"required\":[\"texts\"],\"properties\":{\"texts\":{\"type\":\"array\"}}},{\"required\":["
             "\"inputs\"],"
             "\"properties\":{\"inputs\":{\"type\":\"array\"}}}]",
    .finish = finish_cohere_embed,
    .fields = (const struct field[]){ { "texts", FIELD_TEXT_LIST, .schema = WORDS_LIST },
                                      { "inputs", FIELD_CONTENTS },
                                      COHERE_EMBED,
                                      END },
};

/* ---- Ollama */

const struct body body_ollama_embed = {
    .name = "OllamaEmbedRequest",
    .finish = finish_ollama,
    .fields =
        (const struct field[]){
            MODEL,
            { "input", FIELD_TEXTS, .required = true,
              .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]}" },
            { "truncate", FIELD_TRISTATE, AT(truncate), .doc = "default true" },
            DIMENSIONS("dimensions"),
            { "options", FIELD_IGNORED },
            { "keep_alive", FIELD_IGNORED },
            SCHEDULING,
            END },
};
const struct body body_ollama_embeddings = {
    .name = "OllamaEmbeddingsRequest",
    .finish = finish_ollama_legacy,
    .fields = (const struct field[]){ MODEL,
                                      { "prompt", FIELD_TEXTS, .required = true, .schema = "{\"type\":\"string\"}" },
                                      { "options", FIELD_IGNORED },
                                      { "keep_alive", FIELD_IGNORED },
                                      END },
};

const struct body *const all_bodies[N_BODIES] = {
    &body_tei_embed,
    &body_tei_embed_all,
    &body_tei_embed_sparse,
    &body_tei_predict,
    &body_tei_rerank,
    &body_tei_similarity,
    &body_tei_tokenize,
    &body_tei_decode,
    &body_vllm_score,
    &body_jina_rerank,
    &body_openai_embeddings,
    &body_cohere_rerank,
    &body_cohere_embed_v1,
    &body_cohere_embed,
    &body_ollama_embed,
    &body_ner,
    &body_qa,
    &body_fill_mask,
    &body_classify,
    &body_zero_shot,
    &body_choose,
    &body_load,
    &body_unload,
    &body_ollama_embeddings,
};
