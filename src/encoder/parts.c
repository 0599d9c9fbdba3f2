/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch in parts: each thread takes whole sequences through the whole model by itself, so that threads never wait for
 * each other between two steps of a layer. Sequences are dealt out by their work, the largest first, each to the part
 * that has the least. Where that leaves a part with too much (few sequences, or one long one) the batch is run by all
 * threads together instead, step by step; so it is where the threads' CPUs are not alike, as small pieces even that
 * out.
 *
 *   batch  | s0   | s1 | s2     | s3 |      part 0: s2 s1    part 1: s0 s3
 *
 * Each part has an exec without a team and an arena of its own; its rows are copied to where the batch has them.
 */
#include "encoder/body.h"

#include <stdlib.h>
#include <string.h>

enum {
    MIN_TOKENS = 64,  /* of a part: with fewer, reading the weights is the cost, which threads together do once */
    MAX_TOKENS = 512, /* of a part, about: its activations stay in the thread's second cache */
    SLACK = 16,       /* a part may have 1/16 more than its share */
};

struct part {
    struct exec x;
    struct batch b;
    uint64_t work;
    uint32_t *seq; // [b.n_seqs] the batch's numbers of its sequences, rising
    struct rows rows;
    rkf_status rc;
    rkf_error err;
};

struct parts_job {
    const struct encoder *e;
    const struct batch *b;
    struct part *parts; // [n]
    uint32_t n;
    float *out; // [b->n_tokens or b->n_seqs, hidden]
};

static uint32_t seq_tokens(const struct batch *b, uint32_t i)
{
    return b->cu_lens[i + 1] - b->cu_lens[i];
}

uint32_t parts_wanted(const struct encoder *e, const struct exec *x, const struct batch *b)
{
    uint32_t threads = (uint32_t)team_size(x->team), rounds = 1 + (b->n_tokens - 1) / (threads * MAX_TOKENS);
    if (!e->body.device->splits || x->uneven || threads < 2 || b->n_tokens < threads * MIN_TOKENS)
        return 0;
    return b->n_seqs < threads * rounds ? 0 : threads * rounds;
}

static int by_work(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Which part each sequence goes to; false: too uneven. order [n_seqs] is scratch. */
static bool deal(const struct parts_job *j, uint64_t *order, uint32_t *part_of)
{
    const struct batch *b = j->b;
    uint64_t total = 0, most = 0;
    for (uint32_t i = 0; i < b->n_seqs; i++)
        order[i] = (uint64_t)seq_tokens(b, i) << 32 | i; /* longer is more work */
    qsort(order, b->n_seqs, sizeof *order, by_work);
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        uint32_t seq = (uint32_t)order[i], tokens = seq_tokens(b, seq), least = 0;
        for (uint32_t p = 1; p < j->n; p++)
            if (j->parts[p].work < j->parts[least].work)
                least = p;
        uint64_t work = encoder_work(&j->e->spec, &tokens, 1);
        struct part *part = &j->parts[least];
        part->work += work;
        part->b.n_seqs++;
        part->b.n_tokens += tokens;
        part_of[seq] = least;
        total += work;
        most = part->work > most ? part->work : most;
    }
    return most <= total / j->n + total / j->n / SLACK;
}

/* The parts' own arrays. part_of [n_seqs] */
static rkf_status fill(struct parts_job *j, struct exec *x, const uint32_t *part_of, rkf_error *err)
{
    const struct batch *b = j->b;
    uint32_t *words = arena_array(&x->scratch, 2 * (size_t)b->n_seqs + j->n, sizeof *words);
    int32_t *ids = arena_array(&x->scratch, b->n_tokens, sizeof *ids);
    uint8_t *types = arena_array(&x->scratch, b->n_tokens, sizeof *types);
    if (!words || !ids || !types)
        return rkf_fail_memory(err, b->n_tokens * sizeof *ids, "the parts of a batch");
    for (uint32_t p = 0; p < j->n; p++) {
        struct part *part = &j->parts[p];
        uint32_t at = 0, n = 0, *cu = words;
        part->seq = words + part->b.n_seqs + 1;
        words = part->seq + part->b.n_seqs;
        for (uint32_t i = 0; i < b->n_seqs; i++)
            if (part_of[i] == p) {
                uint32_t tokens = seq_tokens(b, i);
                memcpy(ids + at, b->ids + b->cu_lens[i], tokens * sizeof *ids);
                if (b->type_ids)
                    memcpy(types + at, b->type_ids + b->cu_lens[i], tokens);
                part->seq[n] = i;
                cu[n++] = at;
                at += tokens;
            }
        cu[n] = at;
        part->b.ids = ids;
        part->b.type_ids = b->type_ids ? types : NULL;
        part->b.cu_lens = cu;
        part->b.first_only = b->first_only;
        ids += at;
        types += at;
    }
    return RKF_OK;
}

static void copy_rows(const struct parts_job *j, const struct part *p)
{
    size_t row = p->rows.cols;
    for (uint32_t i = 0; i < p->b.n_seqs; i++)
        if (p->rows.per_token)
            memcpy(j->out + j->b->cu_lens[p->seq[i]] * row, p->rows.data + p->b.cu_lens[i] * row,
                   seq_tokens(&p->b, i) * row * sizeof *j->out);
        else
            memcpy(j->out + p->seq[i] * row, p->rows.data + i * row, row * sizeof *j->out);
}

static void run_part(void *arg, uint32_t begin, uint32_t end, int thread)
{
    (void)thread;
    const struct parts_job *j = arg;
    for (uint32_t i = begin; i < end; i++) {
        struct part *p = &j->parts[i];
        p->rc = encoder_run_whole(j->e, &p->x, &p->b, &p->rows, &p->err);
        if (!p->rc)
            copy_rows(j, p);
    }
}

/* The arenas belong to x->scratch: what a part has grown goes back to it. */
static rkf_status run_parts(struct parts_job *j, struct exec *x, rkf_error *err)
{
    struct arena *arenas = arena_parts(&x->scratch, j->n);
    if (!arenas)
        return rkf_fail_memory(err, j->n * sizeof *arenas, "the parts of a batch");
    for (uint32_t i = 0; i < j->n; i++) {
        struct exec *own = &j->parts[i].x;
        *own = *x;
        own->team = NULL;
        own->scratch = arenas[i];
    }
    team_for(x->team, j->n, 1, run_part, j);
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; i < j->n; i++) {
        struct part *p = &j->parts[i];
        arenas[i] = p->x.scratch;
        x->device_ns += p->x.device_ns;
        x->stalled_ns += p->x.stalled_ns;
        x->cores_used |= p->x.cores_used;
        x->cores_failed |= p->x.cores_failed;
        if (p->rc && !rc) {
            rc = p->rc;
            if (err)
                *err = p->err;
        }
    }
    return rc;
}

rkf_status encoder_run_parts(const struct encoder *e, struct exec *x, const struct batch *b, uint32_t n_parts,
                             struct rows *out, rkf_error *err)
{
    struct parts_job j = { .e = e, .b = b, .n = n_parts };
    uint32_t rows = b->first_only ? b->n_seqs : b->n_tokens;
    j.parts = arena_array(&x->scratch, n_parts, sizeof *j.parts);
    uint64_t *order = arena_array(&x->scratch, b->n_seqs, sizeof *order);
    uint32_t *part_of = arena_array(&x->scratch, b->n_seqs, sizeof *part_of);
    if (!j.parts || !order || !part_of)
        return rkf_fail_memory(err, b->n_seqs * sizeof *order, "the parts of a batch");
    memset(j.parts, 0, n_parts * sizeof *j.parts);
    if (!deal(&j, order, part_of))
        return encoder_run_whole(e, x, b, out, err);
    j.out = arena_array(&x->scratch, (size_t)rows * e->spec.hidden_size, sizeof *j.out);
    if (!j.out)
        return rkf_fail_memory(err, (size_t)rows * e->spec.hidden_size * sizeof *j.out, "the parts of a batch");
    rkf_status rc = fill(&j, x, part_of, err);
    if (!rc)
        rc = run_parts(&j, x, err);
    if (!rc)
        *out = (struct rows){ BODY_HIDDEN, j.out, rows, e->spec.hidden_size, !b->first_only };
    return rc;
}
