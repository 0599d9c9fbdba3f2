/* SPDX-License-Identifier: Apache-2.0 */
#include "server/workers.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>

struct workers {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t filled;
    struct errand *first, **last;
    bool closing;
    int n;
    pthread_t threads[];
};

static void *serve(void *arg)
{
    struct workers *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->closing)
            pthread_cond_wait(&p->filled, &p->lock);
        struct errand *job = p->first;
        if (!job)
            break;
        p->first = job->next;
        if (!p->first)
            p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        job->run(job);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

rkf_status workers_create(int threads, struct workers **out, rkf_error *err)
{
    struct workers *p = mem_zalloc(1, sizeof *p + (size_t)threads * sizeof p->threads[0]);
    if (!p)
        return rkf_fail_memory(err, sizeof *p, "worker threads");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->filled, NULL);
    p->last = &p->first;
    for (; p->n < threads; p->n++) {
        int rc = pthread_create(&p->threads[p->n], NULL, serve, p);
        if (rc) {
            workers_destroy(p);
            errno = rc;
            return rkf_fail_errno(err, RKF_IO, "cannot start a worker thread");
        }
        pthread_setname_np(p->threads[p->n], "server-worker");
    }
    *out = p;
    return RKF_OK;
}

void workers_put(struct workers *p, struct errand *job)
{
    job->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->last = job;
    p->last = &job->next;
    pthread_cond_signal(&p->filled);
    pthread_mutex_unlock(&p->lock);
}

void workers_destroy(struct workers *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->filled);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->filled);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}
