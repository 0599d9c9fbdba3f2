/* SPDX-License-Identifier: Apache-2.0 */
#include "server/endpoints.h"

#include "server/adapt.h"
#include "server/bodies.h"

#define EMBEDDERS      (KIND_BIT(KIND_EMBED) | KIND_BIT(KIND_FILL_MASK))
#define ALL_KINDS      ((1u << KIND_COUNT) - 1)
#define FOR_EMBEDDINGS .kinds = EMBEDDERS, .prefer = KIND_BIT(KIND_EMBED), .mismatch = "Model is not an embedding model"
#define FOR_SCORES                                                                                                     \
    .kinds = KIND_BIT(KIND_RERANK), .prefer = KIND_BIT(KIND_RERANK), .mismatch = "model is not a re-ranker model"
#define FOR(kind, text) .kinds = KIND_BIT(kind), .prefer = KIND_BIT(kind), .mismatch = text

/* ---- schemas */

#define NUMBER                       "{\"type\":\"number\"}"
#define INTEGER                      "{\"type\":\"integer\"}"
#define TEXT                         "{\"type\":\"string\"}"
#define LIST(item)                   "{\"type\":\"array\",\"items\":" item "}"
#define OBJECT(required, properties) "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"
#define VECTOR                       LIST(NUMBER)
#define VECTOR_OR_BASE64             "{\"anyOf\":[" VECTOR "," TEXT "]}"
#define USAGE                        OBJECT("\"prompt_tokens\",\"total_tokens\"", "\"prompt_tokens\":" INTEGER ",\"total_tokens\":" INTEGER)
#define PREDICTION                   OBJECT("\"score\",\"label\"", "\"score\":" NUMBER ",\"label\":" TEXT)
#define OR_NULL(item)                "{\"anyOf\":[" item ",{\"type\":\"null\"}]}"
#define TOKEN                                                                                                          \
    OBJECT("\"id\",\"text\",\"special\",\"start\",\"stop\"",                                                           \
           "\"id\":" INTEGER ",\"text\":" TEXT                                                                         \
           ",\"special\":{\"type\":\"boolean\"},\"start\":" OR_NULL(INTEGER) ",\"stop\":" OR_NULL(INTEGER))
#define RESULT                                                                                                         \
    OBJECT("\"index\",\"relevance_score\"",                                                                            \
           "\"index\":" INTEGER ",\"relevance_score\":" NUMBER ",\"document\":" OBJECT("\"text\"", "\"text\":" TEXT))
#define META "{\"type\":\"object\"}"
#define ENTITY                                                                                                         \
    OBJECT("\"score\",\"word\",\"start\",\"end\"",                                                                     \
           "\"entity_group\":" TEXT ",\"entity\":" TEXT ",\"score\":" NUMBER ",\"index\":" INTEGER ",\"word\":" TEXT   \
           ",\"start\":" INTEGER ",\"end\":" INTEGER)
#define ANSWER                                                                                                         \
    OBJECT("\"score\",\"start\",\"end\",\"answer\"",                                                                   \
           "\"score\":" NUMBER ",\"start\":" INTEGER ",\"end\":" INTEGER ",\"answer\":" TEXT)
#define FILL                                                                                                           \
    OBJECT("\"score\",\"token\",\"token_str\",\"sequence\"",                                                           \
           "\"score\":" NUMBER ",\"token\":" INTEGER ",\"token_str\":" TEXT ",\"sequence\":" TEXT)
#define NESTED(item) "{\"type\":\"array\",\"items\":{\"anyOf\":[" item "," LIST(item) "," LIST(LIST(item)) "]}}"

/* ---- TEI */

const struct endpoint ep_embed = {
    .name = "embed",
    .summary = "Embeddings, a vector per input",
    .dialect = DIALECT_TEI,
    .body = &body_tei_embed,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .adapt = adapt_ids_to_prompt,
    .write = write_tei_embed,
    .answer = LIST(VECTOR),
};
const struct endpoint ep_embed_all = {
    .name = "embed_all",
    .summary = "Embeddings, a vector per token",
    .dialect = DIALECT_TEI,
    .body = &body_tei_embed_all,
    .task = RKF_TASK_TOKENS,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .adapt = adapt_ids_to_prompt,
    .write = write_tei_embed_all,
    .answer = LIST(LIST(VECTOR)),
};
const struct endpoint ep_embed_sparse = {
    .name = "embed_sparse",
    .summary = "Sparse embeddings (SPLADE)",
    .dialect = DIALECT_TEI,
    .body = &body_tei_embed_sparse,
    .task = RKF_TASK_SPARSE,
    FOR(KIND_FILL_MASK, "Model is not an embedding model with SPLADE pooling"),
    .count = COUNT_EMBED,
    .adapt = adapt_ids_to_prompt,
    .write = write_tei_embed_sparse,
    .answer = LIST(LIST(OBJECT("\"index\",\"value\"", "\"index\":" INTEGER ",\"value\":" NUMBER))),
};
const struct endpoint ep_predict = {
    .name = "predict",
    .summary = "Labels of a text or a pair of texts, by falling score",
    .dialect = DIALECT_TEI,
    .body = &body_tei_predict,
    .task = RKF_TASK_CLASSIFY,
    .kinds = KIND_BIT(KIND_CLASSIFY) | KIND_BIT(KIND_RERANK),
    .prefer = KIND_BIT(KIND_CLASSIFY),
    .mismatch = "Model is not a classifier model",
    .count = COUNT_PREDICT,
    .softmax = true,
    .write = write_tei_predict,
    .answer = "{\"anyOf\":[" LIST(PREDICTION) "," LIST(LIST(PREDICTION)) "]}",
};
const struct endpoint ep_rerank = {
    .name = "rerank",
    .summary = "Texts by falling relevance to the query",
    .dialect = DIALECT_TEI,
    .body = &body_tei_rerank,
    .task = RKF_TASK_RERANK,
    FOR_SCORES,
    .count = COUNT_PREDICT,
    .write = write_tei_rerank,
    .answer = LIST(OBJECT("\"index\",\"score\"", "\"index\":" INTEGER ",\"text\":" TEXT ",\"score\":" NUMBER)),
};
const struct endpoint ep_similarity = {
    .name = "similarity",
    .summary = "Cosine similarity of each sentence with the source sentence",
    .dialect = DIALECT_TEI,
    .body = &body_tei_similarity,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .write = write_tei_similarity,
    .answer = LIST(NUMBER),
};
const struct endpoint ep_tokenize = {
    .name = "tokenize",
    .summary = "Tokens of texts; start and stop count bytes",
    .dialect = DIALECT_TEI,
    .body = &body_tei_tokenize,
    .how = HOW_TOKENIZE,
    .kinds = ALL_KINDS,
    .mismatch = "no model",
    .write = write_tei_tokenize,
    .answer = LIST(LIST(TOKEN)),
};
const struct endpoint ep_decode = {
    .name = "decode",
    .summary = "Texts of token ids",
    .dialect = DIALECT_TEI,
    .body = &body_tei_decode,
    .how = HOW_DECODE,
    .kinds = ALL_KINDS,
    .mismatch = "no model",
    .write = write_tei_decode,
    .answer = LIST(TEXT),
};

/* ---- OpenAI, vLLM, Jina, Cohere, Ollama */

const struct endpoint ep_embeddings = {
    .name = "embeddings",
    .summary = "Embeddings as OpenAI and Jina give them",
    .dialect = DIALECT_OPENAI,
    .body = &body_openai_embeddings,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .adapt = adapt_ids_to_prompt,
    .write = write_openai_embeddings,
    .answer = OBJECT("\"object\",\"data\",\"model\",\"usage\"",
                     "\"object\":{\"const\":\"list\"},\"data\":" LIST(
                         OBJECT("\"object\",\"index\",\"embedding\"",
                                "\"object\":{\"const\":\"embedding\"},\"index\":" INTEGER
                                ",\"embedding\":" VECTOR_OR_BASE64)) ",\"model\":" TEXT ",\"usage\":" USAGE),
};
#define SCORES                                                                                                         \
    OBJECT("\"id\",\"object\",\"created\",\"model\",\"data\",\"usage\"",                                               \
           "\"id\":" TEXT ",\"object\":{\"const\":\"list\"},\"created\":" INTEGER ",\"model\":" TEXT                   \
           ",\"data\":" LIST(OBJECT("\"index\",\"object\",\"score\"",                                                  \
                                    "\"index\":" INTEGER                                                               \
                                    ",\"object\":{\"const\":\"score\"},\"score\":" NUMBER)) ",\"usage\":" USAGE)
static const struct endpoint ep_score_cosine = {
    .name = "score",
    .dialect = DIALECT_OPENAI,
    .body = &body_vllm_score,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .adapt = adapt_pairs_to_texts,
    .write = write_vllm_cosine,
    .answer = SCORES,
};
const struct endpoint ep_score = {
    .name = "score",
    .summary = "Relevance of pairs of texts (vLLM)",
    .dialect = DIALECT_OPENAI,
    .body = &body_vllm_score,
    .task = RKF_TASK_CLASSIFY,
    FOR_SCORES,
    .count = COUNT_PREDICT,
    .other = &ep_score_cosine,
    .write = write_vllm_score,
    .answer = SCORES,
};
const struct endpoint ep_rerank_documents = {
    .name = "rerank_documents",
    .summary = "Documents by falling relevance to the query (Jina, vLLM, Cohere v1)",
    .dialect = DIALECT_JINA,
    .body = &body_jina_rerank,
    .task = RKF_TASK_RERANK,
    FOR_SCORES,
    .count = COUNT_PREDICT,
    .write = write_jina_rerank,
    .answer = OBJECT("\"id\",\"model\",\"usage\",\"results\"",
                     "\"id\":" TEXT ",\"object\":{\"const\":\"list\"},\"model\":" TEXT ",\"usage\":" USAGE
                     ",\"results\":" LIST(RESULT) ",\"meta\":" META),
};
const struct endpoint ep_cohere_rerank = {
    .name = "cohere_rerank",
    .summary = "Documents by falling relevance to the query (Cohere v2)",
    .dialect = DIALECT_COHERE,
    .body = &body_cohere_rerank,
    .task = RKF_TASK_RERANK,
    FOR_SCORES,
    .count = COUNT_PREDICT,
    .adapt = adapt_documents,
    .write = write_cohere_rerank,
    .answer = OBJECT("\"id\",\"results\",\"meta\"", "\"id\":" TEXT ",\"results\":" LIST(RESULT) ",\"meta\":" META),
};
#define BY_TYPE                                                                                                        \
    OBJECT("", "\"float\":" LIST(VECTOR) ",\"int8\":" LIST(LIST(INTEGER)) ",\"uint8\":" LIST(LIST(                     \
                   INTEGER)) ",\"binary\":" LIST(LIST(INTEGER)) ",\"ubinary\":" LIST(LIST(INTEGER)) ",\"base64\""      \
                                                                                                    ":" LIST(TEXT))
#define COHERE_EMBED(embeddings)                                                                                       \
    OBJECT("\"id\",\"response_type\",\"embeddings\",\"texts\",\"meta\"",                                               \
           "\"id\":" TEXT ",\"response_type\":" TEXT ",\"embeddings\":" embeddings                                     \
           ",\"texts\":" LIST(TEXT) ",\"meta\":" META)
const struct endpoint ep_cohere_embed_v1 = {
    .name = "cohere_embed_v1",
    .summary = "Embeddings as Cohere v1 gives them",
    .dialect = DIALECT_COHERE,
    .body = &body_cohere_embed_v1,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .write = write_cohere_embed_v1,
    .answer = COHERE_EMBED("{\"anyOf\":[" BY_TYPE "," LIST(VECTOR) "]}"),
};
const struct endpoint ep_cohere_embed = {
    .name = "cohere_embed",
    .summary = "Embeddings as Cohere v2 gives them",
    .dialect = DIALECT_COHERE,
    .body = &body_cohere_embed,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .write = write_cohere_embed,
    .answer = COHERE_EMBED(BY_TYPE),
};
const struct endpoint ep_ollama_embed = {
    .name = "ollama_embed",
    .summary = "Embeddings as Ollama gives them",
    .dialect = DIALECT_OLLAMA,
    .body = &body_ollama_embed,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .write = write_ollama_embed,
    .answer = OBJECT("\"model\",\"embeddings\"",
                     "\"model\":" TEXT ",\"embeddings\":" LIST(VECTOR) ",\"total_duration\":" INTEGER
                                                                       ",\"load_duration\":" INTEGER
                                                                       ",\"prompt_eval_count\":" INTEGER),
};
const struct endpoint ep_ollama_embeddings = {
    .name = "ollama_embeddings",
    .summary = "One embedding, Ollama's older route",
    .dialect = DIALECT_OLLAMA,
    .body = &body_ollama_embeddings,
    .task = RKF_TASK_EMBED,
    FOR_EMBEDDINGS,
    .count = COUNT_EMBED,
    .write = write_ollama_embeddings,
    .answer = OBJECT("\"embedding\"", "\"embedding\":" VECTOR),
};

/* ---- ours: bodies and answers of Hugging Face's inference API */

const struct endpoint ep_ner = {
    .name = "ner",
    .summary = "Entities in texts; start and end count characters",
    .dialect = DIALECT_OPENAI,
    .body = &body_ner,
    .task = RKF_TASK_NER,
    FOR(KIND_NER, "Model is not a token classification model"),
    .count = COUNT_PREDICT,
    .write = write_ner,
    .answer = NESTED(ENTITY),
};
const struct endpoint ep_qa = {
    .name = "qa",
    .summary = "Answers to questions, cut from their contexts",
    .dialect = DIALECT_OPENAI,
    .body = &body_qa,
    .task = RKF_TASK_QA,
    FOR(KIND_QA, "Model is not a question answering model"),
    .count = COUNT_PREDICT,
    .write = write_qa,
    .answer = "{\"anyOf\":[" ANSWER "," NESTED(ANSWER) "]}",
};
const struct endpoint ep_fill_mask = {
    .name = "fill_mask",
    .summary = "Words for the masks of texts",
    .dialect = DIALECT_OPENAI,
    .body = &body_fill_mask,
    .task = RKF_TASK_FILL_MASK,
    FOR(KIND_FILL_MASK, "Model is not a fill-mask model"),
    .count = COUNT_PREDICT,
    .write = write_fill_mask,
    .answer = NESTED(FILL),
};
const struct endpoint ep_classify = {
    .name = "classify",
    .summary = "Labels of texts or pairs, by falling score",
    .dialect = DIALECT_OPENAI,
    .body = &body_classify,
    .task = RKF_TASK_CLASSIFY,
    .kinds = KIND_BIT(KIND_CLASSIFY) | KIND_BIT(KIND_RERANK),
    .prefer = KIND_BIT(KIND_CLASSIFY),
    .mismatch = "Model is not a classifier model",
    .count = COUNT_PREDICT,
    .write = write_classify,
    .answer = LIST(LIST(PREDICTION)),
};
const struct endpoint ep_zero_shot = {
    .name = "zero_shot",
    .summary = "Candidate labels by falling score, over a model for natural language inference",
    .dialect = DIALECT_OPENAI,
    .body = &body_zero_shot,
    .task = RKF_TASK_ZERO_SHOT,
    FOR(KIND_CLASSIFY, "Model is not a model for natural language inference"),
    .count = COUNT_PREDICT,
    .write = write_zero_shot,
    .answer = NESTED(PREDICTION),
};
const struct endpoint ep_choose = {
    .name = "choose",
    .summary = "Which choice answers the question (multiple choice)",
    .dialect = DIALECT_OPENAI,
    .body = &body_choose,
    .task = RKF_TASK_CHOOSE,
    FOR(KIND_CHOOSE, "Model is not a multiple choice model"),
    .count = COUNT_PREDICT,
    .write = write_choose,
    .answer = OBJECT("\"choice\",\"scores\"", "\"choice\":" INTEGER ",\"scores\":" LIST(NUMBER)),
};
