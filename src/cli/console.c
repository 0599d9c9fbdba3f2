/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/console.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECOND = 1000000000, REDRAW = SECOND / 10, BAR_WIDTH = 24 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool on, drawn;
    int64_t started, last; /* ns */
} bar;

static void put(const char *text, size_t n)
{
    while (n) {
        ssize_t k = write(STDERR_FILENO, text, n);
        if (k <= 0)
            return; /* nobody to tell */
        text += k;
        n -= (size_t)k;
    }
}

static void clear_locked(void)
{
    if (bar.drawn)
        put("\r\033[K", 4);
    bar.drawn = false;
}

static void put_line(const char *kind, const char *text)
{
    char line[1200];
    int n = snprintf(line, sizeof line, "rkformer: %s%s\n", kind, text);
    if ((size_t)n >= sizeof line) {
        n = sizeof line - 1;
        line[n - 1] = '\n';
    }
    pthread_mutex_lock(&lock);
    clear_locked();
    put(line, (size_t)n);
    pthread_mutex_unlock(&lock);
}

void console_error(const char *fmt, ...)
{
    char text[1100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_line("", text);
}

void console_log(void *cookie, rkf_log_level level, const char *line)
{
    static const char *const kinds[] = { "error: ", "warning: ", "", "debug: " };
    (void)cookie;
    put_line((size_t)level < sizeof kinds / sizeof *kinds ? kinds[level] : "", line);
}

/* ---- progress */

void progress_start(bool wanted)
{
    const char *term = getenv("TERM");
    bar.on = wanted && isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
    bar.started = bar.last = time_now_ns();
}

bool progress_on(void)
{
    return bar.on;
}

/* 1234567 -> "1,234,567" */
static const char *grouped(uint64_t n, char buf[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), k = 0;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[k++] = ',';
        buf[k++] = digits[i];
    }
    buf[k] = 0;
    return buf;
}

/* "[####....]  40%", and what stands at its end: "0:01:20 left" */
static void draw_share(double part, char blocks[BAR_WIDTH + 1])
{
    memset(blocks, '.', BAR_WIDTH);
    memset(blocks, '#', (size_t)(part * BAR_WIDTH));
    blocks[BAR_WIDTH] = 0;
}

static int draw(char *line, size_t cap, uint64_t done, double part, double seconds)
{
    char count[32], rate[32], blocks[BAR_WIDTH + 1];
    grouped(done, count);
    grouped((uint64_t)((double)done / seconds), rate);
    if (part < 0)
        return snprintf(line, cap, "\r%s texts, %s/s\033[K", count, rate);
    draw_share(part, blocks);
    long left = part > 0 ? (long)(seconds / part - seconds + 0.5) : 0;
    return snprintf(line, cap, "\r[%s] %3.0f%%  %s texts, %s/s, %ld:%02ld:%02ld left\033[K", blocks, part * 100, count,
                    rate, left / 3600, left / 60 % 60, left % 60);
}

static int draw_bytes(char *line, size_t cap, uint64_t done, uint64_t fresh, uint64_t total, double seconds)
{
    char blocks[BAR_WIDTH + 1];
    double part = (double)done / (double)total, rate = (double)fresh / seconds;
    long left = rate > 1 ? (long)((double)(total - done) / rate + 0.5) : 0;
    draw_share(part, blocks);
    return snprintf(line, cap, "\r[%s] %3.0f%%  %.1f of %.1f MB, %.1f MB/s, %ld:%02ld:%02ld left\033[K", blocks,
                    part * 100, (double)done / 1e6, (double)total / 1e6, rate / 1e6, left / 3600, left / 60 % 60,
                    left % 60);
}

/* Nothing in the first second, then at most ten times a second. */
static bool is_time(int64_t now)
{
    return bar.on && now - bar.started >= SECOND && now - bar.last >= REDRAW;
}

static void put_bar(const char *line, int n, int64_t now)
{
    pthread_mutex_lock(&lock);
    put(line, (size_t)n);
    bar.drawn = true;
    pthread_mutex_unlock(&lock);
    bar.last = now;
}

void progress_show(uint64_t done, double part)
{
    char line[200];
    int64_t now = time_now_ns();
    if (is_time(now))
        put_bar(line, draw(line, sizeof line, done, part > 1 ? 1 : part, (double)(now - bar.started) / SECOND), now);
}

void progress_show_bytes(uint64_t done, uint64_t fresh, uint64_t total)
{
    char line[200];
    int64_t now = time_now_ns();
    if (!total || !is_time(now))
        return;
    double seconds = (double)(now - bar.started) / SECOND;
    put_bar(line, draw_bytes(line, sizeof line, done < total ? done : total, fresh, total, seconds), now);
}

void progress_clear(void)
{
    if (!bar.on)
        return;
    pthread_mutex_lock(&lock);
    clear_locked();
    pthread_mutex_unlock(&lock);
}
