/* SPDX-License-Identifier: Apache-2.0 */
/* Creating and freeing the device, and saying what is there without opening it. */
#include "base/file.h"
#include "base/json.h"
#include "base/thread.h"
#include "device/rknn/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXECS_PER_LANE = 2, SPIN_NS = 30 * 1000 };
static const int64_t default_hang_ns = (int64_t)20 * 1000000000;

void rknn_log(struct rknn_device *d, rkf_log_level level, const char *fmt, ...)
{
    char line[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&d->log_mutex);
    log_line(d->log, level, "%s", line);
    pthread_mutex_unlock(&d->log_mutex);
}

void rknn_hold(struct rknn_device *d)
{
    atomic_fetch_add_explicit(&d->holders, 1, memory_order_relaxed);
}

void rknn_drop(struct rknn_device *d)
{
    if (atomic_fetch_sub_explicit(&d->holders, 1, memory_order_acq_rel) != 1)
        return;
    matmul_close_all(d); /* what came back late */
    homes_close(d);
    for (int i = 0; i < NPU_MAX_CORES; i++)
        worker_free(&d->core[i]);
    worker_free(&d->control);
    pthread_mutex_destroy(&d->log_mutex);
    pthread_mutex_destroy(&d->mutex);
    pthread_mutex_destroy(&d->home_mutex);
    pthread_mutex_destroy(&d->health.mutex);
    mem_free(d);
}

/* ---- creation */

/* Opening the node shows what permissions and device cgroups really allow. Nothing is asked of it. */
static rkf_status probe_node(const char *root, const char *node, rkf_error *err)
{
    char path[4096];
    if (!root_path(root, node, path, sizeof path))
        return rkf_fail(err, RKF_INVALID, "the path of the root directory is too long");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rkf_fail_errno(err, RKF_UNAVAILABLE,
                              "the NPU's device %s cannot be opened (a container needs --device %s)", node, node);
    close(fd);
    return RKF_OK;
}

/* The vendor's library would make device nodes if it found none and ran as root: look first. */
static rkf_status probe(const struct rknn_options *o, const struct platform **platform, rkf_error *err)
{
    struct npu_facts facts;
    char words[512];
    npu_detect(o->root, &facts);
    if (npu_problem(&facts, words, sizeof words))
        return rkf_fail(err, RKF_UNAVAILABLE, "the NPU cannot be used: %s", words);
    if (!*platform)
        *platform = facts.platform;
    return probe_node(o->root, facts.device_node, err);
}

static rkf_status configure_simulator(const struct library *lib, const struct platform *p, const char *more,
                                      rkf_error *err)
{
    char text[512];
    int n = snprintf(text, sizeof text, "platform=%s %s", p->name, more ? more : "");
    if (n < 0 || (size_t)n >= sizeof text)
        return rkf_fail(err, RKF_INVALID, "the simulator's configuration is too long");
    int rc = lib->sim_configure(text);
    if (rc == ABI_FAIL)
        return rkf_fail(err, RKF_UNAVAILABLE,
                        "the simulator already runs as another platform in this process: close what uses it first");
    if (rc)
        return rkf_fail(err, RKF_INVALID, "the simulator does not understand \"%s\": see sim/README.md", text);
    return RKF_OK;
}

static rkf_status init_workers(struct rknn_device *d, rkf_error *err)
{
    char name[16];
    int64_t spin = cpu_count_usable(NULL) >= 4 ? SPIN_NS : 0; /* with fewer CPUs somebody else needs the time */
    rkf_status rc = worker_init(&d->control, "npu loading", d->log, d->hang_ns * 3, 0, err);
    for (uint32_t i = 0; i < NPU_MAX_CORES && !rc; i++) {
        snprintf(name, sizeof name, "npu core %u", i);
        rc = worker_init(&d->core[i], name, d->log, d->hang_ns, spin, err);
    }
    return rc;
}

static rkf_status device_new(const struct rknn_options *o, const struct platform *platform, const struct library *lib,
                             struct device **out, rkf_error *err)
{
    struct rknn_device *d = mem_zalloc(1, sizeof *d);
    if (!d)
        return rkf_fail_memory(err, sizeof *d, "the NPU device");
    d->base = (struct device){ .name = o->simulator ? "sim" : "rknn",
                               .exec_depth = EXECS_PER_LANE,
                               .joint_lanes = true,
                               .linear = &rknn_linear_ops,
                               .cpu = o->cpu->cpu,
                               .log = o->log,
                               .priv = o->cpu->priv };
    d->lib = *lib;
    d->simulator = o->simulator;
    d->platform = platform;
    d->log = o->log;
    d->hang_ns = o->hang_us > 0 ? o->hang_us * 1000 : default_hang_ns;
    atomic_init(&d->holders, 1);
    rkf_status rc = init_workers(d, err);
    if (rc) {
        mem_free(d);
        return rc;
    }
    pthread_mutex_init(&d->log_mutex, NULL);
    pthread_mutex_init(&d->mutex, NULL);
    pthread_mutex_init(&d->home_mutex, NULL);
    health_init(&d->health);
    *out = &d->base;
    return RKF_OK;
}

rkf_status rknn_device_create(const struct rknn_options *o, struct device **out, rkf_error *err)
{
    struct library lib;
    const struct platform *platform = o->platform;
    rkf_status rc = RKF_OK;
    if (platform && platform->id == PLATFORM_CPU)
        return rkf_fail(err, RKF_INVALID, "platform cpu has no NPU: use device cpu");
    if (!o->simulator)
        rc = probe(o, &platform, err);
    else if (!platform)
        platform = platform_get(PLATFORM_RK3588);
    if (!rc)
        rc = library_load(o->simulator, o->library, &lib, err);
    if (!rc && o->simulator)
        rc = configure_simulator(&lib, platform, o->sim_config, err);
    if (!rc)
        rc = device_new(o, platform, &lib, out, err);
    if (!rc)
        log_line(o->log, RKF_LOG_INFO, "%s: %s%s%s", o->simulator ? "simulated NPU" : "NPU runtime", lib.path,
                 lib.version[0] ? ", version " : "", lib.version);
    return rc;
}

/* ---- freeing */

static void worker_left(void *owner)
{
    rknn_drop(owner);
}

static void stop_worker(struct rknn_device *d, struct worker *w)
{
    rknn_hold(d);
    if (worker_stop(w, worker_left, d))
        rknn_drop(d);
    else
        log_line(d->log, RKF_LOG_WARN, "%s still hangs: what it uses is released when its call returns", w->name);
}

void rknn_device_free(struct device *base)
{
    if (!base)
        return;
    struct rknn_device *d = rknn_of(base);
    for (int i = 0; i < NPU_MAX_CORES; i++)
        stop_worker(d, &d->core[i]);
    stop_worker(d, &d->control);
    matmul_close_all(d);
    pthread_mutex_lock(&d->log_mutex);
    d->log = NULL;
    pthread_mutex_unlock(&d->log_mutex);
    rknn_drop(d);
}

uint8_t rknn_device_hung(const struct device *base)
{
    struct rknn_device *d = rknn_of(base);
    uint8_t hung = 0;
    for (int i = 0; i < NPU_MAX_CORES; i++)
        hung |= worker_hangs(&d->core[i]) ? (uint8_t)(1u << i) : 0;
    return hung;
}

void rknn_device_faults(const struct device *base, struct core_faults faults[NPU_MAX_CORES])
{
    struct rknn_device *d = rknn_of(base);
    pthread_mutex_lock(&d->health.mutex);
    memcpy(faults, d->health.faults, sizeof d->health.faults);
    pthread_mutex_unlock(&d->health.mutex);
    for (int i = 0; i < NPU_MAX_CORES; i++)
        faults[i].hangs = atomic_load_explicit(&d->core[i].hangs, memory_order_relaxed);
}

/* ---- describing */

static void put_field(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, ",\"%s\":", key);
    if (value[0])
        json_put_str(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

rkf_status rknn_describe(const struct rknn_options *o, struct buf *json, rkf_error *err)
{
    char path[512], version[32] = "";
    rkf_error why;
    if (library_find(o->simulator, o->library, path, sizeof path, &why) == RKF_OK) {
        library_version(path, version, sizeof version);
        buf_puts(json, "{\"found\":true");
        put_field(json, "library", path);
        put_field(json, "version", version);
    } else {
        buf_puts(json, "{\"found\":false");
        put_field(json, "advice", why.message);
    }
    buf_printf(json, ",\"simulated\":%s}", o->simulator ? "true" : "false");
    return json->failed ? rkf_fail(err, RKF_NO_MEMORY, "out of memory: cannot describe the runtime") : RKF_OK;
}
