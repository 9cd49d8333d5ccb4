/* The wall clock, for callers that read it often.
 *
 * clock_gettime(CLOCK_REALTIME) takes a quarter of the time of an append.  So between two readings of it,
 * at most 1 ms apart, the time is computed from the processor's counter, at the rate that the last two
 * slices agreed on. This costs a record's timestamp at most 1 us of accuracy, and a step of the clock is
 * seen one slice later.  The counter is used only where the kernel itself keeps time by it (its clock
 * source is "tsc": it ticks evenly, and alike on all processors); everywhere else each reading is the
 * kernel's.
 */
#ifndef DL_WALL_CLOCK_H
#define DL_WALL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#define DL_WALL_COUNTER true
#define DL_WALL_TICKS() __rdtsc()
#else
#define DL_WALL_COUNTER false
#define DL_WALL_TICKS() 0u
#endif

struct dl_wall {
    bool usable; /* the counter */
    uint64_t ticks, ns; /* of the last reading that later times are computed from */
    uint64_t rate; /* ns per tick, times 2^32 */
    uint64_t slice; /* ticks for which times may be computed from it; 0: none */
};
extern __attribute__((visibility("hidden"))) struct dl_wall dl_wall;

/* Call once, before the first reading.  `one_at_a_time`: never do two threads read the clock at the same
 * time (they hold the GIL); without this promise each reading is the kernel's. */
void dl_wall_begin(bool one_at_a_time);

/* ns since the epoch: from the kernel; any thread may call this. */
uint64_t dl_wall_read(void);

/* Read the clock, and begin another slice when the last one is over. */
uint64_t dl_wall_look(void);

/* ns since the epoch, at the least cost. */
static inline uint64_t dl_wall_ns(void)
{
    uint64_t passed = DL_WALL_TICKS() - dl_wall.ticks;
    if (passed < dl_wall.slice)
        return dl_wall.ns + (passed * dl_wall.rate >> 32);
    return dl_wall_look();
}

#endif
