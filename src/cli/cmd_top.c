/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer top: live load of the NPU's cores and of a server's models, redrawn in place. */
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "cli/output.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* ---- the terminal */

enum { CTRL_C = 3 };

static volatile sig_atomic_t ended, resized;

static void on_end(int sig)
{
    (void)sig;
    ended = 1;
}

static void on_resize(int sig)
{
    (void)sig;
    resized = 1;
}

struct terminal {
    bool drawing, raw;
    struct termios was;
};

static void terminal_take(struct terminal *t)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction end = { .sa_handler = on_end }, resize = { .sa_handler = on_resize };
    struct termios raw;
    if (!t->drawing)
        return;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sigaction(ends[i], &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    t->raw = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &t->was);
    if (t->raw) {
        raw = t->was;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO | ISIG);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
}

static void terminal_give_back(struct terminal *t)
{
    if (t->raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &t->was);
}

/* Until the time is over, a key ends it, or the window changes: true to go on. */
static bool wait_for(const struct terminal *t, int64_t us)
{
    int64_t until = time_now_ns() + us * 1000;
    struct pollfd in = { .fd = t->raw ? STDIN_FILENO : -1, .events = POLLIN };
    for (;;) {
        int64_t left_ms = (until - time_now_ns() + 999999) / 1000000;
        char key;
        if (ended)
            return false;
        if (left_ms <= 0 || resized)
            break;
        if (poll(&in, 1, (int)left_ms) > 0 && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == CTRL_C))
            return false;
    }
    resized = 0;
    return true;
}

static int columns_of(bool drawing)
{
    struct winsize w;
    const char *set = getenv("COLUMNS");
    if (drawing && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) && w.ws_col > 0)
        return w.ws_col;
    int n = set ? atoi(set) : 0;
    return n > 0 && n < 1000 ? n : 160;
}

/* ---- drawing */

#define SCREEN_OTHER "\033[?1049h\033[?25l" /* the terminal's other page, without a cursor */
#define SCREEN_BACK  "\033[?25h\033[?1049l"
#define HOME         "\033[H"
#define CLEAR_REST   "\033[K" /* of the line */
#define CLEAR_BELOW  "\033[J"

static rkf_status draw(const struct live *l, bool drawing, rkf_error *err)
{
    struct buf text, out;
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 21);
    if (l->o->json) {
        live_put_json(l, &out);
        buf_putc(&out, '\n');
    } else {
        live_put_screen(l, columns_of(drawing), &text);
        buf_puts(&out, drawing ? HOME : "");
        for (const char *line = text.p ? text.p : "", *end; *line; line = end + 1) {
            end = line + strcspn(line, "\n");
            buf_append(&out, line, (size_t)(end - line));
            buf_puts(&out, drawing ? CLEAR_REST "\n" : "\n");
            if (!*end)
                break;
        }
        buf_puts(&out, drawing ? CLEAR_BELOW : l->o->once ? "" : "\n");
    }
    buf_free(&text);
    return output_print(&out, err);
}

static rkf_status print_words(const char *s, rkf_error *err)
{
    struct buf b;
    buf_init(&b, 256);
    buf_puts(&b, s);
    return output_print(&b, err);
}

static rkf_status watch(struct live *l, bool drawing, rkf_error *err)
{
    struct terminal t = { .drawing = drawing };
    int64_t first_us = l->o->interval_us < 200000 ? l->o->interval_us : 200000;
    rkf_status rc = live_sample(l, err); /* rates need two */
    if (rc)
        return rc;
    terminal_take(&t);
    bool on = wait_for(&t, l->o->once ? l->o->interval_us : first_us);
    if (drawing)
        rc = print_words(SCREEN_OTHER, err);
    while (on && !rc) {
        rc = live_sample(l, err);
        if (!rc)
            rc = draw(l, drawing, err);
        on = !rc && !l->o->once && wait_for(&t, l->o->interval_us);
    }
    if (drawing) {
        rkf_status last = print_words(SCREEN_BACK, NULL);
        rc = rc ? rc : last;
    }
    terminal_give_back(&t);
    if (!rc && l->o->once && l->http && !l->now)
        rc = rkf_fail(err, RKF_IO, "%s", l->server_err.message);
    return rc;
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct live l;
    if (o->n_texts)
        return rkf_fail(err, RKF_INVALID, "top takes options only: see rkformer top --help");
    rkf_status rc = live_open(o, &l, err);
    if (!rc)
        rc = watch(&l, !o->json && !o->once && isatty(STDOUT_FILENO), err);
    live_close(&l);
    return rc;
}

const struct command command_top = {
    .name = "top",
    .usage = "[options]",
    .summary = "watch the load of the NPU's cores and of a server's models",
    .details =
        "Shows load, clock and temperature of the NPU as the kernel's driver tells them (the load needs root), the "
        "CPUs and the memory; with --url what a server of rkformer's does: every core and model with its "
        "throughput, queue and faults. q ends it. Where standard output is no terminal a block of lines is "
        "written per interval, with --json an object per line.",
    .examples = "rkformer top\nrkformer top --url http://127.0.0.1:8080\nrkformer top --once --json",
    .takes = FOR_TOP | TAKES_RUNTIME | TAKES_JSON,
    .run = run,
};
