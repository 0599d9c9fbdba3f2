/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of a tokenizer's model: token <-> id, and a radix tree over the tokens for longest and common
 * prefixes.
 *
 * Tokens are byte strings (they may hold NULs) in one blob, each followed by a NUL. Several tokens may share an id; a
 * token given twice keeps the id given last, as `tokenizers` does. Ids may have gaps, but no enormous ones.
 */
#ifndef RKF_TOKENIZER_VOCAB_H
#define RKF_TOKENIZER_VOCAB_H

#include "base/status.h"

struct vocab_entry {
    uint32_t off, len; /* bytes in the blob */
    uint32_t hash;
    int32_t id;
};

struct vocab {
    char *blob;
    size_t blob_len, blob_cap;
    struct vocab_entry *entries;
    uint32_t n, cap;
    uint32_t *slots; /* open addressing: entry + 1, 0: free */
    uint32_t mask;
    uint64_t seed;
    uint32_t *by_id; /* [n_ids] entry + 1, 0: no such id; made by vocab_index_ids */
    uint32_t n_ids;
};

/* Room for n tokens of `bytes` bytes together. */
rkf_status vocab_init(struct vocab *v, size_t n, size_t bytes, rkf_error *err) MUST_CHECK;
void vocab_free(struct vocab *v);
/* Within the room given to vocab_init. A known token gets the new id. Returns its entry. */
uint32_t vocab_put(struct vocab *v, const char *s, size_t len, int32_t id);
int32_t vocab_find(const struct vocab *v, const char *s, size_t len); /* id; -1: none */
rkf_status vocab_index_ids(struct vocab *v, rkf_error *err) MUST_CHECK;
/* The token of an id, NUL-terminated; NULL: none. */
const char *vocab_token(const struct vocab *v, int32_t id, size_t *len);

/*
 * A radix tree. A node is reached with a byte (its label) and then wants `skip` more bytes, which are
 * blob[off .. off + skip). Children of a node are neighbours, in ascending order of labels.
 */
struct trie_node {
    uint32_t off, skip;
    uint32_t child;   /* first child */
    uint16_t n_child; /* 0 to 256 */
    int32_t id;       /* of the token that ends here, -1: none */
};
struct trie {
    struct trie_node *nodes;
    uint8_t *labels; /* [n_nodes] */
    uint32_t n;
    const char *blob; /* the vocabulary's */
};
/* A place in the tree: in node, with `at` of its skip bytes consumed. */
struct trie_pos {
    uint32_t node, at;
};

rkf_status trie_build(struct trie *t, const struct vocab *v, rkf_error *err) MUST_CHECK;
void trie_free(struct trie *t);
/* Moves *pos along s[0..len); false if the tree does not go there. */
bool trie_walk(const struct trie *t, struct trie_pos *pos, const char *s, size_t len);
/* Longest token that begins at pos and is a prefix of s[0..len), of at least one byte: its length; 0: none. */
size_t trie_longest(const struct trie *t, struct trie_pos pos, const char *s, size_t len, int32_t *id);

uint32_t hash_bytes(uint64_t seed, const char *s, size_t len);

/* Child of node n with that label; 0 (the root is nobody's child): none. */
static inline uint32_t trie_child(const struct trie *t, const struct trie_node *n, uint8_t label)
{
    uint32_t lo = n->child, count = n->n_child;
    while (count > 4) { /* binary until a few are left */
        uint32_t half = count / 2;
        if (t->labels[lo + half] <= label) {
            lo += half;
            count -= half;
        } else {
            count = half;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        if (t->labels[lo + i] == label)
            return lo + i;
    return 0;
}

#endif
