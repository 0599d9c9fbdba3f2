/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The roofline of this machine and where the linear layers stand under it, in one run.
 *
 * usage: roofline [threads=N] [isa=NAME] [hidden=384] [middle=1536]
 *
 * For each compute dtype and number of rows the four products of an encoder layer are timed. Attainable is the smaller
 * of the peak of arithmetic and (operations per byte of weights) x (bandwidth of the memory the weights fit in).
 * Times are the best of many short runs, with the peak measured again beside each: on a busy machine the share is
 * meant, not the number.
 */
#include "roofline.h"

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 25 };

static struct exec x;
static int threads;

static void die(const char *what, const rkf_error *err)
{
    fprintf(stderr, "roofline: %s: %s\n", what, err ? err->message : "out of memory or bad option");
    exit(1);
}

/* ---- peaks */

struct peak_job {
    const struct peak *p;
    long rounds;
};

static void peak_thread(void *arg, int thread)
{
    (void)thread;
    const struct peak_job *j = arg;
    j->p->rounds(j->rounds);
}

static double peak_gops(const struct peak *p, int runs)
{
    struct peak_job j = { p, 20000 };
    double best = 0;
    for (int i = 0; i < runs; i++) {
        int64_t start = time_now_ns();
        team_run(x.team, peak_thread, &j);
        double gops = p->ops * (double)j.rounds * threads / (double)(time_now_ns() - start);
        best = gops > best ? gops : best;
    }
    return best;
}

struct read_job {
    const char *p;
    size_t each;
};

static void read_thread(void *arg, int thread)
{
    const struct read_job *j = arg;
    read_bytes(j->p + (size_t)thread * j->each, j->each);
}

static double read_gbs(const char *p, size_t bytes)
{
    struct read_job j = { p, bytes / (size_t)threads / 256 * 256 };
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        int64_t start = time_now_ns();
        team_run(x.team, read_thread, &j);
        double gbs = (double)j.each * threads / (double)(time_now_ns() - start);
        best = gbs > best ? gbs : best;
    }
    return best;
}

static void print_memory(void)
{
    static const size_t sizes[] = { 32 << 10, 1 << 20, 8 << 20, 40 << 20, 256 << 20 };
    char *p = mem_alloc_aligned(sizes[4], 64);
    if (!p)
        die("memory", NULL);
    memset(p, 1, sizes[4]);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        printf("read %6zu KB in all: %7.1f GB/s\n", sizes[i] >> 10, read_gbs(p, sizes[i]));
    mem_free_aligned(p);
}

/* ---- linear layers */

static struct linear *layer(const float *w, uint32_t in, uint32_t out, enum dtype type)
{
    rkf_error err;
    struct linear *l = NULL;
    struct linear_part part = { view_make((void *)(uintptr_t)w, DTYPE_F32, out, in), NULL, DTYPE_F32 };
    if (x.device->linear->prepare(&x, &part, 1, type, &l, &err))
        die("prepare", &err);
    return l;
}

static double apply_ns(const struct linear *l, const float *in, float *y, uint32_t rows, enum activation act)
{
    rkf_error err;
    struct epilogue e = { .act = act };
    struct view xv = view_make((void *)(uintptr_t)in, DTYPE_F32, rows, l->in),
                yv = view_make(y, DTYPE_F32, rows, l->out);
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        int64_t start = time_now_ns();
        if (x.device->linear->apply(&x, l, xv, &e, yv, &err))
            die("apply", &err);
        double ns = (double)(time_now_ns() - start);
        best = ns < best ? ns : best;
    }
    return best;
}

/* Of weights of this type; those in 16 bits that are widened to f32 are measured by the peak of f32. NULL: not known.
 */
static const struct peak *peak_of(const struct peak *peaks, int n, const char *name, enum dtype type,
                                  const struct device *d)
{
    const struct kernels *k = d->priv;
    if (k->gemm[gemm_type_of(type)].widen)
        name = "f32";
    for (int i = 0; i < n; i++)
        if (!strcmp(peaks[i].name, name))
            return &peaks[i];
    return NULL;
}

static void print_layers(const char *name, const struct peak *p, enum dtype type, uint32_t hidden, uint32_t middle)
{
    static const uint32_t row_counts[] = { 1, 8, 32, 128, 512 };
    const struct {
        const char *name;
        uint32_t in, out;
        enum activation act;
    } shapes[] = { { "qkv", hidden, 3 * hidden, ACT_NONE },
                   { "o", hidden, hidden, ACT_NONE },
                   { "up+gelu", hidden, middle, ACT_GELU },
                   { "down", middle, hidden, ACT_NONE } };
    size_t most = (size_t)(middle > 3 * hidden ? middle : 3 * hidden);
    float *w = mem_array((size_t)hidden * most, sizeof *w), *in = mem_array(512 * most, sizeof *in),
          *y = mem_array(512 * most, sizeof *y);
    if (!w || !in || !y)
        die("memory", NULL);
    for (size_t i = 0; i < hidden * most; i++)
        w[i] = (float)(i * 2654435761u % 1000) / 1000 - 0.5f;
    for (size_t i = 0; i < 512 * most; i++)
        in[i] = (float)(i * 40503u % 1000) / 500 - 1;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct linear *l = layer(w, shapes[s].in, shapes[s].out, type);
        printf("%-5s %-8s [%u, %u]:", name, shapes[s].name, shapes[s].out, shapes[s].in);
        for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
            double ns = apply_ns(l, in, y, row_counts[r], shapes[s].act), peak = peak_gops(p, 3);
            double gops = 2.0 * row_counts[r] * l->in * l->out / ns;
            printf("  %u rows %.0f G (%.0f%%) %.1f us", row_counts[r], gops, 100 * gops / peak, ns / 1e3);
        }
        printf("\n");
        x.device->linear->release(l);
    }
    mem_free(w), mem_free(in), mem_free(y);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum dtype type;
    } types[] = { { "f32", DTYPE_F32 }, { "bf16", DTYPE_BF16 }, { "f16", DTYPE_F16 }, { "int8", DTYPE_I8 } };
    const char *isa = NULL;
    uint32_t hidden = 384, middle = 1536;
    rkf_error err;
    struct device *d = NULL;
    struct peak peaks[8];
    threads = cpu_count_usable("/");
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "threads=", 8))
            threads = atoi(argv[i] + 8);
        else if (!strncmp(argv[i], "isa=", 4))
            isa = argv[i] + 4;
        else if (!strncmp(argv[i], "hidden=", 7))
            hidden = (uint32_t)atoi(argv[i] + 7);
        else if (!strncmp(argv[i], "middle=", 7))
            middle = (uint32_t)atoi(argv[i] + 7);
        else
            die(argv[i], NULL);
    if (cpu_device_create(isa, NULL, &d, &err) || team_create(threads, NULL, &x.team, &err))
        die("device", &err);
    x.device = d;
    printf("isa %s, %d threads\n", cpu_device_isa(d), threads);
    int n = peaks_list(peaks, 8);
    for (int i = 0; i < n; i++)
        printf("peak %-5s %8.1f Gop/s\n", peaks[i].name, peak_gops(&peaks[i], RUNS));
    print_memory();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const struct peak *p = peak_of(peaks, n, types[t].name, types[t].type, d);
        if (p)
            print_layers(types[t].name, p, types[t].type, hidden, middle);
    }
    team_destroy(x.team);
    arena_free(&x.scratch);
    cpu_device_free(d);
    return 0;
}
