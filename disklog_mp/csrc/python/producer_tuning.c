/* What makes many producers fast together: they back off from one another, and have the kernel map the
 * ring ahead of them.  The numbers are measured: the rows named beside them show what they buy.
 */
#include "producer_tuning.h"

#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>

/* A producer that loses the frontier to another waits some microseconds before its next attempt.  Meanwhile
 * the other logs dozens of records out of its own cache, then has its turn at losing.  Without this pause
 * each record of both waits several times for lines from the other's cache, and two processes together log a
 * third of what one does.
 *
 * Two producers that log without a pause gain nothing by running side by side, and the writer, which could
 * run instead, falls behind: they give way to it, and take turns less often. */
#define BACK_OFF 256 /* times the processor's own short pause: some microseconds (bench: throughput) */
/* ns between two records of a producer that does nothing else, and how many losses in a row right behind a
 * record of its own (bench: throughput). */
#define INCESSANT_GAP 512u
#define INCESSANT 2u

void dl_back_off(struct dl_claimant *claimant, uint64_t time)
{
    Producer *producer = (Producer *)((char *)claimant - offsetof(Producer, claimant));
    int times = BACK_OFF;
    uint32_t losses = 0;
    uint64_t before = DL_LABEL(pace:A, atomic_load_explicit(&producer->logged_at, memory_order_relaxed));
    if (time - before < INCESSANT_GAP)
        losses = DL_LABEL(pace:A, atomic_load_explicit(&producer->losses, memory_order_relaxed)) + 1;
    DL_LABEL(pace:A, atomic_store_explicit(&producer->losses, losses, memory_order_relaxed));
    if (losses >= INCESSANT) {
        sched_yield();
        times *= 2;
    }
    for (int i = 0; i < times; i++)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory"); /* `yield` takes no time on most of these */
#else
        __asm__ volatile("" ::: "memory");
#endif
}

/* The ring's OS pages exist, but in each process the first touch of each is a fault: several in a hundred
 * calls, until the process has gone round once.  So if a process fills a good part of a window, the kernel
 * maps the next window for it, sixteen OS pages at a time.  For a process that logs little, single faults
 * are cheaper. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static bool map_ahead(const void *memory, uint64_t length)
{
    uintptr_t start = (uintptr_t)memory & ~(uintptr_t)(DL_OS_PAGE - 1u);
    return madvise((void *)start, length, MADV_POPULATE_READ) == 0;
}

void dl_enter_window(Producer *producer, const struct dl_ring *ring, uint64_t window)
{
    bool little = producer->here < DL_WINDOW / 16u; /* others have filled it */
    producer->window = window;
    producer->here = 0;
    if (little)
        return;
    uint64_t next = dl_index(ring, (window + 1u) * DL_WINDOW);
    producer->windows--;
    if (!map_ahead(ring->data + next, DL_WINDOW)
        || !map_ahead(&ring->map[next / DL_GRANULE], DL_WINDOW / DL_GRANULE * sizeof *ring->map))
        producer->windows = 0; /* a kernel before 5.14: then it is one fault for each */
}
