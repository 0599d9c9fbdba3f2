/* SPDX-License-Identifier: Apache-2.0 */
/* Files: maps that notice change, bounded reads, files below a root, and output that is whole or not there. */
#include "base/file.h"
#include "base/mem.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rkf-test-XXXXXX");
    return mkdtemp(dir) ? 0 : 1;
}

static int count_files(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int tear_down(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(dir);
}

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
    return path[i];
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_dir(name), "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void assert_file_is(const char *name, const char *text)
{
    rkf_error err;
    char *p = NULL;
    size_t len = 0;
    assert_ok(file_read(in_dir(name), 1 << 20, &p, &len, &err));
    assert_string_equal(p, text);
    assert_int_equal(len, strlen(text));
    mem_free(p);
}

static void maps_a_file(void **state)
{
    (void)state;
    struct file_map m = { .fd = -1 };
    rkf_error err;
    write_file("a", "hello");
    assert_ok(file_map(in_dir("a"), &m, &err));
    assert_int_equal(m.len, 5);
    assert_memory_equal(m.p, "hello", 5);
    file_map_drop(&m, 0, 5);
    assert_memory_equal(m.p, "hello", 5); /* dropped pages come back from the file */
    assert_false(file_map_changed(&m));
    file_unmap(&m);
    write_file("empty", "");
    assert_ok(file_map(in_dir("empty"), &m, &err));
    assert_null(m.p);
    assert_int_equal(m.len, 0);
    file_unmap(&m);
    assert_int_equal(m.fd, -1);
    file_unmap(&m); /* twice is fine */
}

static void a_map_notices_change(void **state)
{
    (void)state;
    struct file_map m = { .fd = -1 };
    rkf_error err;
    write_file("a", "hello");
    assert_ok(file_map(in_dir("a"), &m, &err));
    assert_int_equal(truncate(in_dir("a"), 3), 0);
    assert_true(file_map_changed(&m));
    file_unmap(&m);
    assert_ok(file_map(in_dir("a"), &m, &err));
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000000000 } };
    assert_int_equal(utimensat(AT_FDCWD, in_dir("a"), times, 0), 0);
    assert_true(file_map_changed(&m)); /* same size, other time */
    file_unmap(&m);
    assert_ok(file_map(in_dir("a"), &m, &err));
    write_file("b", "hel");
    assert_int_equal(rename(in_dir("b"), in_dir("a")), 0);
    assert_true(file_map_changed(&m)); /* another file has taken its place */
    file_unmap(&m);
}

static void what_is_no_file(void **state)
{
    (void)state;
    struct file_map m = { .fd = 77 };
    rkf_error err;
    char *p = NULL;
    size_t len = 9;
    assert_fails(file_map(in_dir("none"), &m, &err), RKF_NOT_FOUND, "none: No such file");
    assert_fails(file_map(dir, &m, &err), RKF_IO, "not a regular file");
    assert_fails(file_map("/dev/null", &m, &err), RKF_IO, "not a regular file");
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_fails(file_map(in_dir("fifo"), &m, &err), RKF_IO, "not a regular file"); /* and does not wait for a writer */
    assert_fails(file_read(in_dir("fifo"), 10, &p, &len, &err), RKF_IO, "not a regular file");
    write_file("a", "x");
    assert_fails(file_read(in_dir("a/b"), 10, &p, &len, &err), RKF_NOT_FOUND, "a/b");
    assert_int_equal(m.fd, 77);
    assert_null(p);
    assert_int_equal(len, 9);
}

static void reads_at_most(void **state)
{
    (void)state;
    rkf_error err;
    char *p = NULL;
    size_t len = 0;
    write_file("a", "hello");
    assert_ok(file_read(in_dir("a"), 5, &p, &len, &err));
    assert_int_equal(len, 5);
    assert_string_equal(p, "hello");
    mem_free(p);
    p = NULL;
    assert_fails(file_read(in_dir("a"), 4, &p, &len, &err), RKF_FORMAT, "too large: 5 bytes, at most 4");
    mem_fail_after(0);
    rkf_status rc = file_read(in_dir("a"), 5, &p, &len, &err);
    mem_fail_after(-1);
    assert_int_equal(rc, RKF_NO_MEMORY);
    assert_null(p);
}

static void below_a_root(void **state)
{
    (void)state;
    char text[16], name[16], path[32];
    write_file("version", "12345678901234567890");
    write_file("core2", "");
    write_file("core10", "");
    write_file(".core0", "");
    assert_int_equal(root_read(dir, "/version", text, sizeof text), 15);
    assert_string_equal(text, "123456789012345");
    assert_int_equal(root_read(dir, "/none", text, sizeof text), -ENOENT);
    assert_int_equal(root_read(dir, "/version", text, 0), -ENAMETOOLONG);
    assert_true(root_read("/", "/proc/self/stat", text, sizeof text) > 0); /* its size is 0 */
    assert_true(root_read(NULL, "/proc/self/stat", text, sizeof text) > 0);
    assert_true(root_find(dir, "/", "*core*", name, sizeof name)); /* the first by name, hidden ones aside */
    assert_string_equal(name, "core10");
    assert_false(root_find(dir, "/", "gpu*", name, sizeof name));
    assert_false(root_find(dir, "/none", "*", name, sizeof name));
    assert_true(root_path("/a//", "/b", path, sizeof path));
    assert_string_equal(path, "/a/b");
    assert_true(root_path("/", "/b", path, sizeof path));
    assert_string_equal(path, "/b");
    assert_false(root_path("/a/", "/b", path, 4));
}

static void paths(void **state)
{
    (void)state;
    char path[8];
    assert_true(path_join(path, sizeof path, "a", "b"));
    assert_string_equal(path, "a/b");
    assert_true(path_join(path, sizeof path, "a/", "b"));
    assert_string_equal(path, "a/b");
    assert_false(path_join(path, sizeof path, "abcd", "efg"));
    write_file("a", "x");
    assert_true(path_is_file(in_dir("a")) && !path_is_dir(in_dir("a")));
    assert_true(path_is_dir(dir) && !path_is_file(dir));
    assert_false(path_is_file(in_dir("none")) || path_is_dir(in_dir("none")));
}

static void output_appears_whole(void **state)
{
    (void)state;
    struct file_out out;
    rkf_error err;
    struct stat st;
    write_file("out", "old");
    mode_t mask = umask(027);
    assert_ok(file_out_open(in_dir("out"), &out, &err));
    umask(mask);
    assert_ok(file_out_write(&out, "new ", 4, &err));
    assert_file_is("out", "old"); /* nothing is seen before the commit */
    assert_ok(file_out_write(&out, "text", 4, &err));
    assert_ok(file_out_write(&out, "", 0, &err));
    assert_ok(file_out_commit(&out, &err));
    assert_file_is("out", "new text");
    assert_int_equal(stat(in_dir("out"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* as any new file */
    assert_int_equal(count_files(), 1);
    assert_int_equal(out.fd, -1);
    file_out_abort(&out); /* after the end: nothing */
    assert_file_is("out", "new text");
}

static void given_up_output_leaves_nothing(void **state)
{
    (void)state;
    struct file_out out;
    rkf_error err;
    assert_ok(file_out_open(in_dir("out"), &out, &err));
    assert_ok(file_out_write(&out, "half", 4, &err));
    assert_int_equal(count_files(), 1);
    file_out_abort(&out);
    assert_int_equal(count_files(), 0);
    assert_fails(file_out_open(in_dir("none/out"), &out, &err), RKF_IO, "cannot write");
    assert_fails(file_out_open(dir, &out, &err), RKF_IO, "Is a directory");
}

/* A disk that fills up: the error comes from write or, at the latest, from commit; the old file stands. */
static void full_disk(void **state)
{
    (void)state;
    struct file_out out;
    rkf_error err;
    char block[4096] = { 0 };
    assert_ok(file_out_open("/dev/full", &out, &err)); /* a device is written in place */
    assert_fails(file_out_write(&out, "x", 1, &err), RKF_IO, "cannot write /dev/full: No space left on device");
    file_out_abort(&out);

    write_file("out", "old");
    struct rlimit before, small = { 6000, 0 };
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    rkf_status opened = file_out_open(in_dir("out"), &out, &err);
    rkf_status first = opened ? opened : file_out_write(&out, block, sizeof block, &err);
    rkf_status second = first ? first : file_out_write(&out, block, sizeof block, &err); /* the first part still fits */
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(first, RKF_OK);
    assert_int_equal(second, RKF_IO);
    assert_non_null(strstr(err.message, "File too large"));
    file_out_abort(&out);
    assert_file_is("out", "old");
    assert_int_equal(count_files(), 1);
}

/* The place vanishes between open and commit. */
static void commit_can_fail(void **state)
{
    (void)state;
    struct file_out out;
    rkf_error err;
    assert_ok(file_out_open(in_dir("out"), &out, &err));
    assert_int_equal(mkdir(in_dir("out"), 0700), 0);
    assert_fails(file_out_commit(&out, &err), RKF_IO, "cannot rename");
    assert_int_equal(out.fd, -1);
    assert_int_equal(count_files(), 1);
    assert_int_equal(rmdir(in_dir("out")), 0);
}

static void output_out_of_memory(void **state)
{
    (void)state;
    struct file_out out = { .fd = 5 };
    rkf_error err;
    for (int n = 0; n < 2; n++) {
        mem_fail_after(n);
        rkf_status rc = file_out_open(in_dir("out"), &out, &err);
        mem_fail_after(-1);
        assert_int_equal(rc, RKF_NO_MEMORY);
        assert_int_equal(out.fd, 5);
    }
    assert_int_equal(count_files(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(maps_a_file),
        TEST(a_map_notices_change),
        TEST(what_is_no_file),
        TEST(reads_at_most),
        TEST(below_a_root),
        TEST(paths),
        TEST(output_appears_whole),
        TEST(given_up_output_leaves_nothing),
        TEST(full_disk),
        TEST(commit_can_fail),
        TEST(output_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
