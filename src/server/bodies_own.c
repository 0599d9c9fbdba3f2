/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of our own routes. Where Hugging Face's inference API has the task, its body is ours: {"inputs",
 * "parameters"}, so that InferenceClient works unchanged; parameters may also stand at the top.
 */
#include "server/bodies.h"

#define AT(member) offsetof(struct api_request, member)
#define END                                                                                                            \
    {                                                                                                                  \
        NULL                                                                                                           \
    }
#define MODEL                                                                                                          \
    {                                                                                                                  \
        "model", FIELD_STR, AT(model), .doc = "a loaded model's name; left out: the first that can do the task"        \
    }
#define SCHEDULING                                                                                                     \
    { "priority", FIELD_INT, AT(priority), .lo = -1000, .hi = 1000, .doc = "higher runs first; 0: the model's" },      \
    {                                                                                                                  \
        "timeout_ms", FIELD_INT, AT(timeout_ms),                                                                       \
            .lo = 100, .hi = 86400000, .doc = "give up after so many milliseconds; left out: the server's limit"       \
    }
#define TOP_K                                                                                                          \
    {                                                                                                                  \
        "top_k", FIELD_INT, AT(top_n), .lo = 1, .hi = INT32_MAX                                                        \
    }
#define TRUNCATE                                                                                                       \
    {                                                                                                                  \
        "truncate", FIELD_TRISTATE, AT(truncate), .doc = "cut texts that are too long; left out: the server's default" \
    }

static bool refuse_none(const struct api_request *r, const char *name, struct api_error *e)
{
    return r->n_inputs || api_fail(e, FAULT_EMPTY, name, "`%s` cannot be empty", name);
}

static bool finish_inputs(struct api_request *r, struct api_error *e)
{
    r->rq.top_k = r->top_n < 0 ? 0 : (int32_t)r->top_n;
    r->rq.stride = (int32_t)r->stride;
    return refuse_none(r, "inputs", e);
}

static bool finish_ner(struct api_request *r, struct api_error *e)
{
    static const rkf_aggregation by_word[] = { RKF_AGGREGATE_NONE, RKF_AGGREGATE_SIMPLE, RKF_AGGREGATE_FIRST,
                                               RKF_AGGREGATE_AVERAGE, RKF_AGGREGATE_MAX };
    r->rq.aggregation = by_word[r->aggregation];
    return finish_inputs(r, e);
}

static bool finish_qa(struct api_request *r, struct api_error *e)
{
    r->rq.max_answer_length = (int32_t)r->max_answer_length;
    r->rq.impossible_answer = r->impossible_answer;
    for (size_t i = 0; i < r->n_inputs; i++)
        if (!r->inputs[i].text.len || !r->inputs[i].pair.len)
            return api_fail(e, FAULT_VALIDATION, "inputs", "`question` and `context` cannot be empty");
    return finish_inputs(r, e);
}

static bool finish_labels(struct api_request *r, struct api_error *e)
{
    r->rq.labels = r->labels;
    r->rq.n_labels = r->n_labels;
    return finish_inputs(r, e);
}

static bool finish_classify(struct api_request *r, struct api_error *e)
{
    static const rkf_scores by_word[] = { RKF_SCORES_DEFAULT, RKF_SCORES_SIGMOID, RKF_SCORES_SOFTMAX, RKF_SCORES_RAW };
    r->rq.scores = by_word[r->activation];
    return finish_inputs(r, e);
}

static bool finish_zero_shot(struct api_request *r, struct api_error *e)
{
    r->rq.multi_label = r->multi_label;
    r->rq.hypothesis_template = r->hypothesis_template;
    if (!r->n_labels)
        return api_fail(e, FAULT_VALIDATION, "candidate_labels",
                        "`candidate_labels` is missing: give the labels to choose from in `parameters`");
    return finish_labels(r, e);
}

static bool finish_choose(struct api_request *r, struct api_error *e)
{
    r->rq.query = r->query;
    return refuse_none(r, "choices", e);
}

static const char *const aggregations[] = { "none", "simple", "first", "average", "max", NULL };
static const char *const functions[] = { "sigmoid", "softmax", "none", NULL };

#define NER_PARAMETERS                                                                                                 \
    { "aggregation_strategy", FIELD_CHOICE, AT(aggregation), .choices = aggregations, .doc = "default simple" },       \
        { "ignore_labels", FIELD_STRS, .schema = "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}",               \
          .doc = "left out of the answer, besides O" },                                                                \
    {                                                                                                                  \
        "stride", FIELD_INT, AT(stride), .hi = 65536                                                                   \
    }
#define QA_PARAMETERS                                                                                                  \
    TOP_K, { "max_answer_len", FIELD_INT, AT(max_answer_length), .lo = 1, .hi = 65536, .doc = "tokens; default 15" },  \
        { "handle_impossible_answer", FIELD_BOOL, AT(impossible_answer) },                                             \
        { "doc_stride", FIELD_INT, AT(stride), .hi = 65536 },                                                          \
        { "max_seq_len", FIELD_INT32, AT(max_length), .lo = 16, .hi = 65536 }, { "max_question_len", FIELD_IGNORED },  \
    {                                                                                                                  \
        "align_to_words", FIELD_IGNORED                                                                                \
    }
#define FILL_PARAMETERS                                                                                                \
    TOP_K,                                                                                                             \
    {                                                                                                                  \
        "targets", FIELD_WORDS, .doc = "only these words"                                                              \
    }
#define CLASSIFY_PARAMETERS                                                                                            \
    TOP_K,                                                                                                             \
    {                                                                                                                  \
        "function_to_apply", FIELD_CHOICE, AT(activation), .choices = functions, .lo = 1,                              \
                                                           .doc = "left out: as the model's files say"                 \
    }
#define ZERO_SHOT_PARAMETERS                                                                                           \
    { "candidate_labels", FIELD_LABELS },                                                                              \
        { "hypothesis_template", FIELD_TEMPLATE, AT(hypothesis_template), .doc = "default: This example is {}." },     \
    {                                                                                                                  \
        "multi_label", FIELD_BOOL, AT(multi_label)                                                                     \
    }
#define MASKED           "{\"type\":\"string\",\"pattern\":\"$MASK\"}"
#define MASKED_TEXTS     "{\"anyOf\":[" MASKED ",{\"type\":\"array\",\"minItems\":1,\"items\":" MASKED "}]}"
#define PARAMETERS(list) { "parameters", FIELD_OBJECT, .fields = (const struct field[]){ list, END } }, list

const struct body body_ner = {
    .name = "NerRequest",
    .finish = finish_ner,
    .fields =
        (const struct field[]){
            { "inputs", FIELD_TEXTS, .required = true }, MODEL, PARAMETERS(NER_PARAMETERS), SCHEDULING, END },
};
const struct body body_qa = {
    .name = "QaRequest",
    .finish = finish_qa,
    .fields =
        (const struct field[]){
            { "inputs", FIELD_QUESTIONS, .required = true }, MODEL, PARAMETERS(QA_PARAMETERS), SCHEDULING, END },
};
const struct body body_fill_mask = {
    .name = "FillMaskRequest",
    .finish = finish_labels,
    .fields = (const struct field[]){ { "inputs", FIELD_TEXTS, .required = true, .schema = MASKED_TEXTS },
                                      MODEL,
                                      TRUNCATE,
                                      PARAMETERS(FILL_PARAMETERS),
                                      SCHEDULING,
                                      END },
};
const struct body body_classify = {
    .name = "ClassifyRequest",
    .finish = finish_classify,
    .fields = (const struct field[]){ { "inputs", FIELD_PAIRABLE, .required = true },
                                      MODEL,
                                      TRUNCATE,
                                      PARAMETERS(CLASSIFY_PARAMETERS),
                                      SCHEDULING,
                                      END },
};
#define NEEDS_LABELS                                                                                                   \
    "\"required\":[\"candidate_labels\"],\"properties\":{\"candidate_labels\":{\"not\":{\"type\":\"null\"}}}"
const struct body body_zero_shot = {
    .name = "ZeroShotRequest",
    .extra = "\"anyOf\":[{" NEEDS_LABELS
             "},{\"required\":[\"parameters\"],\"properties\":{\"parameters\":{\"type\":\"object\"," NEEDS_LABELS
             "}}}]",
    .finish = finish_zero_shot,
    .fields = (const struct field[]){ { "inputs", FIELD_TEXTS, .required = true },
                                      MODEL,
                                      TRUNCATE,
                                      PARAMETERS(ZERO_SHOT_PARAMETERS),
                                      SCHEDULING,
                                      END },
};
const struct body body_choose = {
    .name = "ChooseRequest",
    .finish = finish_choose,
    .fields = (const struct field[]){ { "question", FIELD_STR, AT(query), .required = true },
                                      { "choices", FIELD_TEXT_LIST, .required = true },
                                      MODEL,
                                      TRUNCATE,
                                      SCHEDULING,
                                      END },
};

/* ---- administration */

#define WORD(words) "{\"enum\":[" words "]}"
const struct body body_load = {
    .name = "LoadRequest",
    .strict = true,
    .fields =
        (const struct field[]){
            { "model", FIELD_STR, AT(load.path), .required = true,
              .doc = "directory, .rknn file, or hub id found in the cache" },
            { "name", FIELD_STR, AT(load.name), .doc = "to be called by; left out: the last part of model" },
            { "revision", FIELD_STR, AT(load.revision) },
            { "file_name", FIELD_STR, AT(load.file_name) },
            { "core_mask", FIELD_STR, AT(load.core_mask),
              .schema = WORD("\"auto\",\"0\",\"1\",\"2\",\"0_1\",\"0_1_2\",\"all\"") },
            { "device", FIELD_STR, AT(load.device), .schema = "{\"enum\":$WHERE}" },
            { "dtype", FIELD_STR, AT(load.dtype), .schema = WORD("\"f32\",\"bf16\",\"f16\",\"int8\"") },
            { "exclusive", FIELD_BOOL, AT(load.exclusive), .doc = "keep other models off its cores" },
            { "priority", FIELD_INT, AT(priority), .lo = -1000, .hi = 1000 },
            { "max_length", FIELD_INT, AT(load.max_length), .lo = 1, .hi = INT32_MAX },
            { "limit", FIELD_INT, AT(load.limit), .lo = 1, .hi = INT32_MAX, .doc = "most inputs waiting for it" },
            END },
};
const struct body body_unload = {
    .name = "UnloadRequest",
    .strict = true,
    .fields = (const struct field[]){ { "model", FIELD_STR, AT(model), .required = true }, END },
};

/* Ollama's question for what a model is. */
const struct body body_show = {
    .name = "ShowRequest",
    .fields = (const struct field[]){ { "model", FIELD_STR, AT(model), .required = true }, END },
};
