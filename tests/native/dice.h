/* Dice that fall alike in each run. */
#ifndef DICE_H
#define DICE_H

#include <stdint.h>

static uint64_t random_state = 1;

static inline uint32_t dice(uint32_t sides)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % sides;
}

#endif
