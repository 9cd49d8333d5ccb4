/* The system calls that no library wraps: sleeping on a word of memory, and the barrier of all processes. */
#ifndef DL_KERNEL_H
#define DL_KERNEL_H

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Relative, so on the monotonic clock: a step of the wall clock lengthens no wait. */
static inline int futex_wait(const void *word, uint32_t expected, double seconds)
{
    struct timespec limit = {.tv_sec = (time_t)seconds};
    limit.tv_nsec = (long)((seconds - (double)limit.tv_sec) * 1e9);
    return (int)syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
}

static inline int futex_wake(const void *word, int count)
{
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* The barrier of PARKING in ring.h.  False where the kernel has none, or a sandbox forbids it. */
static inline bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

#endif
