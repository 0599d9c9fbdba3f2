/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model on token ids, without the engine around it: how fast the CPU device and the encoder are.
 *
 * usage: bench_model MODEL_DIR IDS [dtype=f32] [threads=N] [isa=NAME] [tokens=BUDGET] [repeat=N] [dump=FILE]
 *        [clock=cpu] [length=N] [what=load,natural,sorted,latency]
 * IDS has one line of token ids per text (bench/texts.py). tokens: of a batch, 2048 as in the engine. Prints one JSON
 * line per measurement. dump writes the embeddings, [texts, hidden] f32, in the order of IDS.
 */
#include "device/cpu/cpu.h"
#include "encoder/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TEXTS = 65536 };

struct text {
    int32_t *ids;
    uint32_t n, index;
};

struct bench {
    const char *dtype, *isa, *what, *dump;
    int threads, repeat;
    bool cpu_clock; /* time is the process's own, which a busy machine disturbs less: for one thread */
    uint32_t budget, length;
    struct text *texts;
    uint32_t n_texts;
    uint64_t n_tokens;
    struct exec x;
    struct body *body;
    struct pooler *pooler;
    uint32_t width;
    float *embeddings; // [n_texts, width]
};

static void die(const char *what, const rkf_error *err)
{
    fprintf(stderr, "bench_model: %s: %s\n", what, err ? err->message : "out of memory or bad input");
    exit(1);
}

static void read_texts(struct bench *b, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    b->texts = calloc(MAX_TEXTS, sizeof *b->texts);
    if (!f || !b->texts)
        die(path, NULL);
    while (getline(&line, &cap, f) > 0 && b->n_texts < MAX_TEXTS) {
        struct text *t = &b->texts[b->n_texts];
        t->ids = malloc((strlen(line) / 2 + 1) * sizeof *t->ids);
        t->index = b->n_texts;
        char *p = line, *end = NULL;
        for (;; p = end) {
            long id = strtol(p, &end, 10);
            if (end == p)
                break;
            t->ids[t->n++] = (int32_t)id;
        }
        if (t->n)
            b->n_texts++;
        b->n_tokens += t->n;
    }
    free(line);
    fclose(f);
}

static void load(struct bench *b, const char *dir)
{
    rkf_error err;
    struct model_dir *m = NULL;
    struct weights *w = NULL;
    struct device *d = NULL;
    enum dtype type;
    if (!strcmp(b->dtype, "int8"))
        type = DTYPE_I8;
    else if (!dtype_parse(b->dtype, &type))
        die(b->dtype, NULL);
    if (cpu_device_create(b->isa, NULL, &d, &err) || team_create(b->threads, NULL, &b->x.team, &err))
        die("device", &err);
    b->x.device = d;
    b->x.cores = 1;
    int64_t start = time_now_ns();
    if (model_dir_open(dir, NULL, &m, &err) || weights_open(m->path, &w, &err))
        die(dir, &err);
    int64_t opened = time_now_ns();
    if (encoder_create(&b->x, m, w, type, &b->body, &err) || pooler_create(&b->x, m, DTYPE_F32, &b->pooler, &err))
        die(dir, &err);
    struct pool_options o = { .pooling = -1, .normalize = 1 };
    b->width = pooler_width(b->pooler, &o);
    b->embeddings = calloc((size_t)b->n_texts * b->width, sizeof *b->embeddings);
    printf("{\"what\":\"load\",\"isa\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"open_ms\":%.2f,\"pack_ms\":%.2f,"
           "\"weights_mb\":%.1f}\n",
           cpu_device_isa(d), b->dtype, b->threads, (double)(opened - start) / 1e6,
           (double)(time_now_ns() - opened) / 1e6, (double)b->body->ops->limits(b->body).bytes / 1e6);
}

/* One run over texts [first, first + n). */
static void run_batch(struct bench *b, const struct text *texts, uint32_t n)
{
    static int32_t *ids;
    static uint32_t *cu, ids_cap, cu_cap;
    rkf_error err;
    uint32_t tokens = 0;
    for (uint32_t i = 0; i < n; i++)
        tokens += texts[i].n;
    if (tokens > ids_cap)
        ids = realloc(ids, (ids_cap = tokens) * sizeof *ids);
    if (n + 1 > cu_cap)
        cu = realloc(cu, (cu_cap = n + 1) * sizeof *cu);
    cu[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(ids + cu[i], texts[i].ids, texts[i].n * sizeof *ids);
        cu[i + 1] = cu[i] + texts[i].n;
    }
    struct batch batch = { .n_seqs = n, .n_tokens = tokens, .ids = ids, .cu_lens = cu };
    struct pool_options o = { .pooling = -1, .normalize = 1 };
    struct rows hidden;
    arena_reset(&b->x.scratch);
    if (b->body->ops->run(b->body, &b->x, &batch, &hidden, &err))
        die("run", &err);
    float *out = arena_array(&b->x.scratch, (size_t)n * b->width, sizeof *out);
    if (!out || pooler_run(b->pooler, &b->x, &batch, &hidden, &o, out, &err))
        die("pool", &err);
    for (uint32_t i = 0; i < n; i++)
        memcpy(b->embeddings + (size_t)texts[i].index * b->width, out + (size_t)i * b->width, b->width * sizeof *out);
}

static void run_all(struct bench *b, const struct text *texts)
{
    for (uint32_t i = 0; i < b->n_texts;) {
        uint32_t n = 1, tokens = texts[i].n;
        while (i + n < b->n_texts && tokens + texts[i + n].n <= b->budget)
            tokens += texts[i + n++].n;
        run_batch(b, texts + i, n);
        i += n;
    }
}

static int by_length(const void *a, const void *b)
{
    const struct text *x = a, *y = b;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const struct bench *b, const char *what, uint32_t length, double *ms, int n, double tokens)
{
    qsort(ms, (size_t)n, sizeof *ms, by_number);
    printf("{\"what\":\"%s\",\"dtype\":\"%s\",\"threads\":%d,\"length\":%u,\"best_ms\":%.3f,\"median_ms\":%.3f,"
           "\"worst_ms\":%.3f,\"tokens_per_s\":%.0f,\"best_tokens_per_s\":%.0f}\n",
           what, b->dtype, b->threads, length, ms[0], ms[n / 2], ms[n - 1], tokens / ms[n / 2] * 1e3,
           tokens / ms[0] * 1e3);
    fflush(stdout);
}

static int64_t now_ns(const struct bench *b)
{
    struct timespec ts;
    if (!b->cpu_clock)
        return time_now_ns();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void throughput(struct bench *b, const char *what, const struct text *texts)
{
    double ms[64];
    run_all(b, texts);
    for (int i = 0; i < b->repeat; i++) {
        int64_t start = now_ns(b);
        run_all(b, texts);
        ms[i] = (double)(now_ns(b) - start) / 1e6;
    }
    print_times(b, what, 0, ms, b->repeat, (double)b->n_tokens);
}

static void latency(struct bench *b)
{
    static const uint32_t all[] = { 8, 16, 32, 64, 128, 256 };
    const uint32_t *lengths = b->length ? &b->length : all;
    size_t n_lengths = b->length ? 1 : sizeof all / sizeof *all;
    int32_t ids[512];
    for (int i = 0; i < 512; i++)
        ids[i] = 1000 + i * 37 % 5000;
    for (size_t i = 0; i < n_lengths; i++) {
        struct text t = { .ids = ids, .n = lengths[i] };
        double ms[64];
        for (int r = 0; r < 64; r++) {
            int64_t start = now_ns(b);
            run_batch(b, &t, 1);
            ms[r] = (double)(now_ns(b) - start) / 1e6;
        }
        print_times(b, "latency", lengths[i], ms, 64, lengths[i]);
    }
}

static void option(struct bench *b, const char *arg)
{
    const char *value = strchr(arg, '=');
    if (!value)
        die(arg, NULL);
    value++;
    if (!strncmp(arg, "dtype=", 6))
        b->dtype = value;
    else if (!strncmp(arg, "isa=", 4))
        b->isa = value;
    else if (!strncmp(arg, "threads=", 8))
        b->threads = atoi(value);
    else if (!strncmp(arg, "tokens=", 7))
        b->budget = (uint32_t)atoi(value);
    else if (!strncmp(arg, "repeat=", 7))
        b->repeat = atoi(value) < 1 ? 1 : atoi(value) > 64 ? 64 : atoi(value);
    else if (!strncmp(arg, "length=", 7))
        b->length = (uint32_t)atoi(value) > 512 ? 512 : (uint32_t)atoi(value);
    else if (!strncmp(arg, "clock=", 6))
        b->cpu_clock = !strcmp(value, "cpu");
    else if (!strncmp(arg, "dump=", 5))
        b->dump = value;
    else if (!strncmp(arg, "what=", 5))
        b->what = value;
    else
        die(arg, NULL);
}

int main(int argc, char **argv)
{
    struct bench b = { .dtype = "f32", .what = "load,natural,sorted,latency", .repeat = 5, .budget = 2048 };
    b.threads = cpu_count_usable("/");
    if (argc < 3)
        die("usage: bench_model MODEL_DIR IDS [key=value ...]", NULL);
    for (int i = 3; i < argc; i++)
        option(&b, argv[i]);
    read_texts(&b, argv[2]);
    load(&b, argv[1]);
    struct text *sorted = malloc(b.n_texts * sizeof *sorted);
    memcpy(sorted, b.texts, b.n_texts * sizeof *sorted);
    qsort(sorted, b.n_texts, sizeof *sorted, by_length);
    if (strstr(b.what, "natural"))
        throughput(&b, "natural", b.texts);
    if (strstr(b.what, "sorted"))
        throughput(&b, "sorted", sorted);
    if (b.dump) {
        run_all(&b, b.texts);
        FILE *f = fopen(b.dump, "wb");
        if (!f || fwrite(b.embeddings, sizeof(float) * b.width, b.n_texts, f) != b.n_texts || fclose(f))
            die(b.dump, NULL);
    }
    if (strstr(b.what, "latency"))
        latency(&b);
    return 0;
}
