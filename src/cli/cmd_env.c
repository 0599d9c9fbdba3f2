/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer env: what a bug report needs to say about this machine and this build. No secrets. */
#include "base/file.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static void put_pair(struct buf *b, const char *key, const char *value, bool first)
{
    buf_puts(b, first ? "" : ",");
    json_put_str(b, key, strlen(key));
    buf_putc(b, ':');
    if (value && *value)
        json_put_str(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

/* Value after `key` in a small file of lines: PRETTY_NAME="Debian" or "model name : x". */
static const char *find_value(const char *root, const char *path, const char *key, char *out, size_t cap)
{
    char text[16384];
    out[0] = 0;
    if (root_read(root, path, text, sizeof text) < 0)
        return out;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, strlen(key)))
            continue;
        const char *value = line + strlen(key);
        value += strspn(value, " \t:=\"");
        snprintf(out, cap, "%.*s", (int)strcspn(value, "\"\n"), value);
        break;
    }
    return out;
}

static void put_build(struct buf *b)
{
    buf_puts(b, "\"build\":{");
    put_pair(b, "version", rkf_version(), true);
    put_pair(b, "compiler", __VERSION__, false);
#ifdef __OPTIMIZE__
    put_pair(b, "kind", "optimised", false);
#else
    put_pair(b, "kind", "debug", false);
#endif
    buf_putc(b, '}');
}

static void put_system(struct buf *b, const char *root)
{
    char os[200], cpu[200];
    struct utsname u = { 0 };
    uname(&u);
    buf_puts(b, ",\"system\":{");
    put_pair(b, "os", find_value(root, "/etc/os-release", "PRETTY_NAME=", os, sizeof os), true);
    put_pair(b, "kernel", u.release, false);
    put_pair(b, "machine", u.machine, false);
    find_value(root, "/proc/cpuinfo", "model name", cpu, sizeof cpu);
    put_pair(b, "cpu", cpu[0] ? cpu : find_value(root, "/proc/cpuinfo", "Hardware", cpu, sizeof cpu), false);
    buf_printf(b, ",\"usable_cpus\":%d,\"memory_mib\":%lld}", cpu_count_usable(root),
               (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) >> 20);
}

/* Variables that change what we do; values of those that may be secret stay out. */
static bool is_ours(const char *entry)
{
    static const char *const ours[] = { "RKFORMER_", "HF_", "RKNN_", "LD_LIBRARY_PATH=", "OMP_NUM_THREADS=" };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (!strncmp(entry, ours[i], strlen(ours[i])))
            return true;
    return false;
}

static bool is_secret(const char *name)
{
    static const char *const words[] = { "TOKEN", "KEY", "SECRET", "PASSWORD", "AUTH" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(name, words[i]) && !strstr(name, "_TOKENS"))
            return true;
    return false;
}

static void put_environment(struct buf *b)
{
    bool first = true;
    buf_puts(b, ",\"environment\":{");
    for (char **e = environ; *e; e++) {
        char name[128];
        size_t n = strcspn(*e, "=");
        if (!is_ours(*e) || n >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)n, *e);
        put_pair(b, name, is_secret(name) ? "(set)" : *e + n + ((*e)[n] == '='), first);
        first = false;
    }
    buf_putc(b, '}');
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct buf b;
    char *devices = NULL;
    if (o->n_texts)
        return rkf_fail(err, RKF_INVALID, "env takes options only: see rkformer env --help");
    buf_init(&b, 1 << 24);
    rkf_status rc = rkf_devices(&o->runtime, &devices, err);
    if (!rc) {
        buf_putc(&b, '{');
        put_build(&b);
        put_system(&b, o->runtime.root);
        buf_puts(&b, ",\"devices\":");
        buf_puts(&b, devices);
        put_environment(&b);
        buf_putc(&b, '}');
        rc = b.failed ? rkf_fail_memory(err, b.cap, "a document") : document_print(b.p, o->json, err);
    }
    rkf_free(devices);
    buf_free(&b);
    return rc;
}

const struct command command_env = {
    .name = "env",
    .usage = "[options]",
    .summary = "show what a bug report needs: build, system, NPU driver and runtime, environment",
    .details = "Says nothing secret. --json writes one JSON document.",
    .examples = "rkformer env",
    .takes = TAKES_RUNTIME | TAKES_JSON,
    .run = run,
};
