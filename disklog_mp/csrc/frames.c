/* Frames, see frames.h. */
#include "frames.h"

#include <string.h>

#include "crc32c.h"

uint32_t dl_frame_seed(uint64_t salt) { return dl_crc32c_u64(0xffffffffu, salt); }

static bool has_bytes(uint16_t kind) { return kind != DL_PADDING_FRAME && kind != DL_ABANDONED_FRAME; }

uint32_t dl_frame_crc_header(uint32_t seed, uint64_t position, const struct dl_frame_header *header)
{
    uint32_t crc = dl_crc32c_u64(seed, position);
    crc = dl_crc32c_u64(crc, header->time);
    crc = dl_crc32c_u64(crc, header->pid | (uint64_t)header->kind << 32 | (uint64_t)header->tag << 48);
    return dl_crc32c_u64(crc, header->length);
}

uint32_t dl_frame_crc(uint32_t seed, uint64_t position, const struct dl_frame_header *header,
                      const void *bytes)
{
    uint32_t crc = dl_frame_crc_header(seed, position, header);
    if (has_bytes(header->kind))
        crc = dl_crc32c_update(crc, bytes, header->length);
    return ~crc;
}

enum dl_frame_status dl_frame_check(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed,
                                    struct dl_frame *frame)
{
    struct dl_frame_header *header = &frame->header;
    frame->bytes = at + DL_FRAME_HEADER;
    frame->span = DL_GRANULE;
    frame->found = frame->expected = 0;
    if (room < DL_FRAME_HEADER)
        return dl_all_zero(at, room) ? DL_FRAME_EMPTY : DL_FRAME_BAD;
    memcpy(header, at, DL_FRAME_HEADER);
    frame->found = header->crc;
    if (header->kind == 0)
        return dl_all_zero(at, DL_FRAME_HEADER) ? DL_FRAME_EMPTY : DL_FRAME_BAD;
    uint64_t span = dl_round_up((uint64_t)header->length + DL_FRAME_HEADER, DL_GRANULE);
    if (header->kind > DL_GROUP || span > room)
        return DL_FRAME_BAD;
    frame->span = span;
    frame->expected = dl_frame_crc(seed, position, header, frame->bytes);
    if (frame->expected != header->crc)
        return DL_FRAME_BAD;
    if (header->kind == DL_GROUP && dl_group_count(frame->bytes, header->length) == 0)
        return DL_FRAME_BAD;
    return DL_FRAME_VALID;
}

uint64_t dl_frame_find(const uint8_t *at, uint64_t room, uint64_t position, uint32_t seed)
{
    struct dl_frame frame;
    uint64_t offset = 0;
    while (offset < room) {
        if (dl_frame_check(at + offset, room - offset, position + offset, seed, &frame) == DL_FRAME_VALID)
            return offset;
        offset += DL_GRANULE;
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
    memcpy(&frame->header, bytes + at, DL_FRAME_HEADER);
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

static uint64_t last_time(const struct dl_frame *frame)
{
    if (frame->header.kind != DL_GROUP)
        return frame->header.time;
    struct dl_frame inner = *frame;
    uint64_t offset = DL_GROUP_HEADER;
    while (dl_group_next(frame->bytes, frame->header.length, &offset, &inner)) {
    }
    return inner.header.time;
}

void dl_census(const uint8_t *at, uint64_t length, uint64_t position, uint32_t seed, uint32_t crc,
               struct dl_census *census)
{
    struct dl_frame frame;
    uint64_t offset = 0;
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
            census->data_crc = dl_crc32c_update(census->data_crc, at + offset, distance);
            offset += distance;
            continue;
        }
        uint32_t records = dl_frame_records(&frame);
        census->frames++;
        census->records += records;
        census->abandoned += frame.header.kind == DL_ABANDONED_FRAME;
        if (records != 0)
            census->last_time = last_time(&frame);
        uint64_t covered = frame.header.kind == DL_PADDING_FRAME ? DL_FRAME_HEADER : frame.span;
        census->data_crc = dl_crc32c_update(census->data_crc, at + offset, covered);
        offset += frame.span;
        census->end = offset;
    }
}
