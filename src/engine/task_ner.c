/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named entities, as transformers' token-classification pipeline makes them: token scores, tokens of a word brought
 * into line (first, average, max), neighbours of one entity grouped. Long texts come as overlapping windows; where the
 * windows' entities overlap the longer one stays, then the one with the higher score.
 */
#include "engine/engine.h"

#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct piece { /* a token, or a word made of several */
    uint32_t label;
    float score;
    int64_t start, end; /* code points of the text */
    uint32_t index;     /* of its first token in the sequence */
    bool subword;
    rkf_str word;        /* in the result's memory */
    const float *scores; // [labels] probabilities; tokens only
};

struct ner { /* one input being worked on */
    struct job *job;
    uint32_t input;
    const char *text;
    uint32_t *byte_of; // [chars + 1] where each code point of the text begins
    uint32_t n_chars;
    rkf_aggregation how;
    char prefix[16];
    bool words; /* the tokenizer marks continued words */
};

static const char *label_name(const struct ner *n, uint32_t label)
{
    const struct model_dir *d = n->job->model->dir;
    return label < d->spec.num_labels && d->labels ? d->labels[label] : "";
}

/* ---- text positions */

static rkf_status index_text(struct ner *n, const struct text *t, rkf_error *err)
{
    n->text = t->p;
    n->n_chars = (uint32_t)utf8_count(t->p, t->len);
    n->byte_of = arena_array(&n->job->mem, (size_t)n->n_chars + 1, sizeof *n->byte_of);
    if (!n->byte_of)
        return rkf_fail_memory(err, (size_t)n->n_chars * 4, "a text's index");
    uint32_t c = 0;
    for (size_t i = 0; i < t->len; i++)
        if (((unsigned char)t->p[i] & 0xc0) != 0x80)
            n->byte_of[c++] = (uint32_t)i;
    n->byte_of[c] = (uint32_t)t->len;
    return RKF_OK;
}

static rkf_str text_span(const struct ner *n, int64_t start, int64_t end)
{
    start = start < 0 ? 0 : start > n->n_chars ? n->n_chars : start;
    end = end < start ? start : end > n->n_chars ? n->n_chars : end;
    return (rkf_str){ n->text + n->byte_of[start], n->byte_of[end] - n->byte_of[start] };
}

/* ---- tokens */

static bool is_subword(const struct ner *n, rkf_str token, rkf_str ref, int64_t start)
{
    if (n->words) /* "##ing" is longer than "ing" */
        return utf8_count(token.ptr, token.len) != utf8_count(ref.ptr, ref.len);
    rkf_str around = text_span(n, start - 1, start + 1);
    return start > 0 && !memchr(around.ptr, ' ', around.len);
}

static rkf_status pieces_of(struct ner *n, struct item *it, struct piece **out, uint32_t *count, rkf_error *err)
{
    const struct tokenizer *t = n->job->model->tokenizer;
    int32_t unk = tokenizer_special_id(t, TOKEN_UNK);
    struct piece *p = arena_array(&n->job->mem, it->n, sizeof *p);
    uint32_t k = 0;
    if (!p)
        return rkf_fail_memory(err, it->n * sizeof *p, "tokens");
    for (uint32_t i = 0; i < it->n && i < it->n_rows; i++) {
        const struct encoding *e = it->seq;
        if (e->special[i])
            continue;
        float *s = it->rows + (size_t)i * it->width, top = s[0];
        uint32_t best = 0;
        double sum = 0;
        for (uint32_t v = 1; v < it->width; v++)
            if (s[v] > top)
                top = s[best = v];
        for (uint32_t v = 0; v < it->width; v++)
            sum += s[v] = expf(s[v] - top);
        for (uint32_t v = 0; v < it->width; v++)
            s[v] = (float)(s[v] / sum);
        const char *token = tokenizer_token(t, e->ids[i]);
        rkf_str word = { token ? token : "", token ? strlen(token) : 0 };
        rkf_str ref = text_span(n, e->offsets[i][0], e->offsets[i][1]);
        bool sub = is_subword(n, word, ref, e->offsets[i][0]);
        if (e->ids[i] == unk) {
            word = ref;
            sub = false;
        }
        p[k++] = (struct piece){ best, s[best], e->offsets[i][0], e->offsets[i][1], i, sub, word, s };
    }
    *out = p;
    *count = k;
    return RKF_OK;
}

/* The text of several pieces, as the tokenizer's decoder joins them. */
static rkf_status join_words(struct ner *n, const struct piece *p, uint32_t count, rkf_str *out, rkf_error *err)
{
    rkf_result *r = n->job->result;
    rkf_str *words = arena_array(&n->job->mem, count, sizeof *words);
    struct buf b;
    buf_init(&b, 64 << 20);
    rkf_status rc = words ? RKF_OK : rkf_fail_memory(err, count * sizeof *words, "words");
    for (uint32_t i = 0; !rc && i < count; i++)
        words[i] = p[i].word;
    if (!rc)
        rc = tokenizer_decode_pieces(n->job->model->tokenizer, words, count, &b, err);
    if (!rc && (b.failed || !result_str(r, b.p ? b.p : "", b.len, out)))
        rc = rkf_fail_memory(err, b.len, "a word");
    buf_free(&b);
    return rc;
}

/* ---- words: tokens of one word agree on one label */

static void word_label(const struct ner *n, const struct piece *p, uint32_t count, uint32_t labels, struct piece *w)
{
    const struct piece *best = p;
    if (n->how == RKF_AGGREGATE_MAX)
        for (uint32_t i = 1; i < count; i++)
            if (p[i].score > best->score)
                best = &p[i];
    w->label = best->label;
    w->score = best->score;
    if (n->how != RKF_AGGREGATE_AVERAGE)
        return;
    w->score = -1;
    for (uint32_t v = 0; v < labels; v++) {
        float sum = 0;
        for (uint32_t i = 0; i < count; i++)
            sum += p[i].scores[v];
        if (sum / (float)count > w->score) {
            w->score = sum / (float)count;
            w->label = v;
        }
    }
}

static rkf_status words_of(struct ner *n, struct piece *p, uint32_t *count, uint32_t labels, rkf_error *err)
{
    uint32_t k = 0;
    for (uint32_t i = 0, next; i < *count; i = next) {
        for (next = i + 1; next < *count && p[next].subword;)
            next++;
        struct piece w = p[i];
        w.end = p[next - 1].end;
        word_label(n, &p[i], next - i, labels, &w);
        rkf_status rc = join_words(n, &p[i], next - i, &w.word, err);
        if (rc)
            return rc;
        p[k++] = w; /* k <= i: what it overwrites has been used */
    }
    *count = k;
    return RKF_OK;
}

/* ---- entities */

static const char *tag_of(const char *label, bool *begins)
{
    *begins = !strncmp(label, "B-", 2);
    return *begins || !strncmp(label, "I-", 2) ? label + 2 : label;
}

static rkf_status add_span(struct ner *n, rkf_span *spans, size_t *k, struct piece first, struct piece last,
                           const char *label, float score, rkf_str word, rkf_error *err)
{
    rkf_result *r = n->job->result;
    int64_t shift = n->job->texts[n->input].prompt_chars;
    rkf_span *s = &spans[*k];
    if (!strcmp(label, "O"))
        return RKF_OK;
    *s = (rkf_span){ .score = score,
                     .index = n->how == RKF_AGGREGATE_NONE ? (int32_t)first.index : -1,
                     .start = first.start > shift ? first.start - shift : 0,
                     .end = last.end > shift ? last.end - shift : 0 };
    if (!result_str(r, label, strlen(label), &s->label) || !result_str(r, word.ptr, word.len, &s->text))
        return rkf_fail_memory(err, word.len, "an entity");
    ++*k;
    return RKF_OK;
}

static rkf_status group(struct ner *n, const struct piece *p, uint32_t count, rkf_span *spans, size_t *k,
                        rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0, next; !rc && i < count; i = next) {
        bool begins;
        const char *tag = tag_of(label_name(n, p[i].label), &begins);
        float sum = p[i].score;
        for (next = i + 1; next < count; next++) {
            const char *other = tag_of(label_name(n, p[next].label), &begins);
            if (begins || strcmp(other, tag) != 0)
                break;
            sum += p[next].score;
        }
        const char *label = label_name(n, p[i].label), *dash = strchr(label, '-');
        rkf_str word = { "", 0 };
        if (strcmp(dash ? dash + 1 : label, "O") != 0)
            rc = join_words(n, &p[i], next - i, &word, err);
        if (!rc)
            rc = add_span(n, spans, k, p[i], p[next - 1], dash ? dash + 1 : label, sum / (float)(next - i), word, err);
    }
    return rc;
}

static int by_start(const void *a, const void *b)
{
    const rkf_span *x = a, *y = b;
    return x->start != y->start ? (x->start < y->start ? -1 : 1) : 0;
}

/* Entities of several windows: of those that overlap the longest stays, then the surest. */
static size_t merge_windows(rkf_span *s, size_t n)
{
    if (!n)
        return 0;
    qsort(s, n, sizeof *s, by_start);
    size_t k = 0;
    rkf_span last = s[0];
    for (size_t i = 1; i < n; i++) {
        if (last.start <= s[i].start && s[i].start < last.end) {
            int64_t len = s[i].end - s[i].start, have = last.end - last.start;
            if (len > have || (len == have && s[i].score > last.score))
                last = s[i];
        } else {
            s[k++] = last;
            last = s[i];
        }
    }
    s[k++] = last;
    return k;
}

static rkf_status ner_input(struct ner *n, uint32_t first, uint32_t items, rkf_error *err)
{
    struct job *job = n->job;
    struct result_item *out = &job->result->item[n->input];
    size_t most = 0;
    for (uint32_t i = 0; i < items; i++)
        most += job->items[first + i].n;
    out->spans = arena_array(&job->result->mem, most, sizeof *out->spans);
    if (!out->spans)
        return rkf_fail_memory(err, most * sizeof *out->spans, "entities");
    rkf_status rc = index_text(n, &job->texts[n->input], err);
    for (uint32_t i = 0; !rc && i < items; i++) {
        struct piece *p = NULL;
        uint32_t count = 0;
        struct item *it = &job->items[first + i];
        rc = pieces_of(n, it, &p, &count, err);
        if (!rc && n->how > RKF_AGGREGATE_NONE)
            rc = words_of(n, p, &count, it->width, err);
        for (uint32_t k = 0; !rc && n->how == RKF_AGGREGATE_NONE && k < count; k++)
            rc = add_span(n, out->spans, &out->n, p[k], p[k], label_name(n, p[k].label), p[k].score, p[k].word, err);
        if (!rc && n->how != RKF_AGGREGATE_NONE)
            rc = group(n, p, count, out->spans, &out->n, err);
    }
    if (!rc && items > 1)
        out->n = merge_windows(out->spans, out->n);
    return rc;
}

rkf_status ner_finish(struct job *job, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0, next; !rc && i < job->n_items; i = next) {
        struct ner n = { .job = job, .input = job->items[i].input, .how = job->rq.aggregation };
        if (!job->items[i].seq)
            return rkf_fail(err, RKF_INVALID, "ner needs text, not token ids");
        n.words = tokenizer_is_wordpiece(job->model->tokenizer, n.prefix) && n.prefix[0];
        for (next = i + 1; next < job->n_items && job->items[next].input == n.input;)
            next++;
        rc = ner_input(&n, i, next - i, err);
    }
    return rc;
}
