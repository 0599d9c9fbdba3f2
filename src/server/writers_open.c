/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of OpenAI (with Jina's), vLLM, Jina, Cohere and Ollama. */
#include "server/encode.h"
#include "server/writers.h"

#include <string.h>

static bool no_memory(struct api_error *e)
{
    return api_fail(e, FAULT_INTERNAL, "", "out of memory");
}

/* ---- OpenAI */

bool write_openai_embeddings(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    struct arena mem = { 0 };
    struct api_item *items = arena_array(&mem, a->n, sizeof *items);
    if (!items || !quantize_items(a->items, a->n, (enum embed_type)a->req->precision, &mem, items)) {
        arena_free(&mem);
        return no_memory(e);
    }
    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < a->n; i++) {
        buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        put_vector(out, &items[i], a->req->base64);
        buf_putc(out, '}');
    }
    put_key_str(out, "],\"model\":", a->model);
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}", (long long)a->tokens,
               (long long)a->tokens);
    arena_free(&mem);
    return true;
}

static void put_scores(const struct api_answer *a, size_t n, bool cosine, struct buf *out)
{
    put_key_str(out, "{\"id\":", a->id);
    buf_printf(out, ",\"object\":\"list\",\"created\":%lld", (long long)a->created);
    put_key_str(out, ",\"model\":", a->model);
    buf_puts(out, ",\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s{\"index\":%zu,\"object\":\"score\",\"score\":", i ? "," : "", i);
        put_score(out, cosine ? cosine_of(&a->items[i], &a->items[n + i]) : a->items[i].labels[0].score);
        buf_putc(out, '}');
    }
    buf_printf(out, "],\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld,\"completion_tokens\":0}}",
               (long long)a->tokens, (long long)a->tokens);
}

bool write_vllm_score(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_scores(a, a->n, false, out);
    return true;
}

/* Items are all first texts, then all second ones. */
bool write_vllm_cosine(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    put_scores(a, a->n / 2, true, out);
    return true;
}

/* ---- Jina and Cohere */

static bool put_results(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    struct ranked *r = rank_items(a, e);
    if (!r)
        return false;
    size_t n = a->req->top_n < 0 || (size_t)a->req->top_n > a->n ? a->n : (size_t)a->req->top_n;
    buf_puts(out, "\"results\":[");
    for (size_t i = 0; i < n; i++) {
        rkf_str text = a->req->inputs[r[i].index].text;
        buf_printf(out, "%s{\"index\":%zu,\"relevance_score\":", i ? "," : "", r[i].index);
        put_score(out, r[i].score);
        if (a->req->return_text == TRI_YES) {
            buf_puts(out, ",\"document\":{\"text\":");
            json_put_str(out, text.ptr, text.len);
            buf_putc(out, '}');
        }
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
    mem_free(r);
    return true;
}

/* One search unit is a query with up to 100 documents. */
static void put_rerank_meta(const struct api_answer *a, struct buf *out, const char *version)
{
    buf_printf(out,
               ",\"meta\":{\"api_version\":{\"version\":\"%s\",\"is_experimental\":false},\"billed_units\":"
               "{\"search_units\":%zu},\"tokens\":{\"input_tokens\":%lld}}",
               version, (a->n + 99) / 100, (long long)a->tokens);
}

/* The path is Jina's, vLLM's and Cohere v1's: the answer has the fields of all. */
bool write_jina_rerank(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    put_key_str(out, "{\"id\":", a->id);
    put_key_str(out, ",\"object\":\"list\",\"model\":", a->model);
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld},", (long long)a->tokens,
               (long long)a->tokens);
    if (!put_results(a, out, e))
        return false;
    put_rerank_meta(a, out, "1");
    buf_putc(out, '}');
    return true;
}

bool write_cohere_rerank(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    put_key_str(out, "{\"id\":", a->id);
    buf_putc(out, ',');
    if (!put_results(a, out, e))
        return false;
    put_rerank_meta(a, out, "2");
    buf_putc(out, '}');
    return true;
}

static bool put_embeddings(const struct api_answer *a, enum embed_type type, struct buf *out, struct api_error *e)
{
    struct arena mem = { 0 };
    struct api_item *items = arena_array(&mem, a->n, sizeof *items);
    bool ok = items && quantize_items(a->items, a->n, type, &mem, items);
    buf_putc(out, '[');
    for (size_t i = 0; ok && i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        put_vector(out, &items[i], type == EMBED_BASE64);
    }
    buf_putc(out, ']');
    arena_free(&mem);
    return ok || no_memory(e);
}

static bool put_by_type(const struct api_answer *a, uint32_t types, struct buf *out, struct api_error *e)
{
    const char *comma = "";
    buf_putc(out, '{');
    for (int t = 0; t < EMBED_TYPE_COUNT; t++) {
        if (!(types >> t & 1))
            continue;
        buf_printf(out, "%s\"%s\":", comma, embed_type_names[t]);
        if (!put_embeddings(a, (enum embed_type)t, out, e))
            return false;
        comma = ",";
    }
    buf_putc(out, '}');
    return true;
}

static void put_embed_end(const struct api_answer *a, struct buf *out, const char *version)
{
    buf_puts(out, ",\"texts\":[");
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            buf_putc(out, ',');
        json_put_str(out, a->req->inputs[i].text.ptr, a->req->inputs[i].text.len);
    }
    buf_printf(out,
               "],\"meta\":{\"api_version\":{\"version\":\"%s\",\"is_experimental\":false},\"billed_units\":"
               "{\"input_tokens\":%lld}}}",
               version, (long long)a->tokens);
}

bool write_cohere_embed(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    put_key_str(out, "{\"response_type\":\"embeddings_by_type\",\"id\":", a->id);
    buf_puts(out, ",\"embeddings\":");
    if (!put_by_type(a, a->req->types ? a->req->types : 1u << EMBED_FLOAT, out, e))
        return false;
    put_embed_end(a, out, "2");
    return true;
}

bool write_cohere_embed_v1(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    put_key_str(out, "{\"id\":", a->id);
    buf_printf(out,
               ",\"response_type\":\"%s\",\"embeddings\":", a->req->types ? "embeddings_by_type" : "embeddings_floats");
    if (a->req->types ? !put_by_type(a, a->req->types, out, e) : !put_embeddings(a, EMBED_FLOAT, out, e))
        return false;
    put_embed_end(a, out, "1");
    return true;
}

/* ---- Ollama */

bool write_ollama_embed(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    put_key_str(out, "{\"model\":", a->model);
    buf_puts(out, ",\"embeddings\":");
    if (!put_embeddings(a, EMBED_FLOAT, out, e))
        return false;
    buf_printf(out, ",\"total_duration\":%lld,\"load_duration\":0,\"prompt_eval_count\":%lld}",
               (long long)a->total_us * 1000, (long long)a->tokens);
    return true;
}

bool write_ollama_embeddings(const struct api_answer *a, struct buf *out, struct api_error *e)
{
    (void)e;
    buf_puts(out, "{\"embedding\":");
    if (a->n)
        put_vector(out, &a->items[0], false);
    else
        buf_puts(out, "[]");
    buf_putc(out, '}');
    return true;
}
