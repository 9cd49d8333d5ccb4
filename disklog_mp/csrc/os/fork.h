/* Is this process a fork's child?  Answered without a system call: each process has a token, a number
 * greater than its parent's, on an OS page that the kernel zeroes in a forked child.
 */
#ifndef DL_FORK_H
#define DL_FORK_H

#include <stdatomic.h>
#include <stdint.h>

#include "../core/labels.h"

extern __attribute__((visibility("hidden"))) _Atomic uint64_t *dl_fork_page;

/* Call once, before the other functions: 0, or -1 with errno. */
int dl_fork_begin(void);

/* This process's token, or 0 if it has none yet. */
static inline uint64_t dl_fork_now(void)
{
    return DL_LABEL(fork:A, atomic_load_explicit(dl_fork_page, memory_order_relaxed));
}

/* Make this process a token, if it has none yet. */
uint64_t dl_fork_make_token(void);

/* This process's token, never 0.  No other process of those forked from one another has it. */
static inline uint64_t dl_fork_token(void)
{
    uint64_t token = dl_fork_now();
    return token != 0 ? token : dl_fork_make_token();
}

/* This process is a fork's child: for kernels that do not zero the page. */
void dl_forked(void);

#endif
