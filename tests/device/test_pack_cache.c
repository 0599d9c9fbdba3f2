/* SPDX-License-Identifier: Apache-2.0 */
/* Packed weights on disk: the second load reads what the first wrote; damaged, foreign and unwritable files are not
 * used. */
#include "cpu_test_util.h"

#include "device/cpu/pack_cache.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IN = 37, OUT = 70, LAYERS = 3 };

static float weights[LAYERS][OUT * IN], bias[OUT];
static char dir[] = "/tmp/rkf-packs-XXXXXX", file[512];
static int warnings;

static void count_warning(void *cookie, rkf_log_level level, const char *line)
{
    (void)cookie, (void)line;
    warnings += level == RKF_LOG_WARN;
}
static const struct logger counting = { .fn = count_warning, .level = RKF_LOG_WARN };

static struct pack_cache *open_cache(const struct device *d, uint64_t identity)
{
    return pack_cache_open(dir, "model", DTYPE_I8, cpu_device_isa(d), identity, &counting);
}

/* Packs all layers through the cache; out [LAYERS][OUT]: each layer applied to the same row. */
static void load_all(struct exec *x, struct pack_cache *c, float out[LAYERS][OUT])
{
    struct linear *l[LAYERS] = { 0 };
    struct epilogue plain = { .act = ACT_NONE };
    float row[IN];
    rkf_error err;
    for (int i = 0; i < IN; i++)
        row[i] = (float)(i % 7) - 3;
    x->packs = c;
    for (int i = 0; i < LAYERS; i++) {
        struct linear_part part = { view_make(weights[i], DTYPE_F32, OUT, IN), bias, DTYPE_F32 };
        assert_int_equal(x->device->linear->prepare(x, &part, 1, DTYPE_I8, &l[i], &err), RKF_OK);
    }
    x->packs = NULL;
    for (int i = 0; i < LAYERS; i++) {
        assert_int_equal(x->device->linear->apply(x, l[i], view_make(row, DTYPE_F32, 1, IN), &plain,
                                                  view_make(out[i], DTYPE_F32, 1, OUT), &err),
                         RKF_OK);
        x->device->linear->release(l[i]);
    }
}

static void find_file(void)
{
    struct dirent *e;
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.') {
            snprintf(file, sizeof file, "%s/%s", dir, e->d_name);
            n++;
        }
    closedir(d);
    assert_int_equal(n, 1); /* and no temporary file is left */
}

static long read_file(char *to, long max)
{
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    long n = (long)fread(to, 1, (size_t)max, f);
    fclose(f);
    return n;
}

static void write_file(const char *from, long n)
{
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(from, 1, (size_t)n, f), n);
    fclose(f);
}

static void negate(void)
{
    for (int i = 0; i < LAYERS; i++)
        for (int n = 0; n < OUT * IN; n++)
            weights[i][n] = -weights[i][n];
}

/* What the file holds instead of the weights, to see that it was read: with the weights changed, the answers stay. */
static bool reads_file(struct exec *x, uint64_t identity, float want[LAYERS][OUT])
{
    float out[LAYERS][OUT];
    negate();
    struct pack_cache *c = open_cache(x->device, identity);
    load_all(x, c, out);
    pack_cache_close(c, false);
    negate();
    return !memcmp(out, want, sizeof out);
}

static void fill(struct exec *x, float want[LAYERS][OUT])
{
    struct pack_cache *c = open_cache(x->device, 1);
    assert_non_null(c);
    load_all(x, c, want);
    pack_cache_close(c, true);
    find_file();
}

static void test_second_load_reads(void **state)
{
    struct exec *x = *state;
    float plain[LAYERS][OUT], want[LAYERS][OUT];
    load_all(x, NULL, plain);
    fill(x, want);
    assert_memory_equal(plain, want, sizeof want);
    assert_true(reads_file(x, 1, want));
    assert_false(reads_file(x, 2, want)); /* other weight files */
    assert_int_equal(warnings, 0);
}

/* A layer with an outlier in x; without its weights, if they are to come from the cache. */
static void load_settled(struct exec *x, struct pack_cache *c, bool cached, float y[OUT])
{
    static float none[OUT * IN];
    float *w = cached ? none : weights[0], row[IN];
    struct linear_part part = { view_make(w, DTYPE_F32, OUT, IN), bias, DTYPE_F32 };
    struct epilogue plain = { .act = ACT_NONE };
    struct view in = view_make(row, DTYPE_F32, 1, IN), out = view_make(y, DTYPE_F32, 1, OUT);
    struct linear *l = NULL;
    rkf_error err;
    for (int i = 0; i < IN; i++)
        row[i] = i == 3 ? 50.0f : (float)(i % 7) - 3;
    x->packs = c;
    x->observe = true;
    assert_int_equal(x->device->linear->prepare(x, &part, 1, DTYPE_I8, &l, &err), RKF_OK);
    assert_int_equal(x->device->linear->apply(x, l, in, &plain, out, &err), RKF_OK);
    assert_int_equal(x->device->linear->settle(x, l, &err), RKF_OK);
    x->observe = false;
    x->packs = NULL;
    assert_int_equal(x->device->linear->apply(x, l, in, &plain, out, &err), RKF_OK);
    x->device->linear->release(l);
}

static void test_outliers_are_kept(void **state)
{
    struct exec *x = *state;
    float want[OUT], got[OUT];
    for (int i = 0; i < 2; i++) {
        struct pack_cache *c = open_cache(x->device, 3);
        assert_non_null(c);
        load_settled(x, c, i, i ? got : want);
        pack_cache_close(c, true);
    }
    assert_memory_equal(got, want, sizeof want);
    for (int n = 0; n < OUT; n++) { /* and it is the outlier's weight, exactly */
        double sum = bias[n];
        for (int i = 0; i < IN; i++)
            sum += (i == 3 ? 50 : i % 7 - 3) * (double)weights[0][n * IN + i];
        assert_float_equal(got[n], sum, 0.5);
    }
}

static void test_damaged_is_made_anew(void **state)
{
    struct exec *x = *state;
    static char good[1 << 18], bad[1 << 18];
    float want[LAYERS][OUT], out[LAYERS][OUT];
    fill(x, want);
    long n = read_file(good, sizeof good);
    for (int i = 0; i < 300; i++) {
        long m = i % 3 ? n : (long)random_below((uint32_t)n), at = (long)random_below((uint32_t)n);
        if (i % 3 == 2)
            at = n - 1 - (long)random_below(160); /* index and footer */
        memcpy(bad, good, (size_t)n);
        bad[at] = (char)(bad[at] ^ 1 << random_below(8));
        write_file(bad, m);
        struct pack_cache *c = open_cache(x->device, 1);
        load_all(x, c, out);
        pack_cache_close(c, true);
        assert_memory_equal(out, want, sizeof out);
        assert_int_equal(read_file(bad, sizeof bad), n);
        assert_memory_equal(bad, good, (size_t)n);
    }
    assert_true(warnings > 0);
    warnings = 0;
}

static void test_other_layers_are_not_mixed_up(void **state)
{
    struct exec *x = *state;
    float want[LAYERS][OUT], y[16] = { 0 }, row[IN] = { 1 };
    struct linear *l = NULL;
    struct epilogue plain = { .act = ACT_NONE };
    rkf_error err;
    fill(x, want);
    struct pack_cache *c = open_cache(x->device, 1);
    struct linear_part part = { view_make(weights[1], DTYPE_F32, 16, IN), NULL, DTYPE_F32 };
    x->packs = c;
    assert_int_equal(x->device->linear->prepare(x, &part, 1, DTYPE_F32, &l, &err), RKF_OK);
    x->packs = NULL;
    assert_int_equal(
        x->device->linear->apply(x, l, view_make(row, DTYPE_F32, 1, IN), &plain, view_make(y, DTYPE_F32, 1, 16), &err),
        RKF_OK);
    for (int i = 0; i < 16; i++)
        assert_true(y[i] == weights[1][i * IN]);
    x->device->linear->release(l);
    pack_cache_close(c, true);
    assert_int_not_equal(access(file, F_OK), 0); /* the next load makes it anew */
}

static void test_failed_load_leaves_nothing(void **state)
{
    struct exec *x = *state;
    float want[LAYERS][OUT];
    struct pack_cache *c = open_cache(x->device, 1);
    load_all(x, c, want);
    pack_cache_close(c, false);
    assert_int_equal(rmdir(dir), 0); /* it is empty */
    assert_non_null(mkdtemp(strcpy(dir, "/tmp/rkf-packs-XXXXXX")));
}

static void test_unwritable(void **state)
{
    struct exec *x = *state;
    char saved[sizeof dir];
    float plain[LAYERS][OUT], out[LAYERS][OUT];
    load_all(x, NULL, plain);
    strcpy(saved, dir);
    strcpy(dir, "/proc/none");
    warnings = 0;
    struct pack_cache *c = open_cache(x->device, 1);
    assert_null(c);
    assert_int_equal(warnings, 1);
    load_all(x, c, out);
    assert_memory_equal(out, plain, sizeof out);
    strcpy(dir, saved);
}

static int set_up(void **state)
{
    static struct exec x;
    struct device *d = NULL;
    rkf_error err;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < LAYERS; i++)
        for (int n = 0; n < OUT * IN; n++)
            weights[i][n] = random_float(-1, 1);
    for (int i = 0; i < OUT; i++)
        bias[i] = random_float(-1, 1);
    assert_int_equal(cpu_device_create(NULL, NULL, &d, &err), RKF_OK);
    exec_open(&x, d, 2);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct exec *x = *state;
    exec_close(x);
    cpu_device_free((struct device *)(uintptr_t)x->device);
    unlink(file);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_load_reads),          cmocka_unit_test(test_outliers_are_kept),
        cmocka_unit_test(test_damaged_is_made_anew),       cmocka_unit_test(test_other_layers_are_not_mixed_up),
        cmocka_unit_test(test_failed_load_leaves_nothing), cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
