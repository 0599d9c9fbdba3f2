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

static int draw(char *line, size_t cap, uint64_t done, double part, double seconds)
{
    char count[32], rate[32], blocks[BAR_WIDTH + 1];
    grouped(done, count);
    grouped((uint64_t)((double)done / seconds), rate);
    if (part < 0)
        return snprintf(line, cap, "\r%s texts, %s/s\033[K", count, rate);
    int filled = (int)(part * BAR_WIDTH);
    memset(blocks, '.', BAR_WIDTH);
    memset(blocks, '#', (size_t)filled);
    blocks[BAR_WIDTH] = 0;
    long left = part > 0 ? (long)(seconds / part - seconds + 0.5) : 0;
    return snprintf(line, cap, "\r[%s] %3.0f%%  %s texts, %s/s, %ld:%02ld:%02ld left\033[K", blocks, part * 100, count,
                    rate, left / 3600, left / 60 % 60, left % 60);
}

void progress_show(uint64_t done, double part)
{
    int64_t now = time_now_ns();
    if (!bar.on || now - bar.started < SECOND || now - bar.last < REDRAW)
        return;
    char line[200];
    if (part > 1)
        part = 1;
    int n = draw(line, sizeof line, done, part, (double)(now - bar.started) / SECOND);
    pthread_mutex_lock(&lock);
    put(line, (size_t)n);
    bar.drawn = true;
    pthread_mutex_unlock(&lock);
    bar.last = now;
}

void progress_clear(void)
{
    if (!bar.on)
        return;
    pthread_mutex_lock(&lock);
    clear_locked();
    pthread_mutex_unlock(&lock);
}
