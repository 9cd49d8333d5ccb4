/* The wall clock, for who reads it often.
 *
 * clock_gettime(CLOCK_REALTIME) is a quarter of what an append costs.  So between two readings of it, at most
 * WALL_SLICE apart, the time is told by the processor's counter, at the rate that two slices in a row agreed
 * on.  That costs a record's timestamp no more than a microsecond of accuracy, and a step of the clock is seen
 * a slice later.  The counter is believed only where the kernel itself keeps time by it (its clock source is
 * "tsc": it ticks evenly, and alike on all processors); everywhere else each reading is the kernel's.
 *
 * Not for several threads at once: the module reads it with the GIL.
 */
#ifndef DL_WALL_CLOCK_H
#define DL_WALL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__) && !defined(Py_GIL_DISABLED)
#include <x86intrin.h>
#define WALL_COUNTER true
#define WALL_TICKS() __rdtsc()
#else
#define WALL_COUNTER false
#define WALL_TICKS() 0u
#endif

#define WALL_SLICE 1000000u /* ns */
#define WALL_LONGEST (64u * WALL_SLICE) /* between two readings that say something of the rate */

static struct {
    bool usable; /* the counter */
    uint64_t ticks, ns; /* of the last reading to go on from */
    uint64_t rate; /* ns per tick, times 2^32 */
    uint64_t slice; /* ticks for which it may be gone on from; 0: not at all */
} wall;

/* Once, before the first reading. */
static inline void wall_begin(void)
{
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL)
        return;
    wall.usable = WALL_COUNTER && fgets(name, sizeof name, file) != NULL && strcmp(name, "tsc\n") == 0;
    fclose(file);
}

static inline uint64_t wall_read(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Read the clock, and begin another slice when the last is over. */
static __attribute__((noinline)) uint64_t wall_look(void)
{
    uint64_t before = WALL_TICKS(), ns = wall_read(), ticks = WALL_TICKS();
    uint64_t ticks_passed = ticks - wall.ticks, ns_passed = ns - wall.ns;
    if (!wall.usable || (ns_passed < WALL_SLICE && wall.slice == 0))
        return ns;
    if (ns_passed <= WALL_LONGEST && ticks_passed != 0) {
        uint64_t rate = (ns_passed << 32) / ticks_passed, former = wall.rate;
        bool agree = (rate > former ? rate - former : former - rate) < former >> 9;
        wall.rate = rate;
        wall.slice = agree ? ((uint64_t)WALL_SLICE << 32) / rate : 0;
    }
    wall.ticks = ticks;
    wall.ns = ns;
    if (ticks - before > wall.slice / 256u)
        wall.slice = 0; /* something came between the two: no reading to go on from */
    return ns;
}

static inline uint64_t wall_ns(void)
{
    uint64_t passed = WALL_TICKS() - wall.ticks;
    if (passed < wall.slice)
        return wall.ns + (passed * wall.rate >> 32);
    return wall_look();
}

#endif
