/* What sweep.c and schedule.c log into a ring, how their writer drains it, and how both are held against
 * what the calls returned.  The includer takes ring.c in before. */
#ifndef BOOKS_H
#define BOOKS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAPACITY 4096u
#define NO_LIMIT UINT64_MAX

enum { BYSTANDER = 1, VICTIM = 2, OTHER = 3, MOST = 4 };

static const char *current = "";
static uint64_t current_at; /* the instruction, or the schedule */
static void (*on_failure)(void);

#define CHECK(condition, ...)                                                                            \
    do {                                                                                                 \
        if (!(condition)) {                                                                              \
            printf("FAILED %s, at %llu: %s:%d, %s: ", current, (unsigned long long)current_at,           \
                   __FILE__, __LINE__, #condition);                                                      \
            printf(__VA_ARGS__);                                                                         \
            printf("\n");                                                                                \
            if (on_failure != NULL)                                                                      \
                on_failure();                                                                            \
            fflush(stdout);                                                                              \
            _exit(1);                                                                                    \
        }                                                                                                \
    } while (0)

/* What outlives a process beside the ring: what calls returned, and a writer's pages. */
struct outside {
    uint64_t returned[MOST]; /* records that an append returned DL_OK for */
    uint64_t tried[MOST];
    uint64_t first, watermark; /* positions of what the pages hold */
    uint8_t pages[1 << 16];
};

static struct dl_ring ring;
static uint8_t *memory;
static uint64_t memory_size;
static struct outside *outside;
static struct dl_claimant claimants[MOST];

/* ---- what is logged: all of it follows from who and the sequence ---------------------------------- */

struct payload {
    uint32_t who, sequence;
    uint8_t rest[1016];
};

static uint64_t fill(struct payload *payload, uint32_t who, uint32_t sequence, uint64_t length)
{
    payload->who = who;
    payload->sequence = sequence;
    for (uint64_t i = 0; i < length; i++)
        payload->rest[i] = (uint8_t)(who * 67 + sequence * 7 + i);
    return 8 + length;
}

/* What each logs next, made beforehand. */
static struct payload ready[MOST][8];
static struct dl_item items[MOST][8];
static uint32_t counts[MOST];

static void make_ready(uint32_t who, uint32_t count, uint64_t length)
{
    counts[who] = count;
    for (uint32_t i = 0; i < count; i++)
        items[who][i] = (struct dl_item){
            &ready[who][i], fill(&ready[who][i], who, (uint32_t)outside->tried[who] + i, length)};
}

/* One record, or several as a group, and the bell if it is ours to ring. */
static int append_ready(uint32_t who)
{
    struct dl_frame_header header = {.time = 1000 + who, .kind = DL_RECORD};
    uint64_t position, end;
    int status;
    outside->tried[who] += counts[who];
    if (counts[who] == 1)
        status = dl_append(&ring, &claimants[who], &header, items[who][0].bytes, items[who][0].length, &position,
                           &end);
    else
        status = dl_append_group(&ring, &claimants[who], &header, items[who], counts[who], &position, &end);
    if (status == DL_OK) {
        outside->returned[who] += counts[who];
        if (dl_take_bell(&ring))
            atomic_fetch_add(&ring.control->bell, 1);
    } else
        outside->tried[who] -= counts[who];
    return status;
}

static int append(uint32_t who, uint64_t length)
{
    make_ready(who, 1, length);
    return append_ready(who);
}

static int append_group(uint32_t who, uint32_t count, uint64_t length)
{
    make_ready(who, count, length);
    return append_ready(who);
}

/* ---- the writer ----------------------------------------------------------------------------------- */

/* Drain what is there; the claims of the dead are abandoned. */
static enum dl_stop consume(const bool dead[MOST])
{
    for (;;) {
        struct dl_segment segment;
        uint64_t from = outside->watermark;
        dl_drain(&ring, from, NO_LIMIT, NO_LIMIT, &segment);
        if (segment.end == from) {
            if (segment.stop == DL_STOP_CLAIMED && dead[segment.next % MOST]) {
                dl_abandon(&ring, from);
                continue;
            }
            return segment.stop;
        }
        CHECK(segment.end - outside->first <= sizeof outside->pages, "too much");
        DL_POINT("writing");
        memcpy(outside->pages + (from - outside->first), dl_at(&ring, from), segment.length);
        outside->watermark = segment.end;
        dl_release(&ring, from, segment.end);
    }
}

static void check_record(const struct dl_frame *frame, uint64_t found[MOST])
{
    struct payload expected;
    uint32_t who, sequence;
    memcpy(&who, frame->bytes, 4);
    memcpy(&sequence, frame->bytes + 4, 4);
    CHECK(frame->header.length >= 8 && who < MOST, "not what was logged");
    CHECK(sequence == found[who], "record %u of %u after %d", sequence, who, (int)found[who] - 1);
    uint64_t length = fill(&expected, who, sequence, frame->header.length - 8);
    CHECK(memcmp(frame->bytes, &expected, length) == 0, "record %u of %u is broken", sequence, who);
    found[who]++;
}

/* All that the pages hold, against what calls returned. */
static void check_pages(void)
{
    uint64_t found[MOST] = {0};
    for (uint64_t at = outside->first; at < outside->watermark;) {
        struct dl_frame frame;
        const uint8_t *bytes = outside->pages + (at - outside->first);
        enum dl_frame_status status = dl_frame_check(bytes, outside->watermark - at, at, ring.seed, &frame);
        CHECK(status == DL_FRAME_VALID, "the frame at %llu", (unsigned long long)at);
        if (frame.header.kind == DL_RECORD)
            check_record(&frame, found);
        else if (frame.header.kind == DL_GROUP) {
            uint64_t offset = DL_GROUP_HEADER;
            struct dl_frame inner;
            while (dl_group_next(frame.bytes, frame.header.length, &offset, &inner))
                check_record(&inner, found);
        }
        at += frame.span;
    }
    for (uint32_t who = 0; who < MOST; who++)
        CHECK(found[who] >= outside->returned[who] && found[who] <= outside->tried[who],
              "%llu records of %u, %llu returned of %llu tried", (unsigned long long)found[who], who,
              (unsigned long long)outside->returned[who], (unsigned long long)outside->tried[who]);
}

/* A ring that begins at `base`, into which the bystander logs until `offset` bytes of it are used. */
static void begin(uint64_t base, uint64_t offset)
{
    const bool nobody[MOST] = {false};
    struct dl_constants constants = {.capacity = CAPACITY, .base = base, .salt = 77, .generation = 1};
    memset(memory, 0, memory_size);
    memset(outside, 0, sizeof *outside);
    outside->first = outside->watermark = base;
    dl_ring_format(memory, &constants);
    CHECK(dl_ring_open(&ring, memory, memory_size) == NULL, "its own ring");
    for (uint32_t who = 0; who < MOST; who++) {
        claimants[who] = (struct dl_claimant){.slot = who, .pid = who};
        ring.slots[who].pid = who;
        atomic_store(&ring.slots[who].word, DL_SLOT_ATTACHED);
    }
    for (uint64_t used = 0; used < offset; used += 64) {
        CHECK(append(BYSTANDER, 32) == DL_OK, "no room");
        consume(nobody);
    }
}

#endif
