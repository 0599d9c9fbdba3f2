/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything at once, by chance: several models (native and compiled) with any masks, priorities, exclusive or not,
 * with and without the CPU to fall back on, clients that wait, that set deadlines, that cancel, models that are closed
 * while their requests wait, and every kind of fault at any moment. Every request ends, in bounded time, once, in its
 * own right answer or in an error that something explains; nothing is left behind.
 *
 * RKF_STRESS_SECONDS (default 3) how long, RKF_STRESS_SEED which chances: a failure names the seed of its round.
 */
#include "engine_util.h"

#include "npu_util.h"

#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

enum { KINDS = 5, TEXTS = 5, DIM = 64, MODELS_MAX = 4, CLIENTS = 8, SLACK = 96 << 10 };
static const char *const texts[TEXTS] = {
    "There is rain and snow today.",
    "She likes loan more than stock.",
    "cat",
    "The bank gave a loan. The dog and the cat like rain, wind and snow, and the bank likes stock.",
    "",
};
static const struct {
    const char *path;
    int reference; /* which of the trained models it is */
} kinds[KINDS] = {
    { MODELS "bert-embed", 0 }, { SIM_MODEL_DIR "/bert-embed", 0 }, { MODELS "mpnet-embed", 1 },
    { MODELS "xlmr-embed", 2 }, { SIM_MODEL_DIR "/xlmr-embed", 2 },
};
static float reference[3][TEXTS][DIM]; /* of the CPU device, which the golden tests hold against the originals */

struct slot { /* a model and what it allows */
    rkf_model *model;
    int kind;
    uint32_t cores; /* that it may use */
    bool fallback;
};
struct round {
    uint64_t seed;
    struct slot slot[MODELS_MAX];
    uint32_t n;
    bool nomem, closing;
    int64_t end_ns;
};
struct client {
    struct round *r;
    pthread_t thread;
    uint64_t seed;
    int right, failed;
    char wrong[400]; /* what must not be */
};
struct waiter { /* for an answer that comes by callback */
    sem_t ended;
    atomic_int calls;
    rkf_status status;
    rkf_result *result;
    rkf_error err;
};

static uint32_t chance(uint64_t *s, uint32_t n)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 33) % n;
}

static void pause_us(uint32_t us)
{
    nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L }, NULL);
}

static void complain(struct client *c, const char *what, rkf_status rc, const rkf_error *err)
{
    if (!c->wrong[0])
        snprintf(c->wrong, sizeof c->wrong, "%s: %s: %.200s", what, rkf_status_name(rc), err ? err->message : "");
}

static void check_answer(struct client *c, const struct slot *s, int text, rkf_result *r)
{
    rkf_tensor t;
    rkf_info info = { 0 };
    double dot = 0, aa = 0, bb = 0;
    if (rkf_result_tensor(r, 0, &t) || t.shape[t.ndim - 1] != DIM || rkf_result_info(r, RKF_ALL, &info)) {
        complain(c, "an answer without its parts", RKF_OK, NULL);
        return;
    }
    const float *a = t.data, *b = reference[kinds[s->kind].reference][text];
    for (int k = 0; k < DIM; k++) {
        dot += (double)a[k] * b[k];
        aa += (double)a[k] * a[k];
        bb += (double)b[k] * b[k];
    }
    c->right++;
    if (!(dot > 0 && dot * dot >= 0.9999 * 0.9999 * aa * bb))
        complain(c, "a wrong answer", RKF_OK, NULL);
    bool on_cpu = !strcmp(info.device, "cpu");
    if (on_cpu ? !s->fallback : (info.cores & ~s->cores) != 0)
        complain(c, "cores that are not the model's", RKF_OK, NULL);
}

/* Is there something that explains this error? */
static void check_error(struct client *c, rkf_status rc, const rkf_error *err, bool deadline, bool cancelled)
{
    const struct round *r = c->r;
    bool fine = rc == RKF_DEVICE || (rc == RKF_NO_MEMORY && r->nomem) || (rc == RKF_DEADLINE && deadline) ||
                (rc == RKF_CANCELLED && cancelled) || (rc == RKF_CLOSED && r->closing);
    c->failed++;
    if (!fine || !err || !err->message[0])
        complain(c, "an error that nothing explains", rc, err);
}

static void on_done(void *cookie, rkf_ticket ticket, rkf_status status, rkf_result *result, const rkf_error *err)
{
    struct waiter *w = cookie;
    (void)ticket;
    w->status = status;
    w->result = result;
    if (err)
        w->err = *err;
    atomic_fetch_add(&w->calls, 1);
    sem_post(&w->ended);
}

static bool wait_for(struct waiter *w, int seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += seconds;
    while (sem_timedwait(&w->ended, &t))
        if (errno == ETIMEDOUT)
            return false;
    return true;
}

/* By callback, perhaps cancelled; the model may be closed meanwhile by whoever calls this. */
static void submit_one(struct client *c, const struct slot *s, const rkf_request *rq, int text)
{
    struct waiter w = { .status = RKF_OK };
    rkf_ticket ticket;
    rkf_error err = { .message = "" };
    sem_init(&w.ended, 0, 0);
    rkf_status rc = rkf_submit(s->model, rq, on_done, &w, &ticket, &err);
    if (rc) {
        check_error(c, rc, &err, rq->timeout_us, false);
        sem_destroy(&w.ended);
        return;
    }
    bool cancel = chance(&c->seed, 2);
    if (cancel) {
        pause_us(chance(&c->seed, 4000));
        rc = rkf_cancel(s->model, ticket);
        if (rc != RKF_OK && rc != RKF_NOT_FOUND)
            complain(c, "rkf_cancel", rc, NULL);
    }
    if (!wait_for(&w, 60)) {
        complain(c, "a request that does not end", RKF_OK, NULL);
        return; /* w is left behind: the test fails anyway */
    }
    if (w.status)
        check_error(c, w.status, &w.err, rq->timeout_us, cancel);
    else
        check_answer(c, s, text, w.result);
    if (atomic_load(&w.calls) != 1)
        complain(c, "an answer given twice", RKF_OK, NULL);
    rkf_result_free(w.result);
    sem_destroy(&w.ended);
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    while (time_now_ns() < c->r->end_ns) {
        const struct slot *s = &c->r->slot[chance(&c->seed, c->r->n)];
        int text = (int)chance(&c->seed, TEXTS);
        rkf_input in = { .text = { texts[text], strlen(texts[text]) } };
        rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
        rkf_result *result = NULL;
        rkf_error err = { .message = "" };
        rq.priority = (int32_t)chance(&c->seed, 3) - 1;
        if (chance(&c->seed, 3) == 0)
            rq.timeout_us = 1 + (int64_t)chance(&c->seed, 400000);
        if (chance(&c->seed, 3) == 0) {
            submit_one(c, s, &rq, text);
            continue;
        }
        int64_t begin = time_now_ns();
        rkf_status rc = rkf_run(s->model, &rq, &result, &err);
        int64_t took_us = (time_now_ns() - begin) / 1000;
        if (took_us > (rq.timeout_us ? rq.timeout_us + 20 * 1000000 : 60 * 1000000)) /* sanitizers are slow */
            complain(c, "an answer that came late", rc, &err);
        if (rc)
            check_error(c, rc, &err, rq.timeout_us, false);
        else
            check_answer(c, s, text, result);
        rkf_result_free(result);
        if (rc)
            pause_us(chance(&c->seed, 4000)); /* a sick core answers at once */
    }
    return NULL;
}

/* Faults, one after another or several at once, until the round is over; what hangs returns after a while. */
static void *chaos_main(void *arg)
{
    struct round *r = arg;
    uint64_t seed = r->seed ^ 0x9e3779b97f4a7c15u;
    uint32_t faults = 0, often_us = chance(&seed, 2) ? 60000 : 300000;
    while (time_now_ns() < r->end_ns) {
        static const char *const kinds_of[] = {
            "timeout", "timeout", "fail", "dead", "hang", "hang result=-1", "nomem"
        };
        const char *kind = kinds_of[chance(&seed, r->nomem ? 7 : 6)];
        char text[160], fault[64];
        pause_us(chance(&seed, often_us));
        snprintf(fault, sizeof fault, "%s", kind);
        if (!strcmp(kind, "timeout"))
            snprintf(fault, sizeof fault, "timeout after_ms=%u count=%u", 1 + chance(&seed, 30), 1 + chance(&seed, 3));
        int core = (int)chance(&seed, 4) - 1;
        int n = snprintf(text, sizeof text, "fault=%s job=%u", fault, 1 + chance(&seed, 40));
        if (core >= 0 && strcmp(kind, "nomem") != 0)
            snprintf(text + n, sizeof text - (size_t)n, " core=%d", core);
        sim_config(text);
        if (chance(&seed, 3) == 0 || ++faults == 10) {
            pause_us(chance(&seed, 80000));
            faults = 0;
            sim_config("fault=none release=hang");
        }
    }
    sim_config("fault=none release=hang");
    return NULL;
}

/* Any model with any mask; none where its cores are not to be had. */
static void open_slot(struct round *r, rkf_runtime *rt, uint64_t *seed)
{
    static const char *const masks[] = { "auto", "auto", "auto", "0", "1", "2", "0_1", "0_1_2", "all" };
    static const uint32_t sets[] = { 7, 7, 7, 1, 2, 4, 3, 7, 7 };
    uint32_t mask = chance(seed, sizeof sets / sizeof *sets);
    struct slot *s = &r->slot[r->n];
    rkf_model_options o = RKF_MODEL_OPTIONS_INIT;
    rkf_error err;
    s->kind = (int)chance(seed, KINDS);
    s->cores = sets[mask];
    s->fallback = chance(seed, 4) == 0;
    o.path = kinds[s->kind].path;
    o.core_mask = masks[mask];
    o.exclusive = chance(seed, 5) == 0;
    o.cpu_fallback = s->fallback;
    o.priority = (int32_t)chance(seed, 3) - 1;
    rkf_status rc = rkf_model_open(rt, &o, &s->model, &err);
    if (rc == RKF_CONFLICT)
        return;
    if (rc)
        fail_msg("%s", err.message);
    r->n++;
}

/* Models go while requests wait for them: each answer comes, from the model or saying that it was closed. */
static void close_busy(struct round *r)
{
    enum { WAITING = 12 };
    struct waiter w[MODELS_MAX * WAITING] = { 0 };
    struct client c = { .r = r };
    uint32_t n = 0;
    int owner[MODELS_MAX * WAITING];
    r->closing = true;
    for (uint32_t i = 0; i < r->n; i++)
        for (int k = 0; k < WAITING; k++) {
            rkf_input in = { .text = { texts[k % TEXTS], strlen(texts[k % TEXTS]) } };
            rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
            rkf_error err;
            sem_init(&w[n].ended, 0, 0);
            owner[n] = (int)i * TEXTS + k % TEXTS;
            rkf_status rc = rkf_submit(r->slot[i].model, &rq, on_done, &w[n], NULL, &err);
            if (rc)
                check_error(&c, rc, &err, false, false);
            n += rc == RKF_OK;
        }
    for (uint32_t i = 0; i < r->n; i++)
        rkf_model_close(r->slot[i].model);
    for (uint32_t i = 0; i < n; i++) {
        if (!wait_for(&w[i], 60))
            fail_msg("seed %llu: closing a model loses an answer", (unsigned long long)r->seed);
        if (w[i].status)
            check_error(&c, w[i].status, &w[i].err, false, false);
        else
            check_answer(&c, &r->slot[owner[i] / TEXTS], owner[i] % TEXTS, w[i].result);
        rkf_result_free(w[i].result);
        sem_destroy(&w[i].ended);
    }
    if (c.wrong[0])
        fail_msg("seed %llu, closing: %s", (unsigned long long)r->seed, c.wrong);
}

static void play(uint64_t seed, int threads_before, int *right, int *failed)
{
    struct round r = { .seed = seed };
    struct client c[CLIENTS];
    pthread_t chaos;
    rkf_runtime *rt = open_sim("rk3588");
    sim_config("reset=counters");
    sim_config(chance(&seed, 3) ? "cost=host scale=1" : "cost=model scale=2");
    r.nomem = chance(&seed, 2);
    for (int i = 0; i < MODELS_MAX; i++)
        open_slot(&r, rt, &seed);
    r.end_ns = time_now_ns() + (int64_t)(100 + chance(&seed, 500)) * 1000000;
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (struct client){ .r = &r, .seed = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u };
        assert_int_equal(pthread_create(&c[i].thread, NULL, client_main, &c[i]), 0);
    }
    assert_int_equal(pthread_create(&chaos, NULL, chaos_main, &r), 0);
    pthread_join(chaos, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(c[i].thread, NULL);
        *right += c[i].right;
        *failed += c[i].failed;
        if (c[i].wrong[0])
            fail_msg("seed %llu: %s", (unsigned long long)r.seed, c[i].wrong);
    }
    if (chance(&seed, 2))
        close_busy(&r);
    rkf_runtime_close(rt);
    for (int i = 0;
         i < 1000 && (sim_counters().memories || sim_counters().contexts || count_threads() > threads_before); i++)
        pause_us(10000); /* what hung leaves when it has returned */
    nothing_is_left();
    assert_true(count_threads() <= threads_before);
}

static void everything_by_chance(void **state)
{
    (void)state;
    const char *seconds = getenv("RKF_STRESS_SECONDS"), *first = getenv("RKF_STRESS_SEED");
    uint64_t seed = first ? strtoull(first, NULL, 10) : 1;
    int64_t end = time_now_ns() + (int64_t)((seconds ? atof(seconds) : 3) * 1e9), base = 0;
    int right = 0, failed = 0, rounds = 0, threads = count_threads();
    do {
        play(seed + (uint64_t)rounds, threads, &right, &failed);
        int64_t now = memory_in_use();
        base = ++rounds == 4 ? now : base;
        if (rounds > 4 && now > base + SLACK)
            fail_msg("round %d: %lld bytes in use, %lld after the fourth", rounds, (long long)now, (long long)base);
    } while (time_now_ns() < end || rounds < 4);
    print_message("%d rounds from seed %llu: %d right answers, %d explained errors\n", rounds, (unsigned long long)seed,
                  right, failed);
    assert_true(right > 0);
}

static int setup(void **state)
{
    (void)state;
    static const int of[3] = { 0, 2, 3 };
    sim_load();
    rkf_runtime *rt = open_runtime("cpu", 1);
    for (int m = 0; m < 3; m++) {
        rkf_model *model = open_model(rt, kinds[of[m]].path, NULL);
        for (int i = 0; i < TEXTS; i++) {
            rkf_input in = { .text = { texts[i], strlen(texts[i]) } };
            rkf_request rq = request_of(RKF_TASK_EMBED, &in, 1);
            rkf_result *r = NULL;
            rkf_tensor t;
            rkf_error err;
            assert_ok(rkf_run(model, &rq, &r, &err));
            rkf_result_tensor(r, 0, &t);
            assert_int_equal(t.shape[t.ndim - 1], DIM);
            memcpy(reference[m][i], t.data, sizeof reference[m][i]);
            rkf_result_free(r);
        }
    }
    rkf_runtime_close(rt);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_by_chance),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
