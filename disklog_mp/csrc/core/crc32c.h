/*
 * Owns the CRC-32C interface: the checksum alone, and the checksum fused with a copy.
 * Must not know what the bytes mean, where they are stored, or that Python exists.
 */
#ifndef DISKLOG_MP_CRC32C_H
#define DISKLOG_MP_CRC32C_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "labels.h"

/*
 * CRC-32C (Castagnoli, reflected 0x82F63B78).  Every `state` is the raw register, neither
 * inverted going in nor coming out, so the result for one piece is the state for the next;
 * only dl_crc32c() does the usual inversions before and after.
 */

/*
 * Belongs to the four functions below.  Those load each pointer explicitly, because
 * dl_crc32c_init() may run meanwhile in another thread and GCC 12 calls through an _Atomic pointer
 * with an ordinary load; the order does not matter, all that a choice needs being constant.
 */
extern uint32_t (*_Atomic dl_crc32c_chosen_update)(uint32_t, const void *, size_t);
extern uint32_t (*_Atomic dl_crc32c_chosen_copy)(uint32_t, void *restrict, const void *restrict,
                                                 size_t);
extern uint32_t (*_Atomic dl_crc32c_chosen_u64)(uint32_t, uint64_t);
extern uint32_t (*_Atomic dl_crc32c_chosen_u64x4)(uint32_t, uint64_t, uint64_t, uint64_t, uint64_t);

static inline uint32_t dl_crc32c_update(uint32_t state, const void *bytes, size_t length)
{
    return DL_LABEL(crc:A, atomic_load_explicit(&dl_crc32c_chosen_update, memory_order_relaxed))(
        state, bytes, length);
}

/*
 * Copies `length` bytes and advances over them.  The ranges must not overlap, and nothing else
 * may write to either one meanwhile: no promise is made on how often a byte is read or written.
 */
static inline uint32_t dl_crc32c_copy(uint32_t state, void *restrict to,
                                      const void *restrict from, size_t length)
{
    return DL_LABEL(crc:A, atomic_load_explicit(&dl_crc32c_chosen_copy, memory_order_relaxed))(
        state, to, from, length);
}

/* Advances over the eight bytes of `value`, lowest byte first on every host. */
static inline uint32_t dl_crc32c_u64(uint32_t state, uint64_t value)
{
    return DL_LABEL(crc:A, atomic_load_explicit(&dl_crc32c_chosen_u64, memory_order_relaxed))(
        state, value);
}

/* Four times that. */
static inline uint32_t dl_crc32c_u64x4(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return DL_LABEL(crc:A, atomic_load_explicit(&dl_crc32c_chosen_u64x4, memory_order_relaxed))(
        state, a, b, c, d);
}

/*
 * Points the four functions at the best implementation for this processor.  May be called any
 * number of times from any thread; until then the portable one serves, with equal results.
 */
void dl_crc32c_init(void);

/* "sse4.2", "armv8" or "portable". */
const char *dl_crc32c_name(void);

/* The standard checksum, as RFC 3720 defines it. */
uint32_t dl_crc32c(const void *bytes, size_t length);

/* Always available, so that the others can be tested against it. */
uint32_t dl_crc32c_portable(uint32_t state, const void *bytes, size_t length);

#endif
