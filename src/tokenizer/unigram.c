/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: the best path through all tokens that fit, by sum of scores; unknown characters cost ten more than the worst
 * token and are told together. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct unigram {
    double *scores; /* [n] by id */
    double unk_score;
    bool byte_fallback;
    int32_t fallback[256]; /* id of <0x..>, -1: none */
};

struct unigram_node { /* the best path that ends before a byte */
    double score;
    int32_t from; /* where its last token begins, -1: no path yet */
    int32_t id;
};

static inline void offer(struct unigram_node *node, double score, size_t from, int32_t id)
{
    if (node->from < 0 || score > node->score)
        *node = (struct unigram_node){ score, (int32_t)from, id };
}

/* All tokens that begin at p[at]; returns whether one of them is exactly the first character. */
static bool offer_tokens(const struct model *m, struct unigram_node *nodes, const char *p, size_t n, size_t at)
{
    const struct trie *t = &m->trie;
    const struct trie_node *node = &t->nodes[0];
    double score = nodes[at].score;
    uint32_t width = utf8_width(p[at]);
    bool single = false;
    for (size_t i = at; i < n;) {
        uint32_t child = trie_child(t, node, (uint8_t)p[i]);
        if (!child)
            break;
        node = &t->nodes[child];
        i++;
        if (node->skip) {
            if (node->skip > n - i || memcmp(t->blob + node->off, p + i, node->skip) != 0)
                break;
            i += node->skip;
        }
        if (node->id >= 0) {
            offer(&nodes[i], m->unigram->scores[node->id] + score, at, node->id);
            single |= i - at == width;
        }
    }
    return single;
}

/* Adds the tokens for p[begin..end), of which nobody knows an id. */
static rkf_status add_unknown(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t begin,
                              size_t end, rkf_error *err)
{
    const struct unigram *u = m->unigram;
    int32_t id = vocab_find(&m->vocab, p + begin, end - begin); /* several unknown ones may make a known one */
    bool bytes = id < 0 && u->byte_fallback, ok = true;
    for (size_t i = begin; bytes && i < end; i++)
        bytes = u->fallback[(unsigned char)p[i]] >= 0;
    if (!bytes)
        ok = model_add(s, id < 0 ? m->unk : id, begin, end);
    for (size_t i = end; bytes && ok && i-- > begin;) /* backwards, as everything is added */
        ok = model_add(s, u->fallback[(unsigned char)p[i]], begin, end);
    return ok ? RKF_OK : rkf_fail_memory(err, 64, "tokens");
}

static rkf_status backtrack(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n, rkf_error *err)
{
    for (size_t end = n; end > 0;) {
        const struct unigram_node *node = &s->nodes[end];
        size_t begin = (size_t)node->from;
        if (node->id == m->unk) {
            while (begin > 0 && s->nodes[begin].id == m->unk)
                begin = (size_t)s->nodes[begin].from;
            rkf_status rc = add_unknown(m, s, p, begin, end, err);
            if (rc)
                return rc;
        } else if (!model_add(s, node->id, begin, end)) {
            return rkf_fail_memory(err, 64, "tokens");
        }
        end = begin;
    }
    for (size_t i = 0, j = s->model.n; i + 1 < j; i++) {
        struct model_token swap = s->model.p[i];
        s->model.p[i] = s->model.p[--j];
        s->model.p[j] = swap;
    }
    return RKF_OK;
}

rkf_status unigram_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n, rkf_error *err)
{
    if (n > INT32_MAX - 1 || !scratch_room(&s->nodes, &s->nodes_cap, n + 1, sizeof *s->nodes))
        return rkf_fail_memory(err, n * sizeof *s->nodes, "tokens");
    struct unigram_node *nodes = s->nodes;
    for (size_t i = 0; i <= n; i++)
        nodes[i] = (struct unigram_node){ 0, -1, -2 };
    for (size_t at = 0; at < n; at += utf8_width(p[at])) {
        if (offer_tokens(m, nodes, p, n, at))
            continue;
        double score = m->unigram->unk_score + nodes[at].score;
        struct unigram_node *node = &nodes[at + utf8_width(p[at])];
        if (m->unk < 0 && (node->from < 0 || score > node->score))
            return rkf_fail(err, RKF_FORMAT,
                            "the text has an unknown character, and the vocabulary has no unknown token");
        offer(node, score, at, m->unk);
    }
    return backtrack(m, s, p, n, err);
}

/* ---- loading */

static rkf_status read_vocab(struct model *m, yyjson_val *list, rkf_error *err)
{
    size_t i, n, bytes = 0;
    yyjson_val *v;
    double lowest = INFINITY;
    yyjson_arr_foreach(list, i, n, v)
    {
        if (!yyjson_is_arr(v) || yyjson_arr_size(v) != 2 || !yyjson_is_str(yyjson_arr_get_first(v)) ||
            !yyjson_is_num(yyjson_arr_get(v, 1)))
            return rkf_fail(err, RKF_FORMAT, "tokenizer.json: token %zu of the vocabulary is not a string and a score",
                            i);
        bytes += yyjson_get_len(yyjson_arr_get_first(v));
    }
    m->size = (uint32_t)yyjson_arr_size(list);
    rkf_status rc = vocab_init(&m->vocab, yyjson_arr_size(list), bytes, err);
    if (rc)
        return rc;
    m->unigram->scores = mem_array(yyjson_arr_size(list), sizeof *m->unigram->scores);
    if (!m->unigram->scores)
        return rkf_fail_memory(err, yyjson_arr_size(list) * sizeof *m->unigram->scores, "scores");
    yyjson_arr_foreach(list, i, n, v)
    {
        yyjson_val *token = yyjson_arr_get_first(v);
        double score = yyjson_get_num(yyjson_arr_get(v, 1));
        vocab_put(&m->vocab, yyjson_get_str(token), yyjson_get_len(token), (int32_t)i);
        m->unigram->scores[i] = score;
        if (score < lowest)
            lowest = score;
    }
    m->unigram->unk_score = lowest - 10.0;
    return vocab_index_ids(&m->vocab, err);
}

/* A token that is there twice has the later id, but the earlier one still means it. */
static void index_repeated(struct model *m, yyjson_val *list)
{
    size_t i, n;
    yyjson_val *v;
    if (m->vocab.n == m->size)
        return;
    yyjson_arr_foreach(list, i, n, v)
    {
        yyjson_val *token = yyjson_arr_get_first(v);
        if (i >= m->vocab.n_ids || m->vocab.by_id[i])
            continue;
        int32_t id = vocab_find(&m->vocab, yyjson_get_str(token), yyjson_get_len(token));
        m->vocab.by_id[i] = m->vocab.by_id[id];
    }
}

rkf_status unigram_load(struct model *m, yyjson_val *v, rkf_error *err)
{
    static const char what[] = "tokenizer.json: Unigram";
    yyjson_val *list = yyjson_obj_get(v, "vocab");
    int64_t unk = -1;
    if (!yyjson_is_arr(list))
        return rkf_fail(err, RKF_FORMAT, "%s has no \"vocab\" of tokens and scores", what);
    rkf_status rc = json_get_int(v, "unk_id", 0, INT32_MAX, &unk, what, err);
    if (rc)
        return rc;
    if (unk >= (int64_t)yyjson_arr_size(list))
        return rkf_fail(err, RKF_FORMAT, "%s: unk_id %lld is not in the vocabulary of %zu tokens", what, (long long)unk,
                        yyjson_arr_size(list));
    m->unk = (int32_t)unk;
    m->unigram = mem_zalloc(1, sizeof *m->unigram);
    if (!m->unigram)
        return rkf_fail_memory(err, sizeof *m->unigram, "the model");
    if ((rc = json_get_bool(v, "byte_fallback", &m->unigram->byte_fallback, what, err)) ||
        (rc = read_vocab(m, list, err)) || (rc = trie_build(&m->trie, &m->vocab, err)))
        return rc;
    index_repeated(m, list);
    for (int i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        m->unigram->fallback[i] = vocab_find(&m->vocab, name, 6);
    }
    return RKF_OK;
}

void unigram_free(struct unigram *u)
{
    if (!u)
        return;
    mem_free(u->scores);
    mem_free(u);
}
