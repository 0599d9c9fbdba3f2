/* SPDX-License-Identifier: Apache-2.0 */
#include "server/routes.h"

#include "server/bodies.h"
#include "server/endpoints.h"
#include "server/pages.h"

#include <string.h>

#define POST(p, d, f, ...)                                                                                             \
    {                                                                                                                  \
        .method = "POST", .path = p, .dialect = d, .flags = f, .endpoints = { __VA_ARGS__ }                            \
    }
#define OBJECT "{\"type\":\"object\"}"
#define TEI    ROUTE_STRICT

const struct route routes[] = {
    /* OpenAI, Jina, vLLM */
    POST("/v1/embeddings", DIALECT_OPENAI, 0, &ep_embeddings),
    POST("/embeddings", DIALECT_OPENAI, ROUTE_HIDDEN, &ep_embeddings),
    POST("/v1/score", DIALECT_OPENAI, ROUTE_HIDDEN, &ep_score),
    POST("/score", DIALECT_OPENAI, 0, &ep_score),
    { "GET", "/v1/models", 0, DIALECT_OPENAI, .handle = page_models, .name = "models", .answer = OBJECT,
      .summary = "The loaded models" },
    { "GET", "/models", ROUTE_HIDDEN, DIALECT_OPENAI, .handle = page_models, .name = "models_too", .answer = OBJECT },
    { "GET", "/v1/models/*", 0, DIALECT_OPENAI, .handle = page_model, .name = "model", .answer = OBJECT,
      .summary = "One loaded model" },
    { "DELETE", "/v1/models/*", ROUTE_ADMIN, DIALECT_OPENAI, .handle = admin_delete, .name = "delete_model",
      .answer = OBJECT, .summary = "Unload a model" },
    /* Jina and Cohere */
    POST("/v1/rerank", DIALECT_JINA, 0, &ep_rerank_documents),
    POST("/v2/rerank", DIALECT_COHERE, 0, &ep_cohere_rerank),
    POST("/v1/embed", DIALECT_COHERE, 0, &ep_cohere_embed_v1),
    POST("/v2/embed", DIALECT_COHERE, 0, &ep_cohere_embed),
    /* text-embeddings-inference */
    POST("/embed", DIALECT_TEI, TEI, &ep_embed),
    POST("/embed_all", DIALECT_TEI, TEI, &ep_embed_all),
    POST("/embed_sparse", DIALECT_TEI, TEI, &ep_embed_sparse),
    POST("/predict", DIALECT_TEI, TEI, &ep_predict),
    POST("/rerank", DIALECT_TEI, TEI, &ep_rerank_documents, &ep_rerank),
    POST("/similarity", DIALECT_TEI, TEI, &ep_similarity),
    POST("/tokenize", DIALECT_TEI, TEI, &ep_tokenize),
    POST("/decode", DIALECT_TEI, TEI, &ep_decode),
    { "POST", "/", TEI, DIALECT_TEI, .natural = true, .name = "natural", .summary = "What the model is for" },
    { "POST", "/invocations", TEI | ROUTE_HIDDEN, DIALECT_TEI, .natural = true, .name = "invocations" },
    { "GET", "/info", 0, DIALECT_TEI, .handle = page_info, .name = "info", .answer = OBJECT,
      .summary = "The model and the server's limits" },
    { "GET", "/health", ROUTE_PUBLIC, DIALECT_TEI, .handle = page_health, .name = "health",
      .summary = "200: ready; 503: stopping" },
    { "GET", "/ping", ROUTE_PUBLIC | ROUTE_HIDDEN, DIALECT_TEI, .handle = page_health, .name = "ping" },
    { "GET", "/metrics", ROUTE_PUBLIC, DIALECT_TEI, .handle = page_metrics, .name = "metrics", .type = "text/plain",
      .summary = "Metrics in Prometheus' text format" },
    { "GET", "/", ROUTE_PUBLIC, DIALECT_TEI, .handle = page_root, .name = "root",
      .summary = "For a browser a page, for others as /health" },
    /* Ollama */
    POST("/api/embed", DIALECT_OLLAMA, 0, &ep_ollama_embed),
    POST("/api/embeddings", DIALECT_OLLAMA, 0, &ep_ollama_embeddings),
    { "GET", "/api/tags", 0, DIALECT_OLLAMA, .handle = page_ollama_tags, .name = "ollama_tags", .answer = OBJECT,
      .summary = "The loaded models as Ollama lists them" },
    { "GET", "/api/ps", 0, DIALECT_OLLAMA, .handle = page_ollama_ps, .name = "ollama_ps", .answer = OBJECT,
      .summary = "The loaded models as Ollama lists those that run" },
    { "POST", "/api/show", 0, DIALECT_OLLAMA, .handle = page_ollama_show, .body = &body_show, .name = "ollama_show",
      .answer = OBJECT, .summary = "What a model is, as Ollama shows it" },
    { "GET", "/api/version", ROUTE_PUBLIC, DIALECT_OLLAMA, .handle = page_ollama_version, .name = "ollama_version",
      .answer = OBJECT, .summary = "The version" },
    /* ours */
    POST("/v1/ner", DIALECT_OPENAI, 0, &ep_ner),
    POST("/v1/qa", DIALECT_OPENAI, 0, &ep_qa),
    POST("/v1/fill-mask", DIALECT_OPENAI, 0, &ep_fill_mask),
    POST("/v1/classify", DIALECT_OPENAI, 0, &ep_classify),
    POST("/v1/zero-shot", DIALECT_OPENAI, 0, &ep_zero_shot),
    POST("/v1/choose", DIALECT_OPENAI, 0, &ep_choose),
    { "GET", "/v1/devices", 0, DIALECT_OPENAI, .handle = page_devices, .name = "devices", .answer = OBJECT,
      .summary = "Platform, cores and devices, as `rkformer devices --json`" },
    { "GET", "/v1/cores", 0, DIALECT_OPENAI, .handle = page_cores, .name = "cores", .answer = OBJECT,
      .summary = "Live load per core and model, queue, latency" },
    { "GET", "/openapi.json", ROUTE_PUBLIC, DIALECT_OPENAI, .handle = page_openapi, .name = "openapi", .answer = OBJECT,
      .summary = "This description" },
    { "POST", "/models/load", ROUTE_ADMIN, DIALECT_OPENAI, .handle = admin_load, .body = &body_load,
      .name = "load_model", .answer = OBJECT, .summary = "Load a model" },
    { "POST", "/models/unload", ROUTE_ADMIN, DIALECT_OPENAI, .handle = admin_unload, .body = &body_unload,
      .name = "unload_model", .answer = OBJECT, .summary = "Unload a model" },
};
const int route_count = sizeof routes / sizeof *routes;

static bool path_matches(const char *pattern, const char *path, const char **rest)
{
    size_t n = strlen(pattern);
    if (pattern[n - 1] != '*')
        return !strcmp(pattern, path);
    if (strncmp(pattern, path, n - 1) || !path[n - 1])
        return false;
    *rest = path + n - 1;
    return true;
}

const struct route *route_find(const char *method, const char *path, bool *known, const char **rest)
{
    bool get = !strcmp(method, "HEAD");
    *known = false;
    for (int i = 0; i < route_count; i++) {
        if (!path_matches(routes[i].path, path, rest))
            continue;
        *known = true;
        if (!strcmp(get ? "GET" : method, routes[i].method))
            return &routes[i];
    }
    return NULL;
}

/* What a model is for, unless the body clearly wants something else of it. */
static const struct endpoint *natural_endpoint(yyjson_val *root, const struct model *model)
{
    static const struct endpoint *const natural[KIND_COUNT] = {
        [KIND_EMBED] = &ep_embed,   [KIND_FILL_MASK] = &ep_fill_mask,
        [KIND_RERANK] = &ep_rerank, [KIND_CLASSIFY] = &ep_predict,
        [KIND_NER] = &ep_ner,       [KIND_QA] = &ep_qa,
        [KIND_CHOOSE] = &ep_choose,
    };
    enum model_kind kind = model ? model->kind : KIND_EMBED;
    yyjson_val *inputs = yyjson_obj_get(root, "inputs"), *parameters = yyjson_obj_get(root, "parameters");
    if (kind == KIND_EMBED && yyjson_obj_get(inputs, "source_sentence"))
        return &ep_similarity;
    if (kind == KIND_CLASSIFY && yyjson_obj_get(parameters, "candidate_labels"))
        return &ep_zero_shot;
    if (kind == KIND_CLASSIFY && parameters)
        return &ep_classify;
    if (kind == KIND_RERANK && root && !yyjson_obj_get(root, "texts"))
        return yyjson_obj_get(root, "documents") ? &ep_rerank_documents : &ep_predict;
    return natural[kind];
}

const struct endpoint *route_natural(const struct model *model)
{
    return natural_endpoint(NULL, model);
}

const struct endpoint *route_endpoint(const struct route *r, yyjson_val *root, const struct model *model)
{
    const struct endpoint *last = NULL;
    if (r->natural)
        return natural_endpoint(root, model);
    for (int i = 0; i < ROUTE_ENDPOINTS && r->endpoints[i]; i++) {
        last = r->endpoints[i];
        if (last->body->key && yyjson_obj_get(root, last->body->key))
            return last;
    }
    return last;
}
