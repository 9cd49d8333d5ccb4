/* Frames: what makes one valid, how to walk them, how to find the next one after damage.  The same
 * functions serve ring and page files.  No shared state, no Python, no allocation; every length is
 * checked against the room before a byte behind it is touched.
 */
#ifndef DL_FRAMES_H
#define DL_FRAMES_H

#include <stdbool.h>

#include "layout.h"

enum dl_frame_status {
    DL_FRAME_VALID,
    DL_FRAME_EMPTY, /* a header of zeros: nothing was ever written here */
    DL_FRAME_BAD,
};

struct dl_frame {
    struct dl_frame_header header; /* `kind` without the label */
    uint32_t label; /* index, 0: none */
    const uint8_t *bytes; /* behind the header */
    uint64_t span; /* header, bytes and padding: the distance to the next frame */
    uint32_t found; /* the crc in the header, and the one the bytes have: for reports */
    uint32_t expected;
};

/* The start of every crc of a log: the register after its salt. */
uint32_t dl_frame_seed(uint64_t salt);

/* The crc covers position, time, pid, kind, tag, length and (but for padding and abandoned frames) the
 * bytes, in this order, the numbers as 8-byte words.  dl_frame_crc_header is its first part, as a raw
 * register, for a producer that goes on with the bytes while it copies them. */
uint32_t dl_frame_crc_header(uint32_t seed, uint64_t position, const struct dl_frame_header *header);
uint32_t dl_frame_crc(uint32_t seed, uint64_t position, const struct dl_frame_header *header,
                      const void *bytes);

/* The same from words: `origin` is pid, kind and tag as they stand in the header. */
uint32_t dl_frame_crc_words(uint32_t seed, uint64_t position, uint64_t time, uint64_t origin,
                            uint64_t length);

/* The frame that stands at `at`, with `room` readable bytes. */
enum dl_frame_status dl_frame_check(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed,
                                    struct dl_frame *frame);

/* Distance from `at` to the next valid frame at or after it, in whole granules; `room` if there is none.
 * The cost grows with the room, not with the lengths that headers on the way claim. */
uint64_t dl_frame_find(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed);

/* True if nothing but zeros stands there. */
bool dl_all_zero(const uint8_t *at, uint64_t length);

/* Number of records in a group's bytes, 0 if they do not add up. */
uint32_t dl_group_count(const uint8_t *bytes, uint64_t length);

/* The inner frame at `offset` of a group's bytes (start at DL_GROUP_HEADER); moves `offset` on.  False at
 * the end, or where the inner lengths do not fit. */
bool dl_group_next(const uint8_t *bytes, uint64_t length, uint64_t *offset, struct dl_frame *frame);

/* Records a valid frame stands for: 1, 0 for padding and abandoned, a group's count. */
uint32_t dl_frame_records(const struct dl_frame *frame);

/* The time of a valid frame's last record; that of the frame itself where it holds none. */
uint64_t dl_frame_last_time(const struct dl_frame *frame);

/* What lies between two offsets of a page, all frames checked. */
struct dl_census {
    uint64_t records;
    uint64_t frames;
    uint64_t abandoned;
    uint64_t gaps; /* records that say how many others were dropped */
    uint64_t corrupt_ranges; /* with valid frames behind them */
    uint64_t corrupt_bytes;
    uint64_t end; /* one past the last valid frame: torn or empty from here */
    uint64_t last_time; /* of the last record */
    uint32_t data_crc; /* raw register over start..end, without padding's bytes */
};
/* `crc` is the register to go on from, 0xffffffff at a page's first frame. */
void dl_census(const uint8_t *at, uint64_t length, uint64_t position, uint32_t seed, uint32_t crc,
               struct dl_census *census);

#endif
