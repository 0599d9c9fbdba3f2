/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on several models at once, through the public API: closed-loop clients, each of which sends its next text when
 * the answer to the last has come. Counts answers, compares each with what the CPU device says to that model and text
 * (so that another client's or model's answer is noticed), and counts which cores ran them.
 *
 *     load [--device sim] [--platform rk3588] [--seconds 5] [--warm 1] [--lengths mixed|short|long] [--processes]
 *          MODEL@MASK@CLIENTS ...
 *
 * A model is opened once per argument. --processes: every argument in a process of its own. Prints one JSON line. The
 * simulator is configured by RKNNSIM_CONFIG; with compute=no answers cannot be compared (--no-check). A .rknn file may
 * follow its directory: DIR:FILE@MASK@CLIENTS.
 */
#include "rkformer.h"

#include "../sim/rknnsim.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_MODELS = 16, MAX_CLIENTS = 4096, TEXTS = 16, MAX_TOKENS = 256 };

struct text {
    int32_t ids[MAX_TOKENS];
    size_t n;
};

struct target {
    const char *path, *file, *mask;
    int clients;
    rkf_model *model;
    float *want[TEXTS]; // [width]
    atomic_uint next;   /* text */
    size_t width;
};

struct client {
    struct target *target;
    pthread_t thread;
    uint64_t done, tokens, wrong, failed;
    uint64_t cores[8]; /* answers by set of cores */
    float *latency_ms; /* [cap] */
    size_t cap;
    char error[256];
};

static struct {
    const char *device, *platform, *lengths;
    double seconds, warm;
    bool check, processes;
} opt = { "sim", "rk3588", "mixed", 5, 1, true, false };
static struct target targets[MAX_MODELS];
static int n_targets;
static struct text texts[TEXTS];
static double begin_s, measure_s, end_s;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint32_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 32);
}

/* Three quarters short, one quarter long, as questions and passages are. */
static void make_texts(size_t longest)
{
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < TEXTS; i++) {
        bool is_long = strcmp(opt.lengths, "long") == 0 || (strcmp(opt.lengths, "short") != 0 && i % 4 == 0);
        size_t lo = is_long ? longest / 2 : 8, hi = is_long ? longest : 24;
        texts[i].n = lo + next_random(&seed) % (hi - lo + 1);
        for (size_t k = 0; k < texts[i].n; k++)
            texts[i].ids[k] = (int32_t)(5 + next_random(&seed) % 50);
    }
}

static void note(struct client *c, int text, const rkf_result *result, double took_s)
{
    rkf_tensor t;
    rkf_info info;
    if (rkf_result_info(result, 0, &info) == RKF_OK)
        c->cores[info.cores & 7]++;
    if (c->done < c->cap)
        c->latency_ms[c->done] = (float)(took_s * 1e3);
    c->done++;
    c->tokens += texts[text].n;
    if (!opt.check || rkf_result_tensor(result, RKF_ALL, &t) != RKF_OK)
        return;
    const float *a = c->target->want[text], *b = t.data;
    size_t n = (size_t)t.shape[t.ndim - 1];
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n && n == c->target->width; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    c->wrong += !(dot > 0 && dot * dot > 0.9999 * 0.9999 * aa * bb); /* the cosine, f16 against f32 */
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    bool measuring = false;
    for (double start; (start = now_s()) < end_s;) {
        /* in turns over all clients, so that what was answered is the same mix whoever answers how much */
        int text = (int)(atomic_fetch_add(&c->target->next, 1) % TEXTS);
        rkf_input in = { .ids = texts[text].ids, .n_ids = texts[text].n };
        rkf_request rq = RKF_REQUEST_INIT;
        rkf_result *result = NULL;
        rkf_error err;
        rq.task = RKF_TASK_EMBED;
        rq.inputs = &in;
        rq.n_inputs = 1;
        if (!measuring && start >= measure_s) {
            measuring = true;
            c->done = c->tokens = 0;
            memset(c->cores, 0, sizeof c->cores);
        }
        if (rkf_run(c->target->model, &rq, &result, &err) == RKF_OK) {
            note(c, text, result, now_s() - start);
        } else {
            c->failed++;
            snprintf(c->error, sizeof c->error, "%.200s", err.message);
        }
        rkf_result_free(result);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void print_target(FILE *out, const struct target *t, const struct client *clients, int n, const double *busy)
{
    uint64_t done = 0, tokens = 0, wrong = 0, failed = 0, cores[8] = { 0 };
    size_t kept = 0;
    float *all = malloc(sizeof *all * 2000000);
    const char *error = "";
    for (int i = 0; i < n; i++) {
        const struct client *c = &clients[i];
        if (c->target != t)
            continue;
        done += c->done;
        tokens += c->tokens;
        wrong += c->wrong;
        failed += c->failed;
        error = c->error[0] ? c->error : error;
        for (int k = 0; k < 8; k++)
            cores[k] += c->cores[k];
        for (size_t k = 0; k < c->done && k < c->cap && kept < 2000000; k++)
            all[kept++] = c->latency_ms[k];
    }
    qsort(all, kept, sizeof *all, by_value);
    double seconds = end_s - measure_s;
    fprintf(out, "{\"mask\":\"%s\",\"clients\":%d,\"requests\":%llu,\"per_s\":%.3f,\"tokens_per_s\":%.1f,", t->mask,
            t->clients, (unsigned long long)done, (double)done / seconds, (double)tokens / seconds);
    fprintf(out, "\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"wrong\":%llu,\"failed\":%llu,\"error\":\"%s\",\"by_cores\":{",
            kept ? all[kept / 2] : 0, kept ? all[kept * 95 / 100] : 0, (unsigned long long)wrong,
            (unsigned long long)failed, error);
    static const char *const names[8] = { "none", "0", "1", "0_1", "2", "0,2", "1,2", "0_1_2" };
    for (int k = 0, first = 1; k < 8; k++)
        if (cores[k]) {
            fprintf(out, "%s\"%s\":%llu", first ? "" : ",", names[k], (unsigned long long)cores[k]);
            first = 0;
        }
    fprintf(out, "},\"npu_busy\":[%.3f,%.3f,%.3f]}", busy[0], busy[1], busy[2]);
    free(all);
}

/* ---- how busy the simulator's cores were */

static int find_simulator(struct dl_phdr_info *info, size_t size, void *path)
{
    (void)size;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "librknnrt-sim"))
        return 0;
    snprintf(path, 4096, "%s", info->dlpi_name);
    return 1;
}

static void read_busy(uint64_t busy_ns[3])
{
    static char path[4096];
    struct rknnsim_counters c;
    memset(busy_ns, 0, 3 * sizeof *busy_ns);
    if (!dl_iterate_phdr(find_simulator, path))
        return;
    void *lib = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    int (*counters)(struct rknnsim_counters *, uint32_t) = NULL;
    if (lib)
        *(void **)&counters = dlsym(lib, "rknnsim_counters_read");
    if (counters && counters(&c, sizeof c) == 0)
        memcpy(busy_ns, c.busy_ns, sizeof c.busy_ns);
    if (lib)
        dlclose(lib);
}

static void sleep_until_s(double at)
{
    double left = at - now_s();
    struct timespec t = { .tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9) };
    if (left > 0)
        nanosleep(&t, NULL);
}

static int fail(const rkf_error *err)
{
    fprintf(stderr, "load: %s\n", err->message);
    return 1;
}

static void log_line(void *cookie, rkf_log_level level, const char *line)
{
    (void)cookie;
    (void)level;
    fprintf(stderr, "load: %s\n", line);
}

/* What the CPU device answers, f32: texts' embeddings. */
static rkf_status reference_make(struct target *t, rkf_error *err)
{
    rkf_runtime_options ro = RKF_RUNTIME_OPTIONS_INIT;
    rkf_model_options mo = RKF_MODEL_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    rkf_model *m = NULL;
    ro.device = "cpu";
    mo.path = t->path;
    rkf_status rc = rkf_runtime_open(&ro, &rt, err);
    if (!rc)
        rc = rkf_model_open(rt, &mo, &m, err);
    for (int i = 0; !rc && i < TEXTS; i++) {
        rkf_input in = { .ids = texts[i].ids, .n_ids = texts[i].n };
        rkf_request rq = RKF_REQUEST_INIT;
        rkf_result *result = NULL;
        rkf_tensor v;
        rq.task = RKF_TASK_EMBED;
        rq.inputs = &in;
        rq.n_inputs = 1;
        rc = rkf_run(m, &rq, &result, err);
        if (!rc && rkf_result_tensor(result, RKF_ALL, &v) == RKF_OK) {
            t->width = (size_t)v.shape[v.ndim - 1];
            t->want[i] = malloc(t->width * sizeof(float));
            memcpy(t->want[i], v.data, t->width * sizeof(float));
        }
        rkf_result_free(result);
    }
    rkf_runtime_close(rt);
    return rc;
}

/* Runs targets first .. first + n; prints their objects, separated by commas. */
static int run(int first, int n, FILE *out)
{
    rkf_runtime_options ro = RKF_RUNTIME_OPTIONS_INIT;
    rkf_runtime *rt = NULL;
    rkf_error err;
    for (int i = first; opt.check && i < first + n; i++)
        if (reference_make(&targets[i], &err))
            return fail(&err);
    ro.device = opt.device;
    ro.platform = opt.platform;
    ro.log = log_line;
    if (rkf_runtime_open(&ro, &rt, &err))
        return fail(&err);
    int total = 0;
    for (int i = first; i < first + n; i++) {
        rkf_model_options mo = RKF_MODEL_OPTIONS_INIT;
        mo.path = targets[i].path;
        mo.file_name = targets[i].file;
        mo.core_mask = targets[i].mask;
        if (rkf_model_open(rt, &mo, &targets[i].model, &err))
            return fail(&err);
        total += targets[i].clients;
    }
    struct client *c = calloc((size_t)total, sizeof *c);
    double start = now_s();
    begin_s = start > begin_s ? start : begin_s;
    measure_s = begin_s + opt.warm;
    end_s = measure_s + opt.seconds;
    int at = 0;
    for (int i = first; i < first + n; i++)
        for (int k = 0; k < targets[i].clients; k++, at++) {
            c[at].target = &targets[i];
            c[at].cap = 20000;
            c[at].latency_ms = malloc(c[at].cap * sizeof(float));
            pthread_create(&c[at].thread, NULL, client_main, &c[at]);
        }
    uint64_t before[3], after[3];
    double busy[3];
    sleep_until_s(measure_s);
    read_busy(before);
    sleep_until_s(end_s);
    read_busy(after);
    for (int i = 0; i < 3; i++)
        busy[i] = (double)(after[i] - before[i]) * 1e-9 / opt.seconds;
    for (int i = 0; i < total; i++)
        pthread_join(c[i].thread, NULL);
    for (int i = first; i < first + n; i++) {
        fprintf(out, "%s", i > first ? "," : "");
        print_target(out, &targets[i], c, total, busy);
    }
    for (int i = 0; i < total; i++)
        free(c[i].latency_ms);
    free(c);
    for (int i = first; i < first + n; i++)
        for (int k = 0; k < TEXTS; k++)
            free(targets[i].want[k]);
    rkf_runtime_close(rt);
    return 0;
}

/* Each target in a process of its own, all measuring at the same time. */
static int run_apart(void)
{
    FILE *parts[MAX_MODELS];
    pid_t pids[MAX_MODELS];
    int bad = 0;
    begin_s = now_s() + 2;
    for (int i = 0; i < n_targets; i++) {
        parts[i] = tmpfile();
        fflush(NULL);
        pids[i] = fork();
        if (pids[i] == 0) {
            int rc = run(i, 1, parts[i]);
            fflush(parts[i]);
            _exit(rc);
        }
    }
    for (int i = 0; i < n_targets; i++) {
        int status;
        char text[4096];
        waitpid(pids[i], &status, 0);
        bad |= status;
        rewind(parts[i]);
        size_t n = fread(text, 1, sizeof text - 1, parts[i]);
        printf("%s%.*s", i ? "," : "", (int)n, text);
        fclose(parts[i]);
    }
    return bad != 0;
}

static bool parse_target(char *arg)
{
    char *clients = strrchr(arg, '@'), *mask;
    if (!clients || n_targets == MAX_MODELS)
        return false;
    *clients++ = 0;
    if (!(mask = strrchr(arg, '@')))
        return false;
    *mask++ = 0;
    char *file = strchr(arg, ':');
    if (file)
        *file++ = 0;
    struct target *t = &targets[n_targets++];
    t->path = arg;
    t->file = file;
    t->mask = mask;
    t->clients = atoi(clients);
    return t->clients > 0 && t->clients <= MAX_CLIENTS;
}

int main(int argc, char **argv)
{
    long longest = 60;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        bool takes = true;
        if (!strcmp(a, "--device"))
            opt.device = v;
        else if (!strcmp(a, "--platform"))
            opt.platform = v;
        else if (!strcmp(a, "--lengths"))
            opt.lengths = v;
        else if (!strcmp(a, "--longest"))
            longest = atol(v);
        else if (!strcmp(a, "--seconds"))
            opt.seconds = atof(v);
        else if (!strcmp(a, "--warm"))
            opt.warm = atof(v);
        else if (!strcmp(a, "--no-check"))
            takes = opt.check = false;
        else if (!strcmp(a, "--processes"))
            takes = false, opt.processes = true;
        else if (takes = false, !parse_target(argv[i])) {
            fprintf(stderr, "load: what is %s? use MODEL@MASK@CLIENTS\n", a);
            return 2;
        }
        i += takes;
    }
    make_texts((size_t)(longest > MAX_TOKENS ? MAX_TOKENS : longest < 24 ? 24 : longest));
    printf("{\"seconds\":%.3f,\"models\":[", opt.seconds);
    int rc = opt.processes ? run_apart() : run(0, n_targets, stdout);
    printf("]}\n");
    return rc;
}
