/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the radix tree: sorts the tokens (by their first eight bytes with a radix sort, the rest by comparison), then
 * cuts ranges of the sorted list, breadth first, so that siblings are neighbours. At most two nodes per token. */
#include "base/mem.h"
#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

struct sort_key {
    uint64_t head; /* first eight bytes, big endian, zero padded */
    uint32_t off, len;
    int32_t id;
};

static uint64_t head_of(const char *s, size_t len)
{
    uint64_t h = 0;
    memcpy(&h, s, len < 8 ? len : 8);
    return __builtin_bswap64(h);
}

static int compare_tails(const void *a, const void *b, void *blob)
{
    const struct sort_key *x = a, *y = b;
    int c = memcmp((const char *)blob + x->off, (const char *)blob + y->off, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* Sorts keys; tmp is as large. The result is in keys. */
static void sort_keys(struct sort_key *keys, struct sort_key *tmp, uint32_t n, char *blob)
{
    for (int shift = 0; shift < 64; shift += 8) {
        uint32_t count[257] = { 0 };
        for (uint32_t i = 0; i < n; i++)
            count[(keys[i].head >> shift & 255) + 1]++;
        for (int i = 0; i < 256; i++)
            count[i + 1] += count[i];
        for (uint32_t i = 0; i < n; i++)
            tmp[count[keys[i].head >> shift & 255]++] = keys[i];
        struct sort_key *swap = keys;
        keys = tmp;
        tmp = swap;
    } /* an even number of passes: keys is the caller's again */
    for (uint32_t i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && keys[j].head == keys[i].head; j++)
            ;
        if (j - i > 1)
            qsort_r(keys + i, j - i, sizeof *keys, compare_tails, blob);
    }
}

struct range {
    uint32_t lo, hi; /* keys of this node */
    uint32_t depth;  /* bytes already consumed, label included */
};

/* Fills node `me` for keys [lo, hi) and appends its children; returns the new number of nodes. */
static uint32_t cut(struct trie *t, struct range *ranges, const struct sort_key *keys, uint32_t me, uint32_t n)
{
    struct range r = ranges[me];
    const char *first = t->blob + keys[r.lo].off, *last = t->blob + keys[r.hi - 1].off;
    uint32_t end = keys[r.lo].len < keys[r.hi - 1].len ? keys[r.lo].len : keys[r.hi - 1].len, d = r.depth;
    while (me && d < end && first[d] == last[d]) /* the root skips nothing: a place in it is a place between tokens */
        d++;
    struct trie_node *node = &t->nodes[me];
    *node = (struct trie_node){ .off = keys[r.lo].off + r.depth, .skip = d - r.depth, .child = n, .id = -1 };
    uint32_t i = r.lo;
    if (keys[i].len == d)
        node->id = keys[i++].id;
    while (i < r.hi) {
        char label = t->blob[keys[i].off + d];
        uint32_t j = i + 1;
        while (j < r.hi && t->blob[keys[j].off + d] == label)
            j++;
        ranges[n] = (struct range){ i, j, d + 1 };
        t->labels[n++] = (uint8_t)label;
        node->n_child++;
        i = j;
    }
    return n;
}

rkf_status trie_build(struct trie *t, const struct vocab *v, rkf_error *err)
{
    size_t max = 2 * (size_t)v->n + 2;
    struct sort_key *keys = mem_array((size_t)v->n * 2 + 1, sizeof *keys);
    struct range *ranges = mem_array(max, sizeof *ranges);
    *t = (struct trie){ .blob = v->blob, .n = 1 };
    t->nodes = mem_array(max, sizeof *t->nodes);
    t->labels = mem_array(max, 1);
    if (!keys || !ranges || !t->nodes || !t->labels) {
        mem_free(keys);
        mem_free(ranges);
        trie_free(t);
        return rkf_fail_memory(err, max * 56, "the vocabulary's tree");
    }
    for (uint32_t i = 0; i < v->n; i++) {
        const struct vocab_entry *e = &v->entries[i];
        keys[i] = (struct sort_key){ head_of(v->blob + e->off, e->len), e->off, e->len, e->id };
    }
    sort_keys(keys, keys + v->n, v->n, v->blob);
    t->nodes[0] = (struct trie_node){ .id = -1 };
    t->labels[0] = 0;
    ranges[0] = (struct range){ 0, v->n, 0 };
    if (v->n)
        for (uint32_t i = 0; i < t->n; i++)
            t->n = cut(t, ranges, keys, i, t->n);
    mem_free(keys);
    mem_free(ranges);
    return RKF_OK;
}

void trie_free(struct trie *t)
{
    mem_free(t->nodes);
    mem_free(t->labels);
    *t = (struct trie){ 0 };
}

bool trie_walk(const struct trie *t, struct trie_pos *pos, const char *s, size_t len)
{
    struct trie_pos p = *pos;
    for (size_t i = 0; i < len; i++) {
        const struct trie_node *n = &t->nodes[p.node];
        if (p.at < n->skip) {
            if (t->blob[n->off + p.at] != s[i])
                return false;
            p.at++;
            continue;
        }
        p.node = trie_child(t, n, (uint8_t)s[i]);
        if (!p.node)
            return false;
        p.at = 0;
    }
    *pos = p;
    return true;
}

size_t trie_longest(const struct trie *t, struct trie_pos pos, const char *s, size_t len, int32_t *id)
{
    const struct trie_node *n = &t->nodes[pos.node];
    size_t best = 0, i = 0, skip = n->skip - pos.at;
    const char *want = t->blob + n->off + pos.at;
    for (;;) {
        if (skip) {
            if (skip > len - i || memcmp(want, s + i, skip))
                return best;
            i += skip;
        }
        if (n->id >= 0 && i) {
            best = i;
            *id = n->id;
        }
        if (i == len)
            return best;
        uint32_t child = trie_child(t, n, (uint8_t)s[i]);
        if (!child)
            return best;
        i++;
        n = &t->nodes[child];
        skip = n->skip;
        want = t->blob + n->off;
    }
}
