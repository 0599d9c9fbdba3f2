/* SPDX-License-Identifier: Apache-2.0 */
/* /openapi.json (OpenAPI 3.1), made from the route table, so that it says what the server does. */
#include "server/fields.h"
#include "server/pages.h"
#include "server/routes.h"

#include <string.h>

/* What an endpoint may answer besides 200; the shapes are the dialects'. */
static const struct {
    const char *status, *words;
} failures[] = {
    { "400", "The body is not JSON, empty or wrong" },
    { "401", "API key missing or wrong" },
    { "403", "Not with this key" },
    { "404", "No such model" },
    { "405", "Not this method" },
    { "409", "Taken" },
    { "413", "The body is too long" },
    { "415", "The body is not declared as JSON" },
    { "422", "The body's values are wrong" },
    { "424", "The model cannot do this, or failed" },
    { "429", "Too much to do: try again after Retry-After seconds" },
    { "500", "The server failed" },
    { "503", "The server is stopping" },
    { "504", "The time given for the request has passed" },
};

static void put_failures(struct buf *out)
{
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        buf_printf(
            out,
            ",\"%s\":{\"description\":\"%s\",\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}},"
            "\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}",
            failures[i].status, failures[i].words);
}

/* What the document is about: the loaded models, and whether clients need keys. */
struct facts {
    struct registry *models;
    const struct model *first; /* that answers where none is named */
    bool keys;
};

static void put_summary(struct buf *out, const char *prefix, const char *name, const char *summary)
{
    buf_printf(out, "\"operationId\":\"%s%s\"", prefix, name);
    if (summary) {
        buf_puts(out, ",\"summary\":");
        json_put_str(out, summary, strlen(summary));
    }
}

/* Alternatives of a path that takes several bodies, or that does what the model is for. */
static void put_bodies(struct buf *out, const struct route *r, const struct model *first)
{
    const char *comma = "";
    buf_puts(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":");
    if (r->natural)
        buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"", route_natural(first)->body->name);
    else if (r->body)
        buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"", r->body->name);
    else
        buf_puts(out, "{\"anyOf\":[");
    for (int i = 0; i < ROUTE_ENDPOINTS && r->endpoints[i]; i++) {
        buf_printf(out, "%s{\"$ref\":\"#/components/schemas/%s\"}", comma, r->endpoints[i]->body->name);
        comma = ",";
    }
    buf_puts(out, r->endpoints[0] ? "]}}}}" : "}}}}");
}

static void put_answers(struct buf *out, const struct route *r)
{
    const char *comma = "", *type = r->type ? r->type : "application/json";
    buf_puts(out, ",\"responses\":{\"200\":{\"description\":\"OK\"");
    if (r->endpoints[0]) {
        buf_puts(out, ",\"content\":{\"application/json\":{\"schema\":{\"anyOf\":[");
        for (int i = 0; i < ROUTE_ENDPOINTS && r->endpoints[i]; i++) {
            buf_puts(out, comma);
            buf_puts(out, r->endpoints[i]->answer);
            comma = ",";
        }
        buf_puts(out, "]}}}");
    } else if (r->answer || r->type || r->natural) {
        buf_printf(out, ",\"content\":{\"%s\":{\"schema\":%s}}", type,
                   r->answer ? r->answer
                   : r->type ? "{\"type\":\"string\"}"
                             : "{}");
    }
    buf_putc(out, '}');
    put_failures(out);
    buf_putc(out, '}');
}

/* The models that a path below /models/{model} is for: those that it is meant for, else the first, whose vocabulary the
 * schemas know. */
static void put_names(struct buf *out, struct registry *models, const struct endpoint *ep)
{
    const char *comma = "";
    struct model *m;
    for (size_t i = 0; (m = registry_at(models, i)); i++) {
        if (!ep || (ep->prefer & KIND_BIT(m->kind)) || (!ep->prefer && !i)) {
            buf_puts(out, comma);
            json_put_str(out, m->name, strlen(m->name));
            comma = ",";
        }
        registry_release(models, m);
    }
}

static void put_parameters(struct buf *out, const struct route *r, const struct facts *f, bool named)
{
    if (named) {
        buf_puts(out,
                 ",\"parameters\":[{\"name\":\"model\",\"in\":\"path\",\"required\":true,\"description\":\"a loaded "
                 "model\",\"schema\":{\"type\":\"string\",\"enum\":[");
        put_names(out, f->models, r->endpoints[0]);
        buf_puts(out, "]}}]");
    } else if (strchr(r->path, '*')) {
        buf_puts(out, ",\"parameters\":[{\"name\":\"name\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":"
                      "\"string\",\"minLength\":1}}]");
    }
}

/* named: below /models/{model}. */
static void put_operation(struct buf *out, const struct route *r, const struct facts *f, bool named)
{
    const char *method = !strcmp(r->method, "GET") ? "get" : !strcmp(r->method, "POST") ? "post" : "delete";
    const char *prefix = named ? "model_" : "";
    const struct endpoint *usual =
        NULL; /* of those that the path takes, the one without a mark: no other path has it */
    for (int i = 0; i < ROUTE_ENDPOINTS && r->endpoints[i]; i++)
        usual = r->endpoints[i];
    buf_printf(out, "\"%s\":{", method);
    if (usual)
        put_summary(out, prefix, usual->name, usual->summary);
    else
        put_summary(out, prefix, r->name, r->summary);
    put_parameters(out, r, f, named);
    if (!strcmp(r->method, "POST"))
        put_bodies(out, r, f->first);
    put_answers(out, r);
    bool needs_key = r->flags & ROUTE_ADMIN || (f->keys && !(r->flags & ROUTE_PUBLIC));
    buf_puts(out, needs_key ? ",\"security\":[{\"key\":[]}]}" : ",\"security\":[]}");
}

static bool seen_before(int i)
{
    for (int k = 0; k < i; k++)
        if (!strcmp(routes[k].path, routes[i].path))
            return true;
    return false;
}

static void put_path(struct buf *out, int first, const struct facts *f, bool named)
{
    const char *comma = "", *star = strchr(routes[first].path, '*');
    buf_printf(out, "\"%s%.*s%s\":{", named ? "/models/{model}" : "",
               (int)(star ? (size_t)(star - routes[first].path) : strlen(routes[first].path)), routes[first].path,
               star ? "{name}" : "");
    for (int i = first; i < route_count; i++) {
        if (routes[i].flags & ROUTE_HIDDEN || strcmp(routes[i].path, routes[first].path))
            continue;
        buf_puts(out, comma);
        put_operation(out, &routes[i], f, named);
        comma = ",";
    }
    buf_putc(out, '}');
}

/* Routes whose bodies have no field for the model. What the natural route takes depends on it: no schema can say that.
 */
static bool takes_prefix(const struct route *r)
{
    return (r->flags & ROUTE_STRICT && !r->natural) || r->handle == page_info;
}

/* The mask token as a pattern: the word that is one token. */
static const char *mask_of(const struct model *m)
{
    static const char *const words[][2] = { { "<mask>", "<mask>" }, { "[MASK]", "\\\\[MASK\\\\]" } };
    for (int i = 0; m->kind == KIND_FILL_MASK && i < 2; i++) {
        rkf_input in = { .text = { words[i][0], strlen(words[i][0]) } };
        rkf_request rq = RKF_REQUEST_INIT;
        rkf_result *r = NULL;
        rq.inputs = &in;
        rq.n_inputs = 1;
        rq.prompt = RKF_STR("");
        bool one = !rkf_tokenize(m->handle, &rq, false, &r, NULL) && rkf_result_tokens(r, 0)->n == 1;
        rkf_result_free(r);
        if (one)
            return words[i][1];
    }
    return ".";
}

/* What the model that answers where none is named allows. */
static void put_body_schema(struct registry *models, const char *devices, const struct endpoint *ep,
                            const struct body *body, struct buf *out)
{
    struct schema_facts facts = {
        .max_dimension = INT32_MAX, .max_id = INT32_MAX, .prompts = "[]", .mask = ".", .devices = devices
    };
    struct model *m = ep ? registry_first(models, ep->prefer, ep->kinds) : NULL;
    yyjson_val *root = m ? yyjson_doc_get_root(m->doc) : NULL, *texts = yyjson_obj_get(root, "prompts"), *key, *value;
    struct buf prompts;
    size_t i, n;
    buf_init(&prompts, 1 << 20);
    buf_putc(&prompts, '[');
    if (texts)
        yyjson_obj_foreach(texts, i, n, key, value)
        {
            if (i)
                buf_putc(&prompts, ',');
            json_put_str(&prompts, yyjson_get_str(key), yyjson_get_len(key));
        }
    buf_putc(&prompts, ']');
    if (m && m->dimension)
        facts.max_dimension = m->dimension;
    if (m && yyjson_get_sint(yyjson_obj_get(root, "vocab_size")) > 0)
        facts.max_id = yyjson_get_sint(yyjson_obj_get(root, "vocab_size")) - 1;
    if (m)
        facts.mask = mask_of(m);
    if (!prompts.failed)
        facts.prompts = prompts.p;
    body_write_schema(body, &facts, out);
    buf_free(&prompts);
    registry_release(models, m);
}

static void put_schemas(struct registry *models, const char *devices, struct buf *out)
{
    const char *comma = "";
    for (int i = 0; i < route_count; i++) {
        if (routes[i].flags & ROUTE_HIDDEN)
            continue;
        for (int k = 0; k <= ROUTE_ENDPOINTS; k++) {
            const struct endpoint *ep = k < ROUTE_ENDPOINTS ? routes[i].endpoints[k] : NULL;
            const struct body *body = ep ? ep->body : k == ROUTE_ENDPOINTS ? routes[i].body : NULL;
            char key[80];
            if (!body)
                continue;
            snprintf(key, sizeof key, "\"%s\":{", body->name);
            if (out->p && memmem(out->p, out->len, key, strlen(key)))
                continue; /* another path's too */
            buf_printf(out, "%s\"%s\":", comma, body->name);
            put_body_schema(models, devices, ep, body, out);
            comma = ",";
        }
    }
}

static bool has_model(struct registry *models, const struct endpoint *ep)
{
    struct model *m = ep && ep->prefer ? registry_first(models, ep->prefer, ep->prefer) : registry_at(models, 0);
    registry_release(models, m);
    return m != NULL;
}

void openapi_write(struct registry *models, bool keys, const char *devices, struct buf *out)
{
    struct model *first = registry_at(models, 0);
    const struct facts f = { models, first, keys };
    const char *comma = "";
    buf_printf(
        out,
        "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"rkformer\",\"version\":\"%s\",\"description\":\"Every route "
        "also takes the prefix /models/NAME; it is listed where no field names the model.\"},\"paths\":{",
        rkf_version());
    for (int i = 0; i < route_count; i++) {
        if (routes[i].flags & ROUTE_HIDDEN || seen_before(i))
            continue;
        buf_puts(out, comma);
        put_path(out, i, &f, false);
        comma = ",";
        if (takes_prefix(&routes[i]) && has_model(models, routes[i].endpoints[0])) {
            buf_putc(out, ',');
            put_path(out, i, &f, true);
        }
    }
    buf_puts(out, "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},"
                  "\"schemas\":{");
    put_schemas(models, devices, out);
    buf_puts(out, "}}}");
    registry_release(models, first);
}
