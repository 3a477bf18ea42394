#define _GNU_SOURCE
#include "pool.h"

#include "cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct patience {
    int64_t ns;
    unsigned failures;
};

struct worker {
    struct ev_pool *pool;
    pthread_t thread;
    int task;
    int cpu;
    struct patience patience;
};

struct ev_pool {
    int threads;
    int flush_denormals;
    ev_slice slice;
    void *data;
    struct ev_group group;
    int64_t spin_ns; /* at most; 0 with more threads than CPUs */
    struct patience patience; /* of the caller */
    atomic_uint generation;
    atomic_uint pending;
    atomic_int sleeping;
    atomic_int caller_sleeps;
    atomic_int failure;
    atomic_int quit;
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t finished;
    struct worker workers[];
};

struct barrier {
    atomic_int arrived;
    atomic_uint round;
};

/* Long enough to bridge the gap between two steps, short enough that an idle program burns nothing. */
enum { MOST_SPIN_NS = 50000, PROBE_EVERY = 64 };

static _Thread_local struct ev_pool *current;

static void relax(void)
{
#if defined(__x86_64__)
    __asm__ volatile("pause");
#else
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Watch `cell` until it is `value` (or, with `equal` 0, until it is not), for as long as watching has paid so far: when
 * the other thread has no CPU of its own, spinning only keeps it from the one it needs. Now and
 * then it is tried in full again, because a thread that sleeps wakes too late for a short look to find it got a CPU. */
static int seen_by_spinning(const struct ev_pool *pool, struct patience *patience, atomic_uint *cell, unsigned value, int equal)
{
    int64_t start = now_ns();
    do {
        for (int i = 0; i < 32; i++) {
            if ((atomic_load(cell) == value) == equal) {
                patience->ns = patience->ns > pool->spin_ns / 2 ? pool->spin_ns : patience->ns * 2 + 1000;
                return 1;
            }
            relax();
        }
    } while (now_ns() - start < patience->ns);
    patience->ns = ++patience->failures % PROBE_EVERY ? patience->ns / 2 : pool->spin_ns;
    return 0;
}

/* Sleeper and waker both write their flag before they read the other's (sequentially consistent), so that at least one
 * of them sees the other and no wake-up is lost. */
static void wait_for_work(struct worker *worker, unsigned seen)
{
    struct ev_pool *pool = worker->pool;
    if (seen_by_spinning(pool, &worker->patience, &pool->generation, seen, 0))
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleeping, 1);
    while (atomic_load(&pool->generation) == seen)
        pthread_cond_wait(&pool->work, &pool->lock);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_until_finished(struct ev_pool *pool)
{
    if (seen_by_spinning(pool, &pool->patience, &pool->pending, 0, 1))
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->pending) > 0)
        pthread_cond_wait(&pool->finished, &pool->lock);
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->lock);
}

static void announce(struct ev_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleeping) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->lock);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct ev_pool *pool = worker->pool;
    if (worker->cpu >= 0)
        ev_cpu_pin(worker->cpu);
    if (pool->flush_denormals)
        ev_cpu_flush_denormals();
    for (unsigned seen = 0;; seen++) {
        wait_for_work(worker, seen);
        if (atomic_load(&pool->quit))
            return NULL;
        if (worker->task < pool->group.tasks && pool->slice(worker->task, &pool->group, pool->data))
            atomic_store(&pool->failure, 1);
        if (atomic_fetch_sub(&pool->pending, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

struct ev_pool *ev_pool_open(int threads, const int *cpus, int flush_denormals, struct ev_error *error)
{
    if (threads < 1 || threads > EV_MAX_THREADS) {
        ev_fail(error, EV_USAGE, "expected 1 to %d threads, got %d", EV_MAX_THREADS, threads);
        return NULL;
    }
    struct ev_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof *pool->workers);
    if (!pool) {
        ev_fail(error, EV_MEMORY, "no memory for a pool of %d threads", threads);
        return NULL;
    }
    pool->spin_ns = pool->patience.ns = threads <= ev_cpu_count() ? MOST_SPIN_NS : 0;
    pool->flush_denormals = flush_denormals;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    for (pool->threads = 1; pool->threads < threads; pool->threads++) {
        struct worker *worker = &pool->workers[pool->threads];
        *worker = (struct worker){.pool = pool, .task = pool->threads, .cpu = cpus ? cpus[pool->threads] : -1,
                                   .patience = pool->patience};
        if (pthread_create(&worker->thread, NULL, work, worker)) {
            ev_fail(error, EV_MEMORY, "the system refused to start thread %d of %d", pool->threads + 1, threads);
            ev_pool_close(pool);
            return NULL;
        }
    }
    return pool;
}

void ev_pool_close(struct ev_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->quit, 1);
    announce(pool);
    for (int i = 1; i < pool->threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void ev_pool_use(struct ev_pool *pool)
{
    current = pool;
}

int ev_parallel_launch(ev_slice slice, void *data, int tasks)
{
    struct ev_pool *pool = current;
    int threads = pool ? pool->threads : 1;
    struct barrier barrier = {0};
    struct ev_group group = {&barrier, tasks < 1 || tasks > threads ? threads : tasks};
    if (group.tasks == 1)
        return slice(0, &group, data);

    pool->slice = slice;
    pool->data = data;
    pool->group = group;
    atomic_store(&pool->failure, 0);
    atomic_store(&pool->pending, (unsigned)pool->threads - 1);
    announce(pool);
    current = NULL; /* a parallel loop inside this slice runs inline, as it does on the workers */
    int status = slice(0, &pool->group, data);
    current = pool;
    wait_until_finished(pool);
    return status ? status : -atomic_load(&pool->failure);
}

int ev_parallel_barrier(int task, struct ev_group *group)
{
    (void)task;
    struct barrier *barrier = group->barrier;
    unsigned round = atomic_load(&barrier->round);
    if (atomic_fetch_add(&barrier->arrived, 1) + 1 == group->tasks) {
        atomic_store(&barrier->arrived, 0);
        atomic_fetch_add(&barrier->round, 1);
    } else {
        while (atomic_load(&barrier->round) == round)
            sched_yield();
    }
    return 0;
}
