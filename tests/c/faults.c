/* Fault points: a process that is told so kills or freezes itself when it comes to a named point for the
 * so-many-eth time.  Loaded through ctypes from the same object as the core, so that points in C and in
 * Python count together; points in Python can also be told to fail with an errno. */
#include "faults.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum { MAX_PLANS = 8, MAX_LABEL = 40 };
enum action { KILL = -1, FREEZE = -2 }; /* above zero: the errno to fail with */

static struct plan {
    char label[MAX_LABEL];
    uint32_t nth; /* counted from 1, as of arming */
    uint32_t times; /* how often in a row */
    int action;
    _Atomic uint32_t count;
} plans[MAX_PLANS];
static _Atomic int armed;

/* The labels met, for a first run that looks where there is something to walk. */
static char *record;
static uint32_t record_size;
static _Atomic uint32_t recorded;

/* Add a plan; 0, or -1 if there is no room for it. */
EXPORTED int dl_fault_arm(const char *label, uint32_t nth, uint32_t times, int action)
{
    int index = atomic_load(&armed);
    if (index == MAX_PLANS || strlen(label) >= MAX_LABEL)
        return -1;
    strcpy(plans[index].label, label);
    plans[index].nth = nth;
    plans[index].times = times;
    plans[index].action = action;
    atomic_store(&plans[index].count, 0);
    atomic_store(&armed, index + 1);
    return 0;
}

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
        uint32_t count = atomic_fetch_add(&plans[i].count, 1) + 1;
        if (count < plans[i].nth || count >= plans[i].nth + plans[i].times)
            continue;
        if (plans[i].action > 0)
            return plans[i].action;
        kill(getpid(), plans[i].action == KILL ? SIGKILL : SIGSTOP);
    }
    return 0;
}
