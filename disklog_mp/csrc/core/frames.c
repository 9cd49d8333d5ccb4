/* Frames, see frames.h. */
#include "frames.h"

#include <string.h>

#include "crc32c.h"

#define FETCH_AHEAD 2048u /* bytes */

uint32_t dl_frame_seed(uint64_t salt) { return dl_crc32c_u64(0xffffffffu, salt); }

static uint16_t plain(uint16_t kind) { return kind & DL_KIND_MASK; }

static bool has_bytes(uint16_t kind)
{
    return plain(kind) != DL_PADDING_FRAME && plain(kind) != DL_ABANDONED_FRAME;
}

/* A header as it stands there, its kind taken apart. */
static void read_header(const uint8_t *at, struct dl_frame *frame)
{
    memcpy(&frame->header, at, DL_FRAME_HEADER);
    frame->label = frame->header.kind >> DL_LABEL_SHIFT;
    frame->header.kind = plain(frame->header.kind);
}

uint32_t dl_frame_crc_words(uint32_t seed, uint64_t position, uint64_t time, uint64_t origin, uint64_t length)
{
    return dl_crc32c_u64x4(seed, position, time, origin, length);
}

uint32_t dl_frame_crc_header(uint32_t seed, uint64_t position, const struct dl_frame_header *header)
{
    uint64_t origin = header->pid | (uint64_t)header->kind << 32 | (uint64_t)header->tag << 48;
    return dl_frame_crc_words(seed, position, header->time, origin, header->length);
}

uint32_t dl_frame_crc(uint32_t seed, uint64_t position, const struct dl_frame_header *header,
                      const void *bytes)
{
    uint32_t crc = dl_frame_crc_header(seed, position, header);
    if (has_bytes(header->kind))
        crc = dl_crc32c_update(crc, bytes, header->length);
    return ~crc;
}

/* Where a frame is found only when the one before it has been read, the processor fetches short ones from
 * memory one after the other: ask for those to come.  It is no access, so it may lead outside the file. */
static void fetch_ahead(const uint8_t *at)
{
    __builtin_prefetch(at + FETCH_AHEAD);
    __builtin_prefetch(at + FETCH_AHEAD + 64);
}

enum dl_frame_status dl_frame_check(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed,
                                    struct dl_frame *frame)
{
    struct dl_frame_header *header = &frame->header;
    fetch_ahead(at);
    frame->bytes = at + DL_FRAME_HEADER;
    frame->span = DL_GRANULE;
    frame->found = frame->expected = 0;
    if (room < DL_FRAME_HEADER)
        return dl_all_zero(at, room) ? DL_FRAME_EMPTY : DL_FRAME_BAD;
    read_header(at, frame);
    frame->found = header->crc;
    if (header->kind == 0)
        return dl_all_zero(at, DL_FRAME_HEADER) ? DL_FRAME_EMPTY : DL_FRAME_BAD;
    uint64_t span = dl_round_up((uint64_t)header->length + DL_FRAME_HEADER, DL_GRANULE);
    if (header->kind > DL_GROUP || span > room || span > DL_FRAME_LONGEST)
        return DL_FRAME_BAD;
    frame->span = span;
    uint64_t origin; /* with the label */
    memcpy(&origin, at + offsetof(struct dl_frame_header, pid), sizeof origin);
    uint32_t crc = dl_frame_crc_words(seed, position, header->time, origin, header->length);
    if (has_bytes(header->kind))
        crc = dl_crc32c_update(crc, frame->bytes, header->length);
    frame->expected = ~crc;
    if (frame->expected != header->crc)
        return DL_FRAME_BAD;
    if (header->kind == DL_GROUP && dl_group_count(frame->bytes, header->length) == 0)
        return DL_FRAME_BAD;
    return DL_FRAME_VALID;
}

/* A header that claims megabytes takes a checksum of megabytes to refute, and such headers may be planted
 * in every granule: their square.  So the bytes are summed once, with a mark at every SUM_STEP bytes, and
 * the checksum of a long candidate is put together from two sums, the register being linear in both its
 * start and the bytes: crc(start, a..b) = past(start ^ sum(a), b - a) ^ sum(b).  No candidate then costs
 * more than SUM_STEP bytes. */
#define SUM_STEP 8192u
#define SUM_MARKS (DL_FRAME_LONGEST / SUM_STEP + 3u) /* as far as a candidate may reach, and a step around */
#define SUM_POWERS 25u /* of two: more than DL_FRAME_LONGEST */

struct sums {
    bool begun;
    uint32_t near; /* sum up to near_offset, which follows the search */
    uint64_t near_offset;
    uint64_t marked; /* marks are known up to this offset */
    uint32_t marks[SUM_MARKS]; /* the mark at an offset is number offset / SUM_STEP, going round */
    uint32_t powers[SUM_POWERS]; /* x to the (8 * 2^i) modulo the polynomial */
};

/* Product modulo the polynomial; both reflected, as the register is. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        product ^= b & (0u - (a >> 31));
        b = b >> 1 ^ (0x82F63B78u & (0u - (b & 1u)));
    }
    return product;
}

/* The register after so many zero bytes. */
static uint32_t past(const struct sums *sums, uint32_t state, uint64_t bytes)
{
    for (const uint32_t *power = sums->powers; bytes != 0; bytes >>= 1, power++)
        if (bytes & 1u)
            state = multiply(state, *power);
    return state;
}

static void begin_sums(struct sums *sums, uint64_t offset)
{
    sums->begun = true;
    sums->near = 0;
    sums->near_offset = sums->marked = offset / SUM_STEP * SUM_STEP;
    sums->marks[sums->marked / SUM_STEP % SUM_MARKS] = 0;
    sums->powers[0] = 1u << 23;
    for (uint32_t i = 1; i < SUM_POWERS; i++)
        sums->powers[i] = multiply(sums->powers[i - 1], sums->powers[i - 1]);
}

static uint32_t sum_at(struct sums *sums, const uint8_t *at, uint64_t offset)
{
    for (; offset >= sums->marked + SUM_STEP; sums->marked += SUM_STEP) {
        uint32_t mark = sums->marks[sums->marked / SUM_STEP % SUM_MARKS];
        mark = dl_crc32c_update(mark, at + sums->marked, SUM_STEP);
        sums->marks[(sums->marked / SUM_STEP + 1u) % SUM_MARKS] = mark;
    }
    uint64_t from = offset / SUM_STEP * SUM_STEP;
    return dl_crc32c_update(sums->marks[offset / SUM_STEP % SUM_MARKS], at + from, offset - from);
}

/* The checksum of a candidate of more than SUM_STEP bytes, all of them readable; the search only goes
 * forward. */
static uint32_t summed_crc(struct sums *sums, const uint8_t *at, uint64_t offset, uint64_t position,
                           uint32_t seed, const struct dl_frame_header *header)
{
    uint64_t from = offset + DL_FRAME_HEADER;
    if (!sums->begun)
        begin_sums(sums, offset);
    sums->near = dl_crc32c_update(sums->near, at + sums->near_offset, from - sums->near_offset);
    sums->near_offset = from;
    uint32_t start = dl_frame_crc_header(seed, position + offset, header);
    uint32_t end = sum_at(sums, at, from + header->length);
    return ~(past(sums, start ^ sums->near, header->length) ^ end);
}

uint64_t dl_frame_find(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed)
{
    struct sums sums;
    struct dl_frame frame;
    struct dl_frame_header header;
    sums.begun = false;
    for (uint64_t offset = 0; offset < room && room - offset >= DL_FRAME_HEADER; offset += DL_GRANULE) {
        memcpy(&header, at + offset, DL_FRAME_HEADER);
        if (plain(header.kind) == 0 || plain(header.kind) > DL_GROUP)
            continue;
        if (has_bytes(header.kind) && header.length > SUM_STEP
            && header.length <= room - offset - DL_FRAME_HEADER && header.length < DL_FRAME_LONGEST
            && summed_crc(&sums, at, offset, position, seed, &header) != header.crc)
            continue;
        if (dl_frame_check(at + offset, room - offset, position + offset, seed, &frame) == DL_FRAME_VALID)
            return offset;
    }
    return room;
}

bool dl_all_zero(const uint8_t *at, uint64_t length)
{
    uint64_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        if (word != 0)
            return false;
    }
    for (; i < length; i++)
        if (at[i] != 0)
            return false;
    return true;
}

bool dl_group_next(const uint8_t *bytes, uint64_t length, uint64_t *offset, struct dl_frame *frame)
{
    uint64_t at = *offset;
    if (at > length || length - at < DL_FRAME_HEADER)
        return false;
    read_header(bytes + at, frame);
    if (frame->header.kind != DL_RECORD || frame->header.length > length - at - DL_FRAME_HEADER)
        return false;
    frame->bytes = bytes + at + DL_FRAME_HEADER;
    frame->span = dl_round_up((uint64_t)frame->header.length + DL_FRAME_HEADER, DL_INNER_ALIGN);
    *offset = at + frame->span;
    return true;
}

uint32_t dl_group_count(const uint8_t *bytes, uint64_t length)
{
    uint32_t count;
    if (length < DL_GROUP_HEADER)
        return 0;
    memcpy(&count, bytes, 4);
    struct dl_frame inner;
    uint64_t offset = DL_GROUP_HEADER;
    for (uint32_t i = 0; i < count; i++)
        if (!dl_group_next(bytes, length, &offset, &inner))
            return 0;
    return count;
}

uint32_t dl_frame_records(const struct dl_frame *frame)
{
    switch (frame->header.kind) {
    case DL_RECORD:
    case DL_GAP:
        return 1;
    case DL_GROUP: {
        uint32_t count;
        memcpy(&count, frame->bytes, 4);
        return count;
    }
    default:
        return 0;
    }
}

uint64_t dl_frame_last_time(const struct dl_frame *frame)
{
    if (frame->header.kind != DL_GROUP)
        return frame->header.time;
    struct dl_frame inner = *frame;
    uint64_t offset = DL_GROUP_HEADER;
    while (dl_group_next(frame->bytes, frame->header.length, &offset, &inner)) {
    }
    return inner.header.time;
}

#define CENSUS_RUN (32u << 10) /* checked frames whose bytes are still in a cache near by */

/* The register over what stands between two offsets.  Long runs go several bytes at a time. */
static uint64_t take_run(struct dl_census *census, const uint8_t *at, uint64_t from, uint64_t to)
{
    census->data_crc = dl_crc32c_update(census->data_crc, at + from, to - from);
    return to;
}

void dl_census(const uint8_t *at, uint64_t length, uint64_t position, uint32_t seed, uint32_t crc,
               struct dl_census *census)
{
    struct dl_frame frame;
    uint64_t offset = 0, taken = 0; /* up to here `data_crc` covers it */
    memset(census, 0, sizeof *census);
    census->data_crc = crc;
    while (offset < length) {
        if (dl_frame_check(at + offset, length - offset, position + offset, seed, &frame)
            != DL_FRAME_VALID) {
            uint64_t distance = dl_frame_find(at + offset, length - offset, position + offset, seed);
            if (offset + distance >= length)
                break;
            census->corrupt_ranges++;
            census->corrupt_bytes += distance;
            offset += distance;
            continue;
        }
        uint32_t records = dl_frame_records(&frame);
        census->frames++;
        census->records += records;
        census->abandoned += frame.header.kind == DL_ABANDONED_FRAME;
        census->gaps += frame.header.kind == DL_GAP;
        if (records != 0)
            census->last_time = dl_frame_last_time(&frame);
        if (frame.header.kind == DL_PADDING_FRAME) {
            take_run(census, at, taken, offset + DL_FRAME_HEADER);
            taken = offset + frame.span;
        }
        offset += frame.span;
        census->end = offset;
        if (offset - taken >= CENSUS_RUN)
            taken = take_run(census, at, taken, offset);
    }
    if (census->end > taken)
        take_run(census, at, taken, census->end);
}
