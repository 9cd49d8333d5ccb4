/* The wall clock's slow half, see wall_clock.h: reads the kernel's clock and learns the counter's rate. */
#include "wall_clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SLICE 1000000u /* ns for which one reading is good (bench: call) */
/* ns between two readings that still tell the rate; untuned: a clock set meanwhile would tell a wrong one */
#define LONGEST (64u * SLICE)

struct dl_wall dl_wall;

void dl_wall_begin(bool one_at_a_time)
{
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL)
        return;
    dl_wall.usable = one_at_a_time && DL_WALL_COUNTER && fgets(name, sizeof name, file) != NULL
                     && strcmp(name, "tsc\n") == 0;
    fclose(file);
}

uint64_t dl_wall_read(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t dl_wall_look(void)
{
    uint64_t before = DL_WALL_TICKS(), ns = dl_wall_read(), ticks = DL_WALL_TICKS();
    uint64_t ticks_passed = ticks - dl_wall.ticks, ns_passed = ns - dl_wall.ns;
    if (!dl_wall.usable || (ns_passed < SLICE && dl_wall.slice == 0))
        return ns;
    if (ns_passed <= LONGEST && ticks_passed != 0) {
        uint64_t rate = (ns_passed << 32) / ticks_passed, former = dl_wall.rate;
        bool agree = (rate > former ? rate - former : former - rate) < former >> 9;
        dl_wall.rate = rate;
        dl_wall.slice = agree ? ((uint64_t)SLICE << 32) / rate : 0;
    }
    dl_wall.ticks = ticks;
    dl_wall.ns = ns;
    if (ticks - before > dl_wall.slice / 256u)
        dl_wall.slice = 0; /* something came between the two: do not compute from this reading */
    return ns;
}
