/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stream.h"
#include "base/thread.h"
#include "cli/console.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WINDOW = 1024,           /* texts: several batches of the largest token budgets */
    FIRST_WINDOW = 64,       /* windows double from here, so that the first answers and mistakes show early */
    WINDOW_BYTES = 4 << 20,  /* of texts; a window takes at least one */
    ANSWER_BYTES = 64 << 20, /* of tensors; a window takes at least two */
    LOOK_NS = 50000000,      /* how often the progress bar looks up while waiting */
    QUICK_NS = 1000000000,   /* windows that take longer do not grow: answers should keep coming */
    LATE_NS = 200000000,     /* answers that are ready do not wait longer than this for others */
};

struct stream;
struct slot {
    struct stream *stream;
    struct window *window;
    struct input_item item;
    rkf_ticket ticket;
    bool running; /* submitted, done has not run; guarded by stream.lock */
    rkf_result *result;
    rkf_status status;
    rkf_error err;
};

struct window {
    struct slot *slots;  /* [WINDOW] */
    struct slot **order; /* [WINDOW] */
    uint32_t n;
    uint32_t running; /* guarded by stream.lock */
    uint64_t first;   /* index of slots[0] */
    struct arena texts;
};

struct stream {
    const struct stream_job *job;
    rkf_model *model;
    struct input *input;
    struct output *output;
    uint32_t limit; /* texts in a window now */
    size_t largest; /* answer so far, bytes */
    struct window windows[2];
    uint64_t read, done;        /* texts; done is guarded by lock */
    const struct slot *awaited; /* on_done wakes for it, or for any if NULL; guarded by lock */
    int64_t filled_ns, flushed_ns;
    bool ended;     /* no more input, or bad is set */
    rkf_status bad; /* what ended it early, at bad_err */
    rkf_error bad_err;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slot is done */
};

/* ---- filling */

static void window_clear(struct window *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        rkf_result_free(w->slots[i].result);
    w->n = 0;
    arena_reset(&w->texts);
}

static void grow(struct stream *s)
{
    int64_t now = time_now_ns();
    size_t most = s->largest ? ANSWER_BYTES / s->largest : WINDOW;
    most = most < 2 ? 2 : most > WINDOW ? WINDOW : most;
    if (now - s->filled_ns < QUICK_NS)
        s->limit *= 2;
    else if (now - s->filled_ns > 4 * (int64_t)QUICK_NS && s->limit > FIRST_WINDOW)
        s->limit /= 2;
    s->limit = s->limit < most ? s->limit : (uint32_t)most;
    s->filled_ns = now;
}

/* Reads up to a window's worth; stops where it would have to wait while there is something else to do. */
static void window_fill(struct stream *s, struct window *w, bool may_wait)
{
    size_t bytes = 0;
    window_clear(w);
    w->first = s->read;
    while (!s->ended && w->n < s->limit && bytes < WINDOW_BYTES) {
        if ((w->n || !may_wait) && !input_ready(s->input))
            break;
        struct slot *slot = &w->slots[w->n];
        *slot = (struct slot){ .stream = s, .window = w };
        s->bad = input_next(s->input, &w->texts, &slot->item, &s->ended, &s->bad_err);
        if (s->bad)
            s->ended = true;
        if (s->ended)
            break;
        bytes += slot->item.text.len + slot->item.pair.len;
        w->n++;
        s->read++;
    }
    grow(s);
}

/* ---- submitting */

static void on_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
{
    struct slot *slot = cookie;
    struct stream *s = slot->stream;
    (void)ticket;
    pthread_mutex_lock(&s->lock);
    slot->status = status;
    slot->result = result;
    if (err)
        slot->err = *err;
    slot->running = false;
    slot->window->running--;
    s->done++;
    if (!s->awaited || s->awaited == slot)
        pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Waits for a signal of on_done, or until the progress bar wants a look; lock is held. */
static void wait_signal(struct stream *s)
{
    struct timespec until;
    if (!progress_on()) {
        pthread_cond_wait(&s->changed, &s->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

/* Waits until more than `seen` texts are done. */
static void wait_any(struct stream *s, uint64_t seen)
{
    pthread_mutex_lock(&s->lock);
    s->awaited = NULL;
    while (s->done == seen)
        wait_signal(s);
    pthread_mutex_unlock(&s->lock);
}

static uint64_t count_done(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t done = s->done;
    pthread_mutex_unlock(&s->lock);
    return done;
}

static bool any_running(struct stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool any = s->windows[0].running + s->windows[1].running > 0;
    pthread_mutex_unlock(&s->lock);
    return any;
}

static rkf_status submit(struct stream *s, struct slot *slot, const rkf_request *request)
{
    pthread_mutex_lock(&s->lock);
    slot->running = true;
    slot->window->running++;
    pthread_mutex_unlock(&s->lock);
    rkf_status rc = rkf_submit(s->model, request, on_done, slot, &slot->ticket, &slot->err);
    if (rc) {
        pthread_mutex_lock(&s->lock);
        slot->running = false;
        slot->window->running--;
        pthread_mutex_unlock(&s->lock);
    }
    return rc;
}

static void start(struct stream *s, struct slot *slot)
{
    const struct stream_job *job = s->job;
    rkf_input in = { .text = slot->item.text, .pair = slot->item.pair };
    rkf_request request = job->options->request;
    rkf_status rc = job->prepare ? job->prepare(job->cookie, &slot->item, &in, &slot->err) : RKF_OK;
    request.inputs = &in;
    request.n_inputs = 1;
    if (!rc && job->answer) {
        rc = job->answer(job->cookie, &request, &slot->result, &slot->err);
        s->done++; /* nothing else runs */
    } else if (!rc) {
        uint64_t seen = count_done(s);
        while ((rc = submit(s, slot, &request)) == RKF_BUSY && (any_running(s) || count_done(s) != seen)) {
            wait_any(s, seen); /* somebody else fills the queue, or we do */
            seen = count_done(s);
        }
    }
    if (rc)
        slot->status = rc;
}

static size_t weight(const struct slot *slot)
{
    return slot->item.text.len + slot->item.pair.len;
}

static int longest_first(const void *a, const void *b)
{
    const struct slot *x = *(struct slot *const *)a, *y = *(struct slot *const *)b;
    size_t m = weight(x), n = weight(y);
    return m != n ? (m < n ? 1 : -1) : (x > y) - (x < y);
}

/* Like lengths run together; the longest go first, so that no core is left alone with one at the end. */
static void window_start(struct stream *s, struct window *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        w->order[i] = &w->slots[i];
    qsort(w->order, w->n, sizeof *w->order, longest_first);
    for (uint32_t i = 0; i < w->n; i++)
        start(s, w->order[i]);
}

/* ---- waiting and writing */

static void show_progress(struct stream *s, uint64_t done)
{
    double part = input_part(s->input);
    progress_show(done, s->read && part >= 0 ? part * (double)done / (double)s->read : part);
}

static void slot_wait(struct stream *s, const struct slot *slot)
{
    pthread_mutex_lock(&s->lock);
    s->awaited = slot;
    for (;;) {
        uint64_t done = s->done;
        bool running = slot->running;
        pthread_mutex_unlock(&s->lock);
        show_progress(s, done);
        if (!running)
            return;
        pthread_mutex_lock(&s->lock);
        if (slot->running)
            wait_signal(s);
    }
}

static bool slot_runs(struct stream *s, const struct slot *slot)
{
    pthread_mutex_lock(&s->lock);
    bool running = slot->running;
    pthread_mutex_unlock(&s->lock);
    return running;
}

/* A failure that is about the text says where that is: the library calls the one text of a request "input 0". */
static rkf_status slot_failure(const struct stream *s, const struct slot *slot, rkf_error *err)
{
    static const char only[] = "input 0";
    const char *message = slot->err.message;
    bool named = !strncmp(message, only, sizeof only - 1);
    char place[300];
    input_place(s->input, slot->item.number, place, sizeof place);
    if (named && message[sizeof only - 1] == ' ') /* a text that cannot be used is no wrong use of the command */
        return rkf_fail(err, slot->status == RKF_INVALID ? RKF_FORMAT : slot->status, "%s%s", place,
                        message + sizeof only - 1);
    if (named)
        return rkf_fail(err, slot->status, "%s%s", place, message + sizeof only - 1);
    if (slot->status == RKF_INVALID || slot->status == RKF_UNAVAILABLE || slot->status == RKF_UNSUPPORTED)
        return rkf_fail(err, slot->status, "%s", message);
    return rkf_fail(err, slot->status, "%s: %s", place, message);
}

static size_t answer_size(const rkf_result *result)
{
    rkf_tensor t;
    size_t n = 4;
    if (!result || rkf_result_tensor(result, 0, &t))
        return 0;
    for (int32_t i = 0; i < t.ndim; i++)
        n *= (size_t)t.shape[i];
    return n;
}

static rkf_status flush(struct stream *s, rkf_error *err)
{
    s->flushed_ns = time_now_ns();
    return output_flush(s->output, err);
}

static rkf_status slot_write(struct stream *s, struct slot *slot, uint64_t index, rkf_error *err)
{
    struct record record = { index, &slot->item, slot->result };
    size_t size = answer_size(slot->result);
    if (slot->status)
        return slot_failure(s, slot, err);
    s->largest = size > s->largest ? size : s->largest;
    rkf_status rc = s->job->write(s->job->cookie, &record, s->output, err);
    if (!rc)
        rc = output_spill(s->output, err);
    rkf_result_free(slot->result);
    slot->result = NULL;
    return rc;
}

/* After a failure the window is left to call_off: some of it may still run. */
static rkf_status window_write(struct stream *s, struct window *w, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    for (uint32_t i = 0; !rc && i < w->n; i++) {
        struct slot *slot = &w->slots[i];
        if (slot_runs(s, slot) && time_now_ns() - s->flushed_ns > LATE_NS)
            rc = flush(s, err);
        if (rc)
            return rc;
        slot_wait(s, slot);
        rc = slot_write(s, slot, w->first + i, err);
    }
    if (!rc)
        window_clear(w);
    return rc;
}

static rkf_status run(struct stream *s, rkf_error *err)
{
    struct window *now = &s->windows[0], *before = &s->windows[1];
    for (;;) {
        window_fill(s, now, before->n == 0);
        window_start(s, now);
        rkf_status rc = window_write(s, before, err);
        if (!rc && !s->ended && !input_ready(s->input)) { /* somebody may be waiting for these before writing on */
            rc = window_write(s, now, err);
            if (!rc)
                rc = flush(s, err);
        }
        if (rc)
            return rc;
        if (s->ended && !now->n)
            return s->bad ? rkf_fail(err, s->bad, "%s", s->bad_err.message) : RKF_OK;
        struct window *filled = now;
        now = before;
        before = filled;
    }
}

/* Whatever still runs is called off and waited for: its callback points into the windows. */
static void call_off(struct stream *s)
{
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t i = 0; i < s->windows[k].n; i++)
            if (slot_runs(s, &s->windows[k].slots[i]))
                rkf_cancel(s->model, s->windows[k].slots[i].ticket);
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < s->windows[k].n; i++)
            slot_wait(s, &s->windows[k].slots[i]);
        window_clear(&s->windows[k]);
    }
}

rkf_status stream_run(const struct stream_job *job, rkf_model *model, struct input *input, struct output *output,
                      rkf_error *err)
{
    struct stream s = { .job = job, .model = model, .input = input, .output = output };
    pthread_condattr_t attr;
    rkf_status rc = RKF_OK;
    s.filled_ns = s.flushed_ns = time_now_ns();
    s.limit = job->first_window ? job->first_window : FIRST_WINDOW;
    pthread_mutex_init(&s.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s.changed, &attr);
    pthread_condattr_destroy(&attr);
    for (int k = 0; k < 2; k++) {
        s.windows[k].slots = mem_zalloc(WINDOW, sizeof(struct slot));
        s.windows[k].order = mem_array(WINDOW, sizeof(struct slot *));
        if (!s.windows[k].slots || !s.windows[k].order)
            rc = rkf_fail_memory(err, WINDOW * sizeof(struct slot), "a window of texts");
    }
    if (!rc)
        rc = run(&s, err);
    if (rc) { /* what came before the failure stands */
        call_off(&s);
        if (!output_is_file(output) && output_flush(output, NULL))
            progress_clear(); /* the first failure is the one to tell */
    }
    progress_clear();
    for (int k = 0; k < 2; k++) {
        mem_free(s.windows[k].slots);
        mem_free(s.windows[k].order);
        arena_free(&s.windows[k].texts);
    }
    pthread_cond_destroy(&s.changed);
    pthread_mutex_destroy(&s.lock);
    return rc;
}

/* ---- the usual command */

static rkf_status run_opened(struct options *o, struct stream_job *job, const struct stream_hooks *hooks,
                             struct input *in, struct output *out, rkf_error *err)
{
    struct session s = { 0 };
    rkf_status rc = session_open(o, &s, err);
    if (!rc && hooks && hooks->start)
        rc = hooks->start(job->cookie, s.model, out, err);
    if (!rc) {
        progress_start(!o->no_progress);
        rc = stream_run(job, s.model, in, out, err);
    }
    if (!rc && hooks && hooks->finish)
        rc = hooks->finish(job->cookie, s.model, out, err);
    session_close(&s);
    return rc;
}

rkf_status stream_command(struct options *o, struct stream_job *job, const struct stream_hooks *hooks, rkf_error *err)
{
    struct input in;
    struct output out = { .file = { .fd = -1 } };
    rkf_status rc = input_open(o, &in, err);
    if (rc)
        return rc;
    job->options = o;
    if (job->keys) {
        in.text_key = job->keys[0];
        in.pair_key = job->keys[1];
    }
    rc = output_open(o->output, &out, err); /* before the model is loaded: a bad path shows at once */
    if (!rc)
        rc = run_opened(o, job, hooks, &in, &out, err);
    if (!rc)
        rc = output_commit(&out, err);
    if (rc)
        output_abort(&out);
    input_close(&in);
    return rc;
}
