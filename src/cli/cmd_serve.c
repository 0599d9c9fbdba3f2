/* SPDX-License-Identifier: Apache-2.0 */
/* rkformer serve: options to a server's configuration, log lines to standard error, signals to a clean end. */
#include "cli/cli.h"
#include "cli/console.h"
#include "server/server.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* One write per line, so that lines of several threads do not mix. */
static void log_json(void *cookie, rkf_log_level level, const char *line)
{
    char text[16384];
    size_t n = strlen(line);
    (void)cookie;
    (void)level;
    if (n >= sizeof text)
        n = sizeof text - 1;
    memcpy(text, line, n);
    text[n++] = '\n';
    for (size_t done = 0; done < n;) {
        ssize_t k = write(STDERR_FILENO, text + done, n - done);
        if (k <= 0)
            return; /* nobody to tell */
        done += (size_t)k;
    }
}

/* The command line, then the file for what is left open. A key may come from the environment, where no one sees it. */
static rkf_status configure(const struct options *o, struct server_config *c, rkf_error *err)
{
    rkf_status rc = RKF_OK;
    c->runtime = o->runtime;
    c->json_log = o->json_log;
    c->systemd = o->systemd;
    c->auto_truncate = o->auto_truncate;
    for (size_t i = 0; !rc && i < o->settings.n; i++)
        rc = server_config_set(c, o->settings.p[i].name, o->settings.p[i].value, err);
    for (size_t i = 0; !rc && i < o->n_texts; i++)
        rc = rkf_fail(err, RKF_INVALID, "serve takes options only, not '%.80s': models are given with -m", o->texts[i]);
    if (!rc && o->config)
        rc = server_config_load(c, o->config, err);
    if (!rc && !c->n_models && !c->admin_key_file)
        rc = rkf_fail(err, RKF_INVALID,
                      "no model to serve: give one with -m, or --admin-key-file to load models later");
    c->runtime.log = c->json_log ? log_json : console_log;
    return rc;
}

/* SIGINT and SIGTERM end the server in order; a further SIGINT ends it at once. */
static void wait_for_end(const sigset_t *set)
{
    sigset_t impatient;
    int signal_number;
    while (sigwait(set, &signal_number))
        ;
    sigemptyset(&impatient);
    sigaddset(&impatient, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &impatient, NULL);
}

static rkf_status run(struct options *o, rkf_error *err)
{
    struct server_config c = SERVER_CONFIG_INIT;
    struct server *server = NULL;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread is made: they inherit it */
    mem_release_large();
    rkf_status rc = configure(o, &c, err);
    if (!rc)
        rc = server_start(&c, &server, err);
    if (!rc)
        wait_for_end(&set);
    server_stop(server);
    server_config_free(&c);
    return rc;
}

const struct command command_serve = {
    .name = "serve",
    .usage = "-m MODEL [-m NAME=MODEL[,KEY=VALUE...]] [options]",
    .summary = "serve models over HTTP to clients of OpenAI, TEI, Cohere, Jina and Ollama",
    .details =
        "GET / shows a page for browsers, GET /openapi.json describes every route; docs/server.md explains them. "
        "SIGTERM stops it when the requests in flight are answered.",
    .examples =
        "rkformer serve -m all-MiniLM-L6-v2\n"
        "rkformer serve -m embed=all-MiniLM-L6-v2,mask=0 -m rerank=ms-marco-MiniLM-L6-v2,mask=1 --listen :8080\n"
        "rkformer serve --config models.yaml --api-key-file keys",
    .takes = TAKES_RUNTIME | FOR_SERVE,
    .run = run,
};
