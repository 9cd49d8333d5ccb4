/* The handler of SIGBUS and its table of mappings, see sigbus.h.
 *
 * If another program cuts a page file, or the disk cannot read it, the memory goes from under the process
 * that looks into it: SIGBUS.  The handler maps zeros there.  No frame is made of zeros: a reader passes
 * over them and reports them, like any damage.  A store of the writer into such a page is lost: the disk
 * has no room for it, perhaps, where a snapshot shares the blocks of the file.  The handler leaves a mark,
 * by which the writer's store is an error of that page.  Rings are not guarded: a record must not vanish.
 */
#include "sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/labels.h"

#define GUARDED 4096 /* mappings; what is mapped beyond them is as it was */
static struct {
    _Atomic uintptr_t start, end; /* start 0: free */
    _Atomic int access;
    _Atomic int lost; /* zeros stand in its place, or in part of it */
} guarded[GUARDED];
static struct sigaction former_sigbus;
static uintptr_t os_page;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARDED && info->si_code > 0; i++) {
        uintptr_t start = DL_LABEL(guard:B, atomic_load_explicit(&guarded[i].start, memory_order_acquire));
        if (start == 0 || at < start
            || at >= DL_LABEL(guard:D, atomic_load_explicit(&guarded[i].end, memory_order_relaxed)))
            continue;
        int before = errno;
        void *zeros = mmap((void *)(at & ~(os_page - 1)), os_page,
                           DL_LABEL(guard:D, atomic_load_explicit(&guarded[i].access, memory_order_relaxed)),
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        errno = before;
        if (zeros == MAP_FAILED)
            break;
        DL_LABEL(guard:F, atomic_store(&guarded[i].lost, 1));
        return;
    }
    if (former_sigbus.sa_flags & SA_SIGINFO) {
        former_sigbus.sa_sigaction(number, info, context);
    } else if (former_sigbus.sa_handler != SIG_DFL && former_sigbus.sa_handler != SIG_IGN) {
        former_sigbus.sa_handler(number);
    } else {
        signal(number, SIG_DFL);
        raise(number);
    }
}

int dl_guard(const void *memory, size_t size, int access)
{
    static atomic_flag installed = ATOMIC_FLAG_INIT;
    if (!DL_LABEL(guard:E, atomic_flag_test_and_set(&installed))) {
        os_page = (uintptr_t)sysconf(_SC_PAGESIZE);
        struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        (void)sigaction(SIGBUS, NULL, &former_sigbus);
        (void)sigaction(SIGBUS, &action, NULL);
    }
    for (int place = 0; place < GUARDED; place++) {
        uintptr_t none = 0;
        /* No address is at or behind this start until the rest is told. */
        if (!DL_LABEL(guard:A, atomic_compare_exchange_strong(&guarded[place].start, &none, UINTPTR_MAX)))
            continue;
        DL_LABEL(guard:F, atomic_store(&guarded[place].lost, 0));
        DL_LABEL(guard:D, atomic_store_explicit(&guarded[place].access, access, memory_order_relaxed));
        DL_LABEL(guard:D, atomic_store_explicit(&guarded[place].end, (uintptr_t)memory + size,
                                                memory_order_relaxed));
        DL_LABEL(guard:C, atomic_store_explicit(&guarded[place].start, (uintptr_t)memory,
                                                memory_order_release));
        return place + 1;
    }
    return 0;
}

bool dl_is_lost(int number)
{
    return number != 0 && DL_LABEL(guard:G, atomic_load(&guarded[number - 1].lost)) != 0;
}

void dl_unguard(int number)
{
    if (number != 0)
        DL_LABEL(guard:C, atomic_store_explicit(&guarded[number - 1].start, 0, memory_order_release));
}
