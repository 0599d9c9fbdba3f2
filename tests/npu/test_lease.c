/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: between two holders in one process, between processes, after a killed process, without a directory. */
#include "base/file.h"
#include "npu/lease.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/rkf-lease-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    char path[128];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/core%d", dir, i);
        unlink(path);
    }
    return rmdir(dir);
}

static struct lease *open_lease(uint32_t n)
{
    struct lease *l = NULL;
    assert_int_equal(lease_open(dir, n, NULL, &l, NULL), RKF_OK);
    assert_true(lease_active(l));
    return l;
}

static void all_or_none(void **state)
{
    (void)state;
    struct lease *a = open_lease(3), *b = open_lease(3);
    assert_true(lease_try(a, 2));
    assert_false(lease_try(b, 7)); /* core 1 is taken: 0 and 2 are not kept */
    assert_true(lease_try(a, 5));
    assert_int_equal(lease_busy(b), 7);
    assert_int_equal(lease_busy(a), 0); /* its own do not count */
    lease_give(a, 7);
    assert_int_equal(lease_busy(b), 0);
    assert_true(lease_try(b, 7));
    lease_close(b); /* gives all back */
    assert_true(lease_try(a, 7));
    lease_close(a);
}

static void taking_is_counted(void **state)
{
    (void)state;
    struct lease *a = open_lease(3), *b = open_lease(3);
    assert_true(lease_try(a, 1));
    assert_true(lease_try(a, 3));
    lease_give(a, 1);
    assert_false(lease_try(b, 1));
    lease_give(a, 3);
    assert_true(lease_try(b, 3));
    lease_give(b, 3);
    lease_give(b, 3); /* one too many does no harm */
    assert_true(lease_try(a, 3));
    lease_close(a);
    lease_close(b);
}

static void killed_processes_give_back(void **state)
{
    (void)state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct lease *l = NULL;
        bool ok = lease_open(dir, 3, NULL, &l, NULL) == RKF_OK && lease_try(l, 6);
        if (write(ready[1], ok ? "y" : "n", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char c = 0;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    struct lease *l = open_lease(3);
    assert_int_equal(lease_busy(l), 6);
    assert_false(lease_try(l, 2));
    assert_true(lease_try(l, 1));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(lease_busy(l), 0);
    assert_true(lease_try(l, 6));
    lease_close(l);
    close(ready[0]);
    close(ready[1]);
}

struct lines {
    int n;
    char last[512];
};
static void keep_line(void *cookie, rkf_log_level level, const char *line)
{
    struct lines *l = cookie;
    assert_int_equal(level, RKF_LOG_WARN);
    l->n++;
    snprintf(l->last, sizeof l->last, "%s", line);
}

static void without_directory_in_process_only(void **state)
{
    (void)state;
    struct lines lines = { 0 };
    struct logger log = { keep_line, &lines, RKF_LOG_WARN };
    struct lease *a = NULL;
    assert_int_equal(lease_open("/proc/no/such", 3, &log, &a, NULL), RKF_OK);
    assert_false(lease_active(a));
    assert_int_equal(lines.n, 1);
    assert_non_null(strstr(lines.last, "/proc/no/such"));
    assert_true(lease_try(a, 7));
    assert_true(lease_try(a, 7));
    assert_int_equal(lease_busy(a), 0);
    lease_give(a, 7);
    lease_close(a);
    lease_close(NULL);
    assert_int_equal(lines.n, 1);
}

static void hostile_entries_are_no_locks(void **state)
{
    (void)state;
    char path[128];
    struct lines lines = { 0 };
    struct logger log = { keep_line, &lines, RKF_LOG_WARN };
    struct lease *a = NULL;
    snprintf(path, sizeof path, "%s/core1", dir);
    unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0); /* never followed */
    assert_int_equal(lease_open(dir, 3, &log, &a, NULL), RKF_OK);
    assert_false(lease_active(a));
    lease_close(a);
    unlink(path);
    assert_int_equal(mkfifo(path, 0666), 0); /* never waited for */
    assert_int_equal(lease_open(dir, 3, &log, &a, NULL), RKF_OK);
    lease_close(a);
    unlink(path);
}

static void others_may_join(void **state)
{
    (void)state;
    char sub[128], path[160];
    struct stat st;
    struct lease *a = NULL;
    snprintf(sub, sizeof sub, "%s/new", dir);
    mode_t old = umask(077);
    assert_int_equal(lease_open(sub, 1, NULL, &a, NULL), RKF_OK);
    umask(old);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 07777, 01777);
    snprintf(path, sizeof path, "%s/core0", sub);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    lease_close(a);
    unlink(path);
    rmdir(sub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_or_none),
        cmocka_unit_test(taking_is_counted),
        cmocka_unit_test(killed_processes_give_back),
        cmocka_unit_test(without_directory_in_process_only),
        cmocka_unit_test(others_may_join),
        cmocka_unit_test(hostile_entries_are_no_locks),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
