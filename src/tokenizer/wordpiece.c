/* SPDX-License-Identifier: Apache-2.0 */
/* WordPiece: the longest token first, again and again; a word that cannot be covered is unknown as a whole. WordLevel:
 * a word is a token or unknown. */
#include "base/mem.h"
#include "tokenizer/internal.h"

#include <string.h>

bool model_add(struct tokenizer_scratch *s, int32_t id, size_t begin, size_t end)
{
    if (s->model.n == s->model.cap && !scratch_room(&s->model.p, &s->model.cap, s->model.n + 1, sizeof *s->model.p))
        return false;
    s->model.p[s->model.n++] = (struct model_token){ id, (uint32_t)begin, (uint32_t)end };
    return true;
}

rkf_status model_unknown(const struct model *m, struct tokenizer_scratch *s, size_t n, rkf_error *err)
{
    if (m->unk < 0)
        return rkf_fail(err, RKF_FORMAT, "the text has an unknown word, and the vocabulary has no '%s' for it",
                        m->unk_token ? m->unk_token : "unknown token");
    s->model.n = 0;
    return model_add(s, m->unk, 0, n) ? RKF_OK : rkf_fail_memory(err, 64, "tokens");
}

rkf_status wordpiece_prepare(struct model *m, const char *prefix, size_t prefix_len, int64_t max_chars, rkf_error *err)
{
    m->wordpiece.prefix = mem_strndup(prefix, prefix_len);
    if (!m->wordpiece.prefix)
        return rkf_fail_memory(err, prefix_len, "a prefix");
    m->wordpiece.prefix_len = prefix_len;
    m->wordpiece.max_chars = (uint32_t)max_chars;
    rkf_status rc = trie_build(&m->trie, &m->vocab, err);
    if (rc)
        return rc;
    m->wordpiece.inside = (struct trie_pos){ 0, 0 };
    m->wordpiece.has_inside = trie_walk(&m->trie, &m->wordpiece.inside, prefix, prefix_len);
    return RKF_OK;
}

static bool longer_than(const char *p, size_t n, uint32_t max)
{
    if (n <= max)
        return false;
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xc0) != 0x80;
    return chars > max;
}

rkf_status wordpiece_tokenize(const struct model *m, struct tokenizer_scratch *s, const char *p, size_t n,
                              rkf_error *err)
{
    if (m->kind == MODEL_WORDLEVEL) {
        int32_t whole = vocab_find(&m->vocab, p, n);
        if (whole < 0)
            return model_unknown(m, s, n, err);
        return model_add(s, whole, 0, n) ? RKF_OK : rkf_fail_memory(err, 64, "tokens");
    }
    if (longer_than(p, n, m->wordpiece.max_chars))
        return model_unknown(m, s, n, err);
    for (size_t at = 0, len; at < n; at += len) {
        int32_t id = -1;
        struct trie_pos from = at ? m->wordpiece.inside : (struct trie_pos){ 0, 0 };
        len = at && !m->wordpiece.has_inside ? 0 : trie_longest(&m->trie, from, p + at, n - at, &id);
        if (!len)
            return model_unknown(m, s, n, err);
        if (!model_add(s, id, at, at + len))
            return rkf_fail_memory(err, 64, "tokens");
    }
    return RKF_OK;
}
