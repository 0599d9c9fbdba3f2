/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a body: which of them fit, loading, and contexts for sets of cores. All calls into the library are made on
 * the control thread. The first context of a file never runs; those that do are its duplicates, which share its
 * weights, so that one that hangs or fails takes nothing with it.
 */
#include "base/thread.h"
#include "device/rknn/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which files */

static bool starts_int8(const char *dtype)
{
    return dtype && (strncmp(dtype, "w8a8", 4) == 0 || strncmp(dtype, "w4", 2) == 0 || strcmp(dtype, "int8") == 0);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What the header says about inputs: the shape of the token ids. */
static bool sizes_of(const struct rknn_file *info, uint32_t *seqs, uint32_t *length)
{
    const struct rknn_tensor *t = info->header.n_inputs ? &info->header.inputs[0] : NULL;
    uint32_t dims = t ? t->ndim : 0;
    while (dims > 2 && t->shape[dims - 1] == 1)
        dims--;
    if (dims < 2)
        return false;
    uint64_t n = 1;
    for (uint32_t i = 0; i + 1 < dims; i++)
        n *= t->shape[i];
    *seqs = (uint32_t)n;
    *length = t->shape[dims - 1];
    return n > 0 && n < 1 << 16 && *length > 0 && *length < 1 << 20;
}

/* Numbers before the second dot: "2.3.2" -> 2003. */
static int version_number(const char *v)
{
    int major = 0, minor = 0;
    return sscanf(v, "%d.%d", &major, &minor) == 2 ? major * 1000 + minor : 0;
}

static rkf_status check_file(struct rknn_device *d, const struct graph_file *f, rkf_error *err)
{
    const struct rknn_header *h = &f->info->header;
    if (!rknn_header_runs_on(h, d->platform->name))
        return rkf_fail(err, RKF_UNSUPPORTED, "%s was compiled for %s, this is %s: use a file for %s", f->name,
                        h->n_platforms ? h->platforms[0] : "nothing known", d->platform->name, d->platform->name);
    if (h->simulated && !d->lib.sim_configure)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "%s was made for the simulator: use device sim, or a file of the vendor's "
                        "compiler",
                        f->name);
    if (!h->simulated && d->lib.sim_configure)
        return rkf_fail(err, RKF_UNSUPPORTED,
                        "%s was made by the vendor's compiler, which the simulator does not run: use "
                        "the NPU, or safetensors",
                        f->name);
    if (!f->seqs)
        return rkf_fail(err, RKF_UNSUPPORTED, "%s has no input of token ids [batch, length]: it is no text encoder",
                        f->name);
    return RKF_OK;
}

static rkf_status open_file(struct graph_body *g, const struct model_dir *m, const char *name, struct graph_file *out,
                            rkf_error *err)
{
    struct graph_file f = { .body = g };
    char path[4096];
    rkf_status rc = RKF_OK;
    if (!path_join(path, sizeof path, m->path, name))
        return rkf_fail(err, RKF_INVALID, "the path of %s is too long", name);
    if (!(f.path = mem_strdup(path)) || !(f.name = mem_strdup(name)))
        rc = rkf_fail_memory(err, strlen(path), "a file name");
    if (!rc)
        rc = rknn_file_open(path, &f.info, err);
    if (!rc) {
        const struct rknn_block *b = &f.info->block;
        f.int8 = b->found ? starts_int8(b->quantized_dtype) : strstr(base_name(name), "w8a8") != NULL;
        f.single_core = b->single_core_mode;
        f.preferred = strcmp(base_name(name), "model.rknn") == 0;
        if (!sizes_of(f.info, &f.seqs, &f.length))
            f.seqs = f.length = 0;
        rc = check_file(g->d, &f, err);
    }
    if (rc)
        graph_file_close(&f);
    else
        *out = f;
    return rc;
}

/* By length, then batch, then model.rknn first, then name: the order in which they are chosen. */
static int by_size(const void *x, const void *y)
{
    const struct graph_file *a = x, *b = y;
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    if (a->seqs != b->seqs)
        return a->seqs < b->seqs ? -1 : 1;
    if (a->preferred != b->preferred)
        return a->preferred ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Either the int8 files or the others go. */
static void keep_type(struct graph_body *g, bool int8)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->n_files; i++)
        if (g->files[i].int8 == int8)
            g->files[kept++] = g->files[i];
        else
            graph_file_close(&g->files[i]);
    g->n_files = kept;
}

static bool has_type(const struct graph_body *g, bool int8)
{
    for (uint32_t i = 0; i < g->n_files; i++)
        if (g->files[i].int8 == int8)
            return true;
    return false;
}

rkf_status graph_files_open(struct graph_body *g, const struct model_dir *m, const struct rknn_body_options *o,
                            rkf_error *err)
{
    rkf_error first = { 0 };
    rkf_status rc;
    if (o->file_name) {
        if (!(g->files = mem_zalloc(1, sizeof *g->files)))
            return rkf_fail_memory(err, sizeof *g->files, "a .rknn file");
        rc = open_file(g, m, o->file_name, &g->files[0], err);
        g->n_files = rc == RKF_OK;
        return rc;
    }
    if (!m->n_rknn_files)
        return rkf_fail(err, RKF_NOT_FOUND, "%s has no .rknn file", m->path);
    if (!(g->files = mem_zalloc(m->n_rknn_files, sizeof *g->files)))
        return rkf_fail_memory(err, m->n_rknn_files * sizeof *g->files, "the .rknn files");
    for (uint32_t i = 0; i < m->n_rknn_files; i++) {
        rkf_error why;
        rc = open_file(g, m, m->rknn_files[i], &g->files[g->n_files], &why);
        if (rc == RKF_NO_MEMORY)
            return rkf_fail(err, rc, "%s", why.message);
        g->n_files += rc == RKF_OK;
        if (rc && first.status == RKF_OK)
            first = why;
        if (rc)
            rknn_log(g->d, RKF_LOG_INFO, "not used: %s", why.message);
    }
    if (!g->n_files)
        return rkf_fail(err, first.status == RKF_UNSUPPORTED ? RKF_NOT_FOUND : first.status,
                        "%.120s has no .rknn file that runs here: %s", m->path, first.message);
    if (!o->int8 && !has_type(g, false))
        return rkf_fail(err, RKF_NOT_FOUND,
                        "%.200s has .rknn files of type int8 only: ask for them with --dtype int8 or --file-name",
                        m->path);
    keep_type(g, o->int8 && has_type(g, true));
    qsort(g->files, g->n_files, sizeof *g->files, by_size);
    return RKF_OK;
}

/* ---- loading, on the control thread */

struct load_arg {
    struct graph_file *f;
    abi_context ctx;
    struct graph_io io;
    rkf_status rc;
    rkf_error err;
};

static rkf_status fail_init(struct graph_file *f, int result, rkf_error *err)
{
    const char *runtime = f->body->d->lib.version, *toolkit = f->info->header.toolkit;
    char name[64];
    const char *hint = !version_number(runtime) && result == ABI_FAIL ? "; is the runtime as new as the toolkit?"
                       : version_number(runtime) && version_number(runtime) < version_number(toolkit)
                           ? "; install a runtime as new as the toolkit"
                           : "";
    if (result == ABI_NO_MEMORY)
        return rkf_fail(err, RKF_NO_MEMORY, "out of NPU memory: rknn_init cannot load %s", f->name);
    return rkf_fail(err, result == ABI_DEVICE_UNAVAILABLE || result == ABI_TIMEOUT ? RKF_DEVICE : RKF_UNSUPPORTED,
                    "the NPU's runtime%s%s refuses %s, made by toolkit %s: %s%s", runtime[0] ? " " : "", runtime,
                    f->name, toolkit[0] ? toolkit : "of unknown version", abi_result_name(result, name, sizeof name),
                    hint);
}

static void load_work(struct task *t)
{
    struct load_arg *a = t->arg;
    struct graph_file *f = a->f;
    struct graph_body *g = f->body;
    struct rknn_file *again = NULL;
    a->rc = rknn_file_open(f->path, &again,
                           &a->err); /* it may have changed: a cut file ends the process in rknn_init */
    rknn_file_close(again);
    if (a->rc)
        return;
    int rc = g->d->lib.call.rknn_init(&a->ctx, f->path, 0, 0, NULL);
    if (rc) {
        a->ctx = 0;
        a->rc = fail_init(f, rc, &a->err);
        return;
    }
    a->rc = graph_io_read(g->d, a->ctx, g->head, g->hidden, f->info->block.inputs, f->name, &a->io, &a->err);
    if (!a->rc && (a->io.length != f->length || a->io.seqs != f->seqs))
        a->rc = rkf_fail(&a->err, RKF_FORMAT, "%s: its header says %u sequences of %u tokens, the runtime %u of %u",
                         f->name, f->seqs, f->length, a->io.seqs, a->io.length);
    if (a->rc) {
        g->d->lib.call.rknn_destroy(a->ctx);
        a->ctx = 0;
    }
}

static void load_undo(struct task *t)
{
    struct load_arg *a = t->arg;
    if (a->ctx)
        t->d->lib.call.rknn_destroy(a->ctx);
    graph_drop(a->f->body);
}

static rkf_status load(struct graph_file *f, int64_t deadline_ns, rkf_error *err)
{
    struct graph_body *g = f->body;
    struct task *t = task_new(g->d, sizeof(struct load_arg), load_work, load_undo);
    if (!t)
        return rkf_fail_memory(err, sizeof *t, "loading a .rknn file");
    struct load_arg *a = t->arg;
    bool hung;
    a->f = f;
    graph_hold(g); /* the task's; undo lets go */
    rkf_status rc = task_run(&g->d->control, t, deadline_ns, &hung, err);
    if (!rc || atomic_load(&t->call.state) == CALL_IDLE)
        graph_drop(g);
    if (!rc && (rc = a->rc) && err)
        *err = a->err;
    if (!rc) {
        f->base = a->ctx;
        f->io = a->io;
    }
    task_drop(t);
    return rc;
}

rkf_status graph_file_load(struct graph_file *f, int64_t deadline_ns, rkf_error *err)
{
    struct graph_body *g = f->body;
    pthread_mutex_lock(&g->mutex);
    while (f->loading)
        pthread_cond_wait(&g->loaded, &g->mutex);
    bool mine = !f->loaded;
    f->loading = mine;
    pthread_mutex_unlock(&g->mutex);
    if (!mine)
        return RKF_OK;
    rkf_status rc = load(f, deadline_ns, err);
    pthread_mutex_lock(&g->mutex);
    f->loaded = rc == RKF_OK;
    f->loading = false;
    pthread_cond_broadcast(&g->loaded);
    pthread_mutex_unlock(&g->mutex);
    const char *toolkit = f->info->header.toolkit;
    if (!rc && version_number(toolkit) > version_number(g->d->lib.version) && version_number(g->d->lib.version))
        rknn_log(g->d, RKF_LOG_WARN, "%s was made by toolkit %s, newer than the runtime %s: install a newer runtime",
                 f->name, toolkit, g->d->lib.version);
    return rc;
}

/* ---- contexts */

static void context_free(struct graph_context *c)
{
    for (int i = 0; i < GRAPH_MAX_IO; i++) {
        mem_free_aligned(c->inputs[i]);
        mem_free_aligned(c->outputs[i]);
    }
    mem_free(c);
}

struct dup_arg {
    struct graph_context *c;
    const char *step;
};

static void dup_work(struct task *t)
{
    struct dup_arg *a = t->arg;
    struct rknn_device *d = t->d;
    abi_context base = a->c->file->base;
    a->step = "rknn_dup_context";
    t->result = d->lib.call.rknn_dup_context(&base, &a->c->ctx);
    if (t->result) {
        a->c->ctx = 0;
        return;
    }
    a->step = "rknn_set_core_mask";
    if (d->platform->set_core_mask) /* a mask that is refused leaves the context on AUTO: final */
        t->result = d->lib.call.rknn_set_core_mask(a->c->ctx, a->c->cores);
    if (t->result)
        d->lib.call.rknn_destroy(a->c->ctx);
}

static void dup_undo(struct task *t)
{
    struct graph_context *c = ((struct dup_arg *)t->arg)->c;
    struct graph_body *g = c->file->body;
    if (c->ctx && !t->result)
        t->d->lib.call.rknn_destroy(c->ctx);
    context_free(c);
    graph_drop(g);
}

struct destroy_arg {
    struct graph_context *c;
};

static void destroy_work(struct task *t)
{
    struct graph_context *c = ((struct destroy_arg *)t->arg)->c;
    struct graph_body *g = c->file->body;
    t->d->lib.call.rknn_destroy(c->ctx);
    context_free(c);
    graph_drop(g);
}

/* The last holder of a broken context lets go; c holds the body. */
static void context_destroy(struct call *call)
{
    struct graph_context *c = (struct graph_context *)call;
    struct rknn_device *d = c->file->body->d;
    struct task *t = task_new(d, sizeof(struct destroy_arg), destroy_work, NULL);
    if (!t) { /* no memory: here and now */
        struct graph_body *g = c->file->body;
        d->lib.call.rknn_destroy(c->ctx);
        context_free(c);
        graph_drop(g);
        return;
    }
    ((struct destroy_arg *)t->arg)->c = c;
    task_post(&d->control, t);
}

static int try_run(void *arg)
{
    struct graph_context *c = arg;
    struct graph_file *f = c->file;
    struct abi_calls *call = &f->body->d->lib.call;
    struct abi_input in[GRAPH_MAX_IO];
    for (uint32_t i = 0; i < f->io.n_inputs; i++) {
        const struct abi_tensor_attr *a = &f->io.inputs[i].attr;
        in[i] = (struct abi_input){ .index = i,
                                    .buf = c->inputs[i],
                                    .size = (uint32_t)graph_input_bytes(&f->io.inputs[i]),
                                    .type = a->type,
                                    .fmt = a->fmt };
    }
    c->step = "rknn_inputs_set";
    int rc = call->rknn_inputs_set(c->ctx, f->io.n_inputs, in);
    if (rc)
        return rc;
    c->step = "rknn_run";
    int64_t begin = time_now_ns();
    rc = call->rknn_run(c->ctx, NULL);
    c->took_ns = time_now_ns() - begin;
    return rc;
}

/* After a run that succeeded, never else: what a failed one left there is another request's. */
static int get_outputs(struct graph_context *c)
{
    struct graph_file *f = c->file;
    struct abi_calls *call = &f->body->d->lib.call;
    struct abi_output out[GRAPH_MAX_IO];
    for (uint32_t i = 0; i < f->io.n_outputs; i++)
        out[i] = (struct abi_output){ .want_float = 1,
                                      .is_prealloc = 1,
                                      .index = i,
                                      .buf = c->outputs[i],
                                      .size = f->io.outputs[i].attr.n_elems * (uint32_t)sizeof(float) };
    c->step = "rknn_outputs_get";
    int rc = call->rknn_outputs_get(c->ctx, f->io.n_outputs, out, NULL);
    if (rc)
        return rc;
    c->step = "rknn_outputs_release";
    return call->rknn_outputs_release(c->ctx, f->io.n_outputs, out);
}

static void context_run(struct call *call)
{
    struct graph_context *c = (struct graph_context *)call;
    struct rknn_device *d = c->file->body->d;
    uint32_t first = (uint32_t)__builtin_ctz(c->cores);
    c->result = health_run(d, &d->core[first], c->cores, try_run, c, &c->blame);
    if (c->result == ABI_OK)
        c->result = get_outputs(c);
}

static struct graph_context *context_new(struct graph_file *f, uint8_t cores)
{
    struct graph_context *c = mem_zalloc(1, sizeof *c);
    bool ok = c != NULL;
    if (!c)
        return NULL;
    call_init(&c->call, context_run, context_destroy);
    c->file = f;
    c->cores = cores;
    c->busy = true;
    for (uint32_t i = 0; i < f->io.n_inputs && ok; i++)
        ok = (c->inputs[i] = mem_alloc_aligned(graph_input_bytes(&f->io.inputs[i]), 64)) != NULL;
    for (uint32_t i = 0; i < f->io.n_outputs && ok; i++)
        ok = (c->outputs[i] = mem_alloc_aligned(f->io.outputs[i].attr.n_elems * sizeof(float), 64)) != NULL;
    if (ok)
        return c;
    context_free(c);
    return NULL;
}

static rkf_status context_create(struct graph_file *f, uint8_t cores, int64_t deadline_ns, struct graph_context **out,
                                 rkf_error *err)
{
    struct graph_body *g = f->body;
    struct graph_context *c = context_new(f, cores);
    struct task *t = c ? task_new(g->d, sizeof(struct dup_arg), dup_work, dup_undo) : NULL;
    if (!t) {
        if (c)
            context_free(c);
        return rkf_fail_memory(err, sizeof *c, "a context of a .rknn file");
    }
    struct dup_arg *a = t->arg;
    a->c = c;
    graph_hold(g); /* the context's */
    bool hung;
    rkf_status rc = task_run(&g->d->control, t, deadline_ns, &hung, err);
    bool ran = rc == RKF_OK;
    if (ran && t->result)
        rc = rknn_fail(err, t->result, "%s of %s for NPU core mask %s", a->step, f->name, core_set_name(cores));
    if (rc && (ran || atomic_load(&t->call.state) == CALL_IDLE)) { /* else the task undoes itself */
        context_free(c);
        graph_drop(g);
    }
    task_drop(t);
    if (!rc)
        *out = c;
    return rc;
}

rkf_status graph_acquire(struct graph_file *f, uint8_t cores, int64_t deadline_ns, struct graph_context **out,
                         rkf_error *err)
{
    struct graph_body *g = f->body;
    struct graph_context *c;
    pthread_mutex_lock(&g->mutex);
    for (c = f->contexts; c && (c->busy || c->cores != cores); c = c->next)
        ;
    if (c)
        c->busy = true;
    pthread_mutex_unlock(&g->mutex);
    if (!c) {
        rkf_status rc = context_create(f, cores, deadline_ns, &c, err);
        if (rc)
            return rc;
        pthread_mutex_lock(&g->mutex);
        c->next = f->contexts;
        f->contexts = c;
        pthread_mutex_unlock(&g->mutex);
    }
    *out = c;
    return RKF_OK;
}

static void unlink_context(struct graph_context *c)
{
    struct graph_context **at = &c->file->contexts;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
}

void graph_release(struct graph_context *c, bool broken)
{
    struct graph_body *g = c->file->body;
    pthread_mutex_lock(&g->mutex);
    c->busy = false;
    if (broken)
        unlink_context(c);
    pthread_mutex_unlock(&g->mutex);
    if (broken)
        call_drop(&c->call);
}

/* ---- closing */

struct close_arg {
    abi_context ctx;
};

static void close_work(struct task *t)
{
    t->d->lib.call.rknn_destroy(((struct close_arg *)t->arg)->ctx);
}

void graph_file_close(struct graph_file *f)
{
    if (f->base) {
        struct rknn_device *d = f->body->d;
        struct task *t = task_new(d, sizeof(struct close_arg), close_work, NULL);
        if (t) {
            ((struct close_arg *)t->arg)->ctx = f->base;
            task_post(&d->control, t);
        } else {
            d->lib.call.rknn_destroy(f->base);
        }
    }
    rknn_file_close(f->info);
    mem_free(f->path);
    mem_free(f->name);
    *f = (struct graph_file){ 0 };
}
