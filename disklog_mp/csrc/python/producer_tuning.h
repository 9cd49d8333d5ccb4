/* What makes many producers fast together, for producer.c: no call here changes what is logged. */
#ifndef DL_PRODUCER_TUNING_H
#define DL_PRODUCER_TUNING_H

#include "objects.h"

#define DL_WINDOW (64u << 10) /* bytes of the ring, see dl_enter_window() (bench: call) */

/* How to wait when another producer took the frontier: see dl_claimant.lost. */
void dl_back_off(struct dl_claimant *claimant, uint64_t time);

/* The producer has come to another window of the ring: map the next one if it will be used up. */
void dl_enter_window(Producer *producer, const struct dl_ring *ring, uint64_t window);

#endif
