/* Fault points: a process that is told so kills or freezes itself when it comes to a named point for the
 * so-many-eth time.  Loaded through ctypes from the same object as the core, so that points in C and in
 * Python count together; those before a system call can also be told to fail with an errno. */
#include "faults.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum { MAX_PLANS = 8, MAX_LABEL = 40 };
enum action { KILL = -1, FREEZE = -2 }; /* above zero: the errno to fail with */

static struct plan {
    char label[MAX_LABEL];
    uint32_t nth; /* counted from 1, as of arming */
    uint32_t times; /* how often in a row */
    int action;
    bool after; /* count only from when another plan, of any process, has acted */
    _Atomic uint32_t count;
} plans[MAX_PLANS];
static _Atomic int armed;
static _Atomic uint32_t *acted; /* how many plans have, in all processes that share it */

/* The labels met, for a first run that looks where there is something to walk. */
static char *record;
static uint32_t record_size;
static _Atomic uint32_t recorded;

/* Add a plan; 0, or -1 if there is no room for it. */
EXPORTED int dl_fault_arm(const char *label, uint32_t nth, uint32_t times, int action, bool after)
{
    int index = atomic_load(&armed);
    if (index == MAX_PLANS || strlen(label) >= MAX_LABEL)
        return -1;
    strcpy(plans[index].label, label);
    plans[index].nth = nth;
    plans[index].times = times;
    plans[index].action = action;
    plans[index].after = after;
    atomic_store(&plans[index].count, 0);
    atomic_store(&armed, index + 1);
    return 0;
}

/* Count there the plans that act. */
EXPORTED void dl_fault_share(void *memory) { acted = memory; }

/* Write every label met, each ended by a zero, into memory of that size. */
EXPORTED void dl_fault_record(char *memory, uint32_t size)
{
    atomic_store(&recorded, 0);
    record_size = size;
    record = memory;
}

/* 0, or the errno that the caller is to fail with. */
EXPORTED int dl_fault_point(const char *label)
{
    if (record != NULL) {
        uint32_t length = (uint32_t)strlen(label) + 1, at = atomic_fetch_add(&recorded, length);
        if (at + length <= record_size)
            memcpy(record + at, label, length);
    }
    for (int i = 0; i < atomic_load(&armed); i++) {
        if (strcmp(plans[i].label, label) != 0)
            continue;
        if (plans[i].after && atomic_load(acted) == 0)
            continue;
        uint32_t count = atomic_fetch_add(&plans[i].count, 1) + 1;
        if (count < plans[i].nth || count >= plans[i].nth + plans[i].times)
            continue;
        if (acted != NULL)
            atomic_fetch_add(acted, 1);
        if (plans[i].action > 0)
            return plans[i].action;
        kill(getpid(), plans[i].action == KILL ? SIGKILL : SIGSTOP);
    }
    return 0;
}

/* The core's own system calls, by the linker's --wrap. */

void *__real_mmap(void *, size_t, int, int, int, off_t);
long __real_syscall(long, ...);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    int error = dl_fault_point("mmap");
    if (error != 0) {
        errno = error;
        return MAP_FAILED;
    }
    return __real_mmap(address, length, protection, flags, fd, offset);
}

/* Futexes fail when they are told to; what else it asks for is passed on. */
long __wrap_syscall(long number, ...)
{
    va_list list;
    va_start(list, number);
    const void *word = va_arg(list, const void *);
    int operation = va_arg(list, int);
    uint32_t value = va_arg(list, uint32_t);
    const void *limit = va_arg(list, const void *);
    va_end(list);
    int error = number != SYS_futex ? 0 : dl_fault_point(operation == FUTEX_WAIT ? "futex wait" : "futex wake");
    if (error != 0) {
        errno = error;
        return -1;
    }
    return __real_syscall(number, word, operation, value, limit, NULL, 0);
}
