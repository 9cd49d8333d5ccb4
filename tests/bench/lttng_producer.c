/* A producer of LTTng-UST: waits until its tracepoint is enabled, says so, and is told on stdin what to do.
 *
 *   call NANOSECONDS           spans of calls, and pauses in which the consumer empties the buffers; prints
 *                              the cost of a call in the middle span
 *   together START END MOST    trace from one moment of the monotonic clock to the other; prints how often
 */
#define _GNU_SOURCE
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "lttng_probe.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUND 40 /* spans */
#define SPAN 500 /* calls timed together: less than a turn on a processor that others want */
#define STEP 1000
#define SPANS_MOST 400000

static char record[100];

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t moment)
{
    struct timespec time = {.tv_sec = (time_t)(moment / 1000000000u), .tv_nsec = (long)(moment % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) != 0) {
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double cost_of_a_call(uint64_t nanoseconds)
{
    static double costs[SPANS_MOST];
    int spans = 0;
    uint64_t end = now() + nanoseconds;
    while (spans == 0 || (spans + ROUND <= SPANS_MOST && now() < end)) {
        for (int round = 0; round < ROUND; round++) {
            uint64_t began = now();
            for (int i = 0; i < SPAN; i++)
                lttng_ust_tracepoint(bench, record, record);
            costs[spans++] = (double)(now() - began) / SPAN;
        }
        sleep_until(now() + 10000000u);
    }
    qsort(costs, (size_t)spans, sizeof *costs, compare);
    return costs[spans / 2];
}

static uint64_t trace(uint64_t start, uint64_t end, uint64_t most)
{
    uint64_t done = 0;
    sleep_until(start);
    while (now() < end && done < most) {
        for (int i = 0; i < STEP; i++)
            lttng_ust_tracepoint(bench, record, record);
        done += STEP;
    }
    return done;
}

int main(void)
{
    unsigned long long first, end, most;
    for (int i = 0; !lttng_ust_tracepoint_enabled(bench, record); i++) {
        if (i == 5000)
            return 3;
        sleep_until(now() + 1000000u);
    }
    puts("ready");
    fflush(stdout);
    int read = scanf("call %llu", &first);
    if (read == 1) {
        printf("%.2f\n", cost_of_a_call(first));
        return 0;
    }
    if (scanf("together %llu %llu %llu", &first, &end, &most) != 3)
        return 2;
    uint64_t done = trace(first, end, most);
    printf("%llu %llu\n", (unsigned long long)done, (unsigned long long)now());
    return 0;
}
