/* A token for each process, see fork.h. */
#include "fork.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

_Atomic uint64_t *dl_fork_page;
static uint64_t last_token;

int dl_fork_begin(void)
{
    if (dl_fork_page != NULL)
        return 0;
    const size_t length = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -1;
    (void)madvise(page, length, MADV_WIPEONFORK); /* before Linux 4.14 dl_forked() does it */
    dl_fork_page = page;
    return 0;
}

uint64_t dl_fork_make_token(void)
{
    uint64_t token = dl_fork_now();
    if (token != 0)
        return token;
    token = ++last_token;
    DL_LABEL(fork:B, atomic_store_explicit(dl_fork_page, token, memory_order_relaxed));
    return token;
}

void dl_forked(void) { DL_LABEL(fork:B, atomic_store_explicit(dl_fork_page, 0, memory_order_relaxed)); }
