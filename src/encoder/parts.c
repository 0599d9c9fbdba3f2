/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch in parts: each thread takes whole sequences through the whole model by itself, so that threads never wait for
 * each other between two steps of a layer. Sequences are dealt out by their work, the largest first, each to the share
 * that has the least. What makes the shares uneven is left to a rest that all threads run together, step by step; so is
 * the whole batch where that is cheaper (few sequences, or one long one), and where the threads' CPUs are not alike, as
 * small pieces even that out.
 *
 *   batch  | s0   | s1 | s2   | s3 | s4   |    share 0: s0 s1    share 1: s2 s3    rest: s4
 *
 * A share is run in parts of some hundred tokens, whose activations stay in the thread's own caches; a thread that is
 * done with its share takes parts of the others'. Each thread has an exec without a team and an arena of its own; the
 * rows of a part are copied to where the batch has them.
 */
#include "encoder/body.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIN_TOKENS = 64,      /* of a share: with fewer, reading the weights is the cost, which threads together do once */
    PART_TOKENS = 256,    /* of a part, about: with half of that, reading f32's weights again costs some percent */
    PART_TOKENS_I8 = 128, /* those of int8 are cheap to read, and what leaves the caches weighs more */
    TOGETHER = 12,        /* threads that run together need 1/12 more for the same work */
    START_TOKENS = 8,     /* their work is what one more run costs at least */
};

#define NONE UINT32_MAX

struct part {
    struct batch b;
    uint32_t *seq; // [b.n_seqs] the batch's numbers of its sequences, rising
};

struct share {
    uint64_t work;
    uint32_t n_seqs, n_tokens;
    _Atomic uint32_t next; /* the first of its parts that nobody has taken */
    uint32_t end;          /* of its parts */
};

struct runner { /* a thread's own */
    struct exec x;
    rkf_status rc;
    rkf_error err;
};

struct parts_job {
    const struct encoder *e;
    const struct batch *b;
    uint32_t n;             /* threads */
    struct share *shares;   // [n + 1]; the last is the rest
    uint32_t *share_of;     // [b->n_seqs]
    struct part *parts;     // by share
    struct runner *runners; // [n]
    float *out;             // [b->n_tokens or b->n_seqs, hidden]
};

static uint32_t seq_tokens(const struct batch *b, uint32_t i)
{
    return b->cu_lens[i + 1] - b->cu_lens[i];
}

static uint32_t part_tokens(const struct encoder *e)
{
    return e->sets[0].qkv->type == DTYPE_I8 ? PART_TOKENS_I8 : PART_TOKENS;
}

/* One thread alone gains by parts what its caches hold of them. */
bool parts_wanted(const struct encoder *e, const struct exec *x, const struct batch *b)
{
    uint32_t threads = (uint32_t)team_size(x->team), fewest = threads > 1 ? threads * MIN_TOKENS : 2 * part_tokens(e);
    return e->body.device->splits && !x->uneven && b->n_seqs >= (threads > 1 ? threads : 2) && b->n_tokens >= fewest;
}

/* ---- dealing out */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void move(struct parts_job *j, uint32_t seq, uint32_t to)
{
    uint32_t tokens = seq_tokens(j->b, seq), from = j->share_of[seq];
    uint64_t work = encoder_work(&j->e->spec, &tokens, 1);
    if (from != NONE) {
        j->shares[from].work -= work;
        j->shares[from].n_seqs--;
        j->shares[from].n_tokens -= tokens;
    }
    j->shares[to].work += work;
    j->shares[to].n_seqs++;
    j->shares[to].n_tokens += tokens;
    j->share_of[seq] = to;
}

static uint32_t fullest(const struct parts_job *j)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < j->n; i++)
        found = j->shares[i].work > j->shares[found].work ? i : found;
    return found;
}

static uint32_t emptiest(const struct parts_job *j)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < j->n; i++)
        found = j->shares[i].work < j->shares[found].work ? i : found;
    return found;
}

/* When the last thread will be done. */
static uint64_t time_needed(const struct parts_job *j)
{
    uint32_t tokens = START_TOKENS;
    const struct share *rest = &j->shares[j->n];
    uint64_t start = rest->n_seqs ? encoder_work(&j->e->spec, &tokens, 1) : 0;
    return j->shares[fullest(j)].work + (rest->work + rest->work / TOGETHER) / j->n + start;
}

/* What a sequence was before leave_rest took it. */
struct move {
    uint32_t seq, from;
};

/* The last sequence that the fullest share got goes to the rest, up to n times; moves after which more time would be
 * needed than before are undone. order [n_seqs]: as they were dealt out; moves [n] is scratch. */
static void leave_rest(struct parts_job *j, const uint64_t *order, struct move *moves)
{
    uint64_t least = time_needed(j);
    uint32_t n, keep = 0;
    for (n = 0; n < j->n; n++) {
        uint32_t from = fullest(j), i = j->b->n_seqs;
        while (i && j->share_of[(uint32_t)order[i - 1]] != from)
            i--;
        if (!i)
            break;
        moves[n] = (struct move){ (uint32_t)order[i - 1], from };
        move(j, moves[n].seq, j->n);
        if (time_needed(j) < least) {
            least = time_needed(j);
            keep = n + 1;
        }
    }
    while (n > keep) {
        n--;
        move(j, moves[n].seq, moves[n].from);
    }
}

/* Which share each sequence goes to; false: the threads had better run all of it together. order [n_seqs] and moves [n]
 * are scratch. */
static bool deal(struct parts_job *j, uint64_t *order, struct move *moves)
{
    const struct batch *b = j->b;
    uint64_t total = 0;
    for (uint32_t i = 0; i < b->n_seqs; i++) {
        order[i] = (uint64_t)seq_tokens(b, i) << 32 | i; /* longer is more work */
        j->share_of[i] = NONE;
    }
    qsort(order, b->n_seqs, sizeof *order, by_size);
    for (uint32_t i = 0; i < b->n_seqs; i++)
        move(j, (uint32_t)order[i], emptiest(j));
    for (uint32_t i = 0; i < j->n; i++)
        total += j->shares[i].work;
    leave_rest(j, order, moves);
    return j->shares[emptiest(j)].n_tokens >= MIN_TOKENS && time_needed(j) < (total + total / TOGETHER) / j->n;
}

/* ---- the parts' own arrays */

struct room { /* what is left of them */
    uint32_t *words;
    int32_t *ids;
    uint8_t *types;
};

static uint32_t parts_of(const struct parts_job *j, const struct share *s)
{
    uint32_t tokens = part_tokens(j->e);
    return (s->n_tokens + tokens - 1) / tokens;
}

/* The n sequences seq[] as a part. */
static void fill_part(const struct parts_job *j, uint32_t *seq, uint32_t n, struct room *room, struct part *p)
{
    const struct batch *b = j->b;
    uint32_t at = 0, *cu = room->words;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tokens = seq_tokens(b, seq[i]);
        memcpy(room->ids + at, b->ids + b->cu_lens[seq[i]], tokens * sizeof *room->ids);
        if (b->type_ids)
            memcpy(room->types + at, b->type_ids + b->cu_lens[seq[i]], tokens);
        cu[i] = at;
        at += tokens;
    }
    cu[n] = at;
    *p = (struct part){ .seq = seq,
                        .b = { .n_seqs = n,
                               .n_tokens = at,
                               .ids = room->ids,
                               .type_ids = b->type_ids ? room->types : NULL,
                               .cu_lens = cu,
                               .first_only = b->first_only } };
    room->words += n + 1;
    room->ids += at;
    room->types += at;
}

/* The sequences of a share, seq [n_seqs], become parts of about the same size. Returns how many. */
static uint32_t fill_share(const struct parts_job *j, const struct share *s, uint32_t *seq, uint32_t wanted,
                           struct room *room, struct part *parts)
{
    uint32_t made = 0, begin = 0, tokens = 0;
    for (uint32_t i = 0; i < s->n_seqs; i++) {
        tokens += seq_tokens(j->b, seq[i]);
        if (i + 1 < s->n_seqs && (uint64_t)tokens * wanted < (uint64_t)s->n_tokens * (made + 1))
            continue;
        fill_part(j, seq + begin, i + 1 - begin, room, &parts[made++]);
        begin = i + 1;
    }
    return made;
}

/* The parts of all shares; those of the rest, one or none, are the last. */
static rkf_status fill(struct parts_job *j, struct exec *x, rkf_error *err)
{
    const struct batch *b = j->b;
    uint32_t most = 1, n = 0;
    for (uint32_t i = 0; i < j->n; i++)
        most += parts_of(j, &j->shares[i]);
    j->parts = arena_array(&x->scratch, most, sizeof *j->parts);
    uint32_t *seq = arena_array(&x->scratch, b->n_seqs, sizeof *seq);
    struct room room = { arena_array(&x->scratch, (size_t)b->n_seqs + most, sizeof *room.words),
                         arena_array(&x->scratch, b->n_tokens, sizeof *room.ids),
                         arena_array(&x->scratch, b->n_tokens, sizeof *room.types) };
    if (!j->parts || !seq || !room.words || !room.ids || !room.types)
        return rkf_fail_memory(err, b->n_tokens * sizeof *room.ids, "the parts of a batch");
    for (uint32_t i = 0; i <= j->n; i++) {
        struct share *s = &j->shares[i];
        uint32_t found = 0;
        for (uint32_t k = 0; k < b->n_seqs; k++)
            if (j->share_of[k] == i)
                seq[found++] = k;
        atomic_init(&s->next, n);
        n += fill_share(j, s, seq, i < j->n ? parts_of(j, s) : 1, &room, j->parts + n);
        s->end = n;
        seq += found;
    }
    return RKF_OK;
}

/* ---- running them */

static void copy_rows(const struct parts_job *j, const struct part *p, const struct rows *rows)
{
    size_t row = rows->cols;
    for (uint32_t i = 0; i < p->b.n_seqs; i++)
        if (rows->per_token)
            memcpy(j->out + j->b->cu_lens[p->seq[i]] * row, rows->data + p->b.cu_lens[i] * row,
                   seq_tokens(&p->b, i) * row * sizeof *j->out);
        else
            memcpy(j->out + p->seq[i] * row, rows->data + i * row, row * sizeof *j->out);
}

static rkf_status run_part(const struct parts_job *j, const struct part *p, struct exec *x, rkf_error *err)
{
    struct rows rows;
    struct arena_mark mark = arena_mark(&x->scratch);
    rkf_status rc = encoder_run_whole(j->e, x, &p->b, &rows, err);
    if (!rc)
        copy_rows(j, p, &rows);
    arena_release(&x->scratch, mark);
    return rc;
}

/* A share, then what is left of the others'. After a failure no more parts are run on this thread. */
static void run_share(void *arg, uint32_t begin, uint32_t end, int thread)
{
    const struct parts_job *j = arg;
    struct runner *r = &j->runners[thread];
    for (; begin < end; begin++)
        for (uint32_t i = 0; i < j->n; i++) {
            struct share *s = &j->shares[(begin + i) % j->n];
            while (!r->rc) {
                uint32_t part = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
                if (part >= s->end)
                    break;
                r->rc = run_part(j, &j->parts[part], &r->x, &r->err);
            }
        }
}

/* The arenas belong to x->scratch: what a thread has grown goes back to it. */
static rkf_status run_shares(struct parts_job *j, struct exec *x, rkf_error *err)
{
    struct arena *arenas = arena_parts(&x->scratch, j->n);
    if (!arenas)
        return rkf_fail_memory(err, j->n * sizeof *arenas, "the parts of a batch");
    for (uint32_t i = 0; i < j->n; i++) {
        struct exec *own = &j->runners[i].x;
        *own = *x;
        own->team = NULL;
        own->scratch = arenas[i];
        own->stalled_ns = 0;
    }
    team_for(x->team, j->n, 1, run_share, j);
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; i < j->n; i++) {
        struct runner *r = &j->runners[i];
        arenas[i] = r->x.scratch;
        x->stalled_ns += r->x.stalled_ns;
        x->cores_used |= r->x.cores_used;
        x->cores_failed |= r->x.cores_failed;
        if (r->rc && !rc) {
            rc = r->rc;
            if (err)
                *err = r->err;
        }
    }
    return rc;
}

rkf_status encoder_run_parts(const struct encoder *e, struct exec *x, const struct batch *b, struct rows *out,
                             rkf_error *err)
{
    struct parts_job j = { .e = e, .b = b, .n = (uint32_t)team_size(x->team) };
    uint32_t rows = b->first_only ? b->n_seqs : b->n_tokens;
    j.shares = arena_array(&x->scratch, j.n + 1, sizeof *j.shares);
    j.runners = arena_array(&x->scratch, j.n, sizeof *j.runners);
    j.share_of = arena_array(&x->scratch, b->n_seqs, sizeof *j.share_of);
    uint64_t *order = arena_array(&x->scratch, b->n_seqs, sizeof *order);
    struct move *moves = arena_array(&x->scratch, j.n, sizeof *moves);
    if (!j.shares || !j.runners || !j.share_of || !order || !moves)
        return rkf_fail_memory(err, b->n_seqs * sizeof *order, "the parts of a batch");
    memset(j.shares, 0, (j.n + 1) * sizeof *j.shares);
    memset(j.runners, 0, j.n * sizeof *j.runners);
    if (!deal(&j, order, moves))
        return encoder_run_whole(e, x, b, out, err);
    j.out = arena_array(&x->scratch, (size_t)rows * e->spec.hidden_size, sizeof *j.out);
    if (!j.out)
        return rkf_fail_memory(err, (size_t)rows * e->spec.hidden_size * sizeof *j.out, "the parts of a batch");
    rkf_status rc = fill(&j, x, err);
    if (!rc)
        rc = run_shares(&j, x, err);
    if (!rc && j.shares[j.n].n_seqs)
        rc = run_part(&j, &j.parts[j.shares[j.n].end - 1], x, err);
    if (!rc)
        *out = (struct rows){ BODY_HIDDEN, j.out, rows, e->spec.hidden_size, !b->first_only };
    return rc;
}
