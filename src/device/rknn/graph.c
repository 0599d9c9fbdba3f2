/* SPDX-License-Identifier: Apache-2.0 */
/* The body over .rknn files: which file takes which sequence, runs, predicted costs. */
#include "device/rknn/graph.h"

#include <string.h>

static struct graph_body *graph_of(const struct body *b)
{
    return (struct graph_body *)b;
}

void graph_hold(struct graph_body *g)
{
    atomic_fetch_add_explicit(&g->holders, 1, memory_order_relaxed);
}

static void body_free(struct graph_body *g)
{
    struct rknn_device *d = g->d;
    for (uint32_t i = 0; i < g->n_files; i++)
        graph_file_close(&g->files[i]);
    mem_free(g->files);
    pthread_cond_destroy(&g->loaded);
    pthread_mutex_destroy(&g->mutex);
    mem_free(g);
    rknn_drop(d);
}

void graph_drop(struct graph_body *g)
{
    if (atomic_fetch_sub_explicit(&g->holders, 1, memory_order_acq_rel) == 1)
        body_free(g);
}

/* ---- choosing files */

static uint32_t longest(const struct graph_body *g)
{
    return g->n_files ? g->files[g->n_files - 1].length : 0;
}

/* The shortest length that holds the sequence; 0: none. */
static uint32_t length_for(const struct graph_body *g, uint32_t tokens)
{
    for (uint32_t i = 0; i < g->n_files; i++)
        if (g->files[i].length >= tokens)
            return g->files[i].length;
    return 0;
}

/* For n sequences of one length: the largest batch that they fill, else the smallest. */
static struct graph_file *file_for(struct graph_body *g, uint32_t length, uint32_t n)
{
    struct graph_file *best = NULL;
    for (uint32_t i = 0; i < g->n_files; i++) { /* by batch within a length; of equals the first is preferred */
        struct graph_file *f = &g->files[i];
        if (f->length == length && (!best || (f->seqs <= n && f->seqs > best->seqs)))
            best = f;
    }
    return best;
}

/* Calls fn for each run that a batch needs: a file and its sequences. Returns what fn returned first. */
struct part {
    struct graph_file *file;
    const uint32_t *seqs;
    uint32_t n;
};
typedef rkf_status part_fn(void *arg, const struct part *p, rkf_error *err);

static rkf_status each_part(struct graph_body *g, const uint32_t *lengths, uint32_t n, uint32_t *order, part_fn *fn,
                            void *arg, rkf_error *err)
{
    for (uint32_t f = 0; f < g->n_files; f++) {
        uint32_t length = g->files[f].length, count = 0;
        if (f && g->files[f - 1].length == length)
            continue;
        for (uint32_t i = 0; i < n; i++)
            if (length_for(g, lengths[i]) == length)
                order[count++] = i;
        for (uint32_t at = 0; at < count;) {
            struct graph_file *file = file_for(g, length, count - at);
            uint32_t take = count - at < file->seqs ? count - at : file->seqs;
            struct part p = { file, order + at, take };
            rkf_status rc = fn(arg, &p, err);
            if (rc)
                return rc;
            at += take;
        }
    }
    return RKF_OK;
}

/* ---- running */

struct graph_run {
    struct graph_body *g;
    struct exec *x;
    const struct batch *batch;
    struct rows out;
};

static rkf_status make_rows(struct graph_run *r, const struct graph_io *io, rkf_error *err)
{
    struct rows *o = &r->out;
    if (o->data) {
        if (o->kind != io->kind || o->cols != io->cols || o->per_token != io->per_token)
            return rkf_fail(err, RKF_UNSUPPORTED,
                            "the .rknn files of this model have different outputs: choose one with "
                            "--file-name");
        return RKF_OK;
    }
    *o = (struct rows){ .kind = io->kind,
                        .rows = io->per_token ? r->batch->n_tokens : r->batch->n_seqs,
                        .cols = io->cols,
                        .per_token = io->per_token };
    o->data = arena_array(&r->x->scratch, (size_t)o->rows * o->cols, sizeof(float));
    return o->data ? RKF_OK : rkf_fail_memory(err, (size_t)o->rows * o->cols * sizeof(float), "a model's output");
}

static void learn(struct graph_file *f, uint8_t cores, int64_t took_ns)
{
    _Atomic uint32_t *usual = &f->usual_us[__builtin_popcount(cores) - 1];
    uint32_t us = (uint32_t)(took_ns / 1000) + 1, old = atomic_load_explicit(usual, memory_order_relaxed);
    atomic_store_explicit(usual, old ? (uint32_t)((3ull * old + us) / 4) : us, memory_order_relaxed);
}

/* Runs the context on the worker of its lowest core. */
static rkf_status run_context(struct graph_run *r, struct graph_context *c, bool *broken, rkf_error *err)
{
    struct graph_file *f = c->file;
    struct exec *x = r->x;
    struct worker *w = &r->g->d->core[__builtin_ctz(c->cores)];
    uint32_t usual = atomic_load_explicit(&f->usual_us[__builtin_popcount(c->cores) - 1], memory_order_relaxed);
    bool hung;
    c->call.usual_ns = (int64_t)usual * 1000;
    rkf_status rc = worker_submit(w, &c->call, err);
    if (rc) {
        x->cores_failed |= rc == RKF_DEVICE ? c->cores : 0;
        return rc;
    }
    rc = worker_wait(w, &c->call, x->deadline_ns, &hung, err);
    if (rc) {
        x->cores_failed |= hung ? c->cores : 0;
        *broken = true;
        return rc;
    }
    if (c->result) {
        x->cores_failed |= c->blame ? c->cores : 0;
        *broken = true;
        return rknn_fail(err, c->result, "%s of %s on NPU core mask %s", c->step, f->name, core_set_name(c->cores));
    }
    learn(f, c->cores, c->took_ns);
    x->cores_used |= f->single_core ? (uint8_t)(c->cores & -c->cores) : c->cores;
    return RKF_OK;
}

static rkf_status run_part(void *arg, const struct part *p, rkf_error *err)
{
    struct graph_run *r = arg;
    struct exec *x = r->x;
    struct graph_context *c;
    uint8_t cores = x->cores ? x->cores : 1;
    bool broken = false;
    rkf_status rc = graph_file_load(p->file, x->deadline_ns, err);
    if (!rc)
        rc = make_rows(r, &p->file->io, err);
    if (!rc)
        rc = graph_acquire(p->file, cores, x->deadline_ns, &c, err);
    if (rc)
        return rc;
    rc = graph_fill(&p->file->io, r->batch, p->seqs, p->n, r->g->pad_id, c->inputs, err);
    if (!rc)
        rc = run_context(r, c, &broken, err);
    if (!rc)
        graph_collect(&p->file->io, r->batch, p->seqs, p->n, c->outputs, r->out.data);
    graph_release(c, broken);
    return rc;
}

static rkf_status graph_run(struct body *base, struct exec *x, const struct batch *batch, struct rows *out,
                            rkf_error *err)
{
    struct graph_run r = { .g = graph_of(base), .x = x, .batch = batch };
    uint32_t n = batch->n_seqs;
    uint32_t *lengths = arena_array(&x->scratch, 2 * (size_t)n + 1, sizeof *lengths);
    if (!lengths)
        return rkf_fail_memory(err, 2 * n * sizeof *lengths, "a batch");
    for (uint32_t i = 0; i < n; i++) {
        lengths[i] = batch->cu_lens[i + 1] - batch->cu_lens[i];
        if (lengths[i] > longest(r.g))
            return rkf_fail(err, RKF_TOO_LONG, "a text of %u tokens does not fit into the longest .rknn file, of %u",
                            lengths[i], longest(r.g));
    }
    rkf_status rc = each_part(r.g, lengths, n, lengths + n, run_part, &r, err);
    if (!rc)
        *out = r.out;
    return rc;
}

/* ---- what is known beforehand */

static struct body_limits graph_limits(const struct body *base)
{
    const struct graph_body *g = graph_of(base);
    struct body_limits l = { .max_tokens = longest(g) };
    for (uint32_t i = 0; i < g->n_files; i++) {
        l.batch_seqs = g->files[i].seqs > l.batch_seqs ? g->files[i].seqs : l.batch_seqs;
        l.bytes += (size_t)g->files[i].info->header.body_len;
    }
    return l;
}

struct cost {
    uint32_t n_cores;
    uint64_t us;
    bool unknown;
};

static rkf_status add_cost(void *arg, const struct part *p, rkf_error *err)
{
    struct cost *c = arg;
    (void)err;
    uint32_t us = atomic_load_explicit(&p->file->usual_us[c->n_cores - 1], memory_order_relaxed);
    c->us += us;
    c->unknown |= us == 0;
    return RKF_OK;
}

static uint32_t graph_cost_us(const struct body *base, uint32_t n_cores, const uint32_t *lengths, uint32_t n)
{
    struct cost c = { .n_cores = n_cores < 1 ? 1 : n_cores > NPU_MAX_CORES ? NPU_MAX_CORES : n_cores };
    uint32_t order[256];
    if (n > 256 || each_part(graph_of(base), lengths, n, order, add_cost, &c, NULL) || c.unknown)
        return 0;
    return c.us < UINT32_MAX ? (uint32_t)c.us : UINT32_MAX;
}

static void graph_body_release(struct body *base)
{
    if (!base)
        return;
    struct graph_body *g = graph_of(base);
    for (uint32_t i = 0; i < g->n_files; i++)
        while (g->files[i].contexts)
            graph_release(g->files[i].contexts, true);
    graph_drop(g);
}

static const struct body_ops graph_ops = {
    .limits = graph_limits,
    .cost_us = graph_cost_us,
    .run = graph_run,
    .release = graph_body_release,
};

rkf_status rknn_body_create(struct device *base, const struct model_dir *m, const struct rknn_body_options *o,
                            struct body **out, rkf_error *err)
{
    static const struct rknn_body_options none = { 0 };
    struct rknn_device *d = rknn_of(base);
    struct graph_body *g = mem_zalloc(1, sizeof *g);
    if (!g)
        return rkf_fail_memory(err, sizeof *g, "a model");
    g->base = (struct body){ &graph_ops, base };
    g->d = d;
    rknn_hold(d);
    atomic_init(&g->holders, 1);
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->loaded, NULL);
    g->pad_id = m->spec.pad_id > 0 ? m->spec.pad_id : 0;
    g->head = m->spec.head;
    g->hidden = m->spec.hidden_size;
    rkf_status rc = graph_files_open(g, m, o ? o : &none, err);
    if (!rc)
        rc = graph_file_load(&g->files[0], 0, err); /* so that what is wrong with it shows now */
    if (rc) {
        graph_drop(g);
        return rc;
    }
    *out = &g->base;
    return RKF_OK;
}
