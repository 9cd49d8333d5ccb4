/* The ring, see ring.h for the argument and layout.h for the bytes. */
#include "ring.h"

#include <string.h>

#include "crc32c.h"
#include "frames.h"

#ifndef LOAD /* a test may put a memory of its own in between */
#define LOAD(object, order) atomic_load_explicit(&(object), memory_order_##order)
#define STORE(object, value, order) atomic_store_explicit(&(object), value, memory_order_##order)
#define SWAP(object, expected, value, order)                                                       \
    atomic_compare_exchange_strong_explicit(&(object), expected, value, memory_order_##order,        \
                                            memory_order_acquire)
#define FENCE(order) atomic_thread_fence(memory_order_##order)
#endif

void dl_ring_format(void *memory, const struct dl_constants *wanted)
{
    struct dl_constants *constants = memory;
    *constants = *wanted;
    constants->magic = DL_RING_MAGIC;
    constants->version = DL_RING_VERSION;
    constants->byte_order = DL_BYTE_ORDER;
    constants->size = dl_ring_size(wanted->capacity);
    constants->granule = DL_GRANULE;
    constants->slots = DL_SLOTS;
    constants->record_limit = dl_record_limit(wanted->capacity);
    constants->crc = dl_crc32c(constants, offsetof(struct dl_constants, crc));

    struct dl_control *control = (void *)((uint8_t *)memory + DL_CONTROL_OFFSET);
    STORE(control->hint, wanted->base, relaxed);
    STORE(control->released, wanted->base, relaxed);
    STORE(control->written, wanted->base, relaxed);
    STORE(control->durable, wanted->base, relaxed);
    STORE(control->retiring, DL_NO_NOTE, relaxed);
    STORE(control->abandoning, DL_NO_NOTE, relaxed);

    uint32_t tag = dl_tag(wanted->base, wanted->capacity);
    if (tag == 1)
        return; /* zeros are an earlier lap already */
    _Atomic uint64_t *map = (void *)((uint8_t *)memory + DL_MAP_OFFSET);
    for (uint64_t i = 0; i < wanted->capacity / DL_GRANULE; i++)
        STORE(map[i], dl_word((tag - 1u) & DL_TAG_MASK, 0, 0, 0), relaxed);
}

const char *dl_ring_open(struct dl_ring *ring, void *memory, uint64_t size)
{
    struct dl_constants *constants = memory;
    if (size < DL_MAP_OFFSET || constants->magic != DL_RING_MAGIC)
        return "it does not begin like a ring";
    if (constants->byte_order != DL_BYTE_ORDER)
        return "it was made on a machine of the other byte order";
    if (constants->version != DL_RING_VERSION)
        return "version";
    if (constants->crc != dl_crc32c(constants, offsetof(struct dl_constants, crc)))
        return "the checksum of its constants does not match";
    uint64_t capacity = constants->capacity;
    if (capacity < DL_CAPACITY_MIN || capacity > DL_CAPACITY_MAX || (capacity & (capacity - 1u)) != 0
        || constants->size != dl_ring_size(capacity) || constants->size != size
        || constants->granule != DL_GRANULE || constants->slots != DL_SLOTS
        || constants->record_limit != dl_record_limit(capacity) || constants->base % DL_GRANULE != 0
        || constants->name[sizeof constants->name - 1] != 0
        || constants->path[sizeof constants->path - 1] != 0)
        return "its constants contradict each other or its size";
    uint8_t *bytes = memory;
    ring->constants = constants;
    ring->control = (void *)(bytes + DL_CONTROL_OFFSET);
    ring->slots = (void *)(bytes + DL_SLOTS_OFFSET);
    ring->map = (void *)(bytes + DL_MAP_OFFSET);
    ring->data = bytes + dl_data_offset(capacity);
    ring->labels = (void *)(bytes + dl_labels_offset(capacity));
    ring->capacity = capacity;
    ring->granules = capacity / DL_GRANULE;
    ring->record_limit = dl_record_limit(capacity);
    ring->seed = dl_frame_seed(constants->salt);
    return NULL;
}

/* A word of the lap being walked must lead somewhere: forward, and not past the ring's end. */
static bool plausible(const struct dl_ring *ring, uint64_t position, uint64_t word)
{
    uint32_t length = dl_word_granules(word);
    uint32_t state = dl_word_state(word);
    return length >= 1 && length <= ring->granules - dl_granule(ring, position) && state >= DL_CLAIMED
           && state <= DL_COMMITTED_GROUP && dl_word_owner(word) < DL_SLOTS;
}

static void advance_hint(struct dl_ring *ring, uint64_t end)
{
    uint64_t hint = DL_ATOMIC(hint:A, LOAD(ring->control->hint, relaxed));
    while (hint < end)
        if (DL_ATOMIC(hint:B, atomic_compare_exchange_weak_explicit(&ring->control->hint, &hint, end,
                                                                     memory_order_release,
                                                                     memory_order_relaxed)))
            return;
}

/* Take `granules` at the frontier, for that slot. */
static int claim(struct dl_ring *ring, struct dl_claimant *claimant, uint32_t slot, uint32_t granules,
                 uint64_t time, uint64_t *position)
{
    const uint64_t capacity = ring->capacity, length = (uint64_t)granules * DL_GRANULE;
    uint64_t own = DL_ATOMIC(own:A, LOAD(claimant->last, acquire));
    uint64_t t = DL_ATOMIC(claim:A, LOAD(ring->control->hint, acquire));
    if (t < own)
        t = own;
    uint64_t released = DL_ATOMIC(claim:B, LOAD(ring->control->released, acquire));
    for (;;) {
        if (t - released > capacity || t % DL_GRANULE != 0) { /* below, or so far above that it grew */
            released = DL_ATOMIC(claim:B, LOAD(ring->control->released, acquire));
            if (t < released)
                t = released;
            if (t - released > capacity || t % DL_GRANULE != 0) {
                if (own == 0)
                    return DL_DAMAGED;
                /* It may have been scribbled over when it was claimed: then it is no boundary, for ever. */
                own = 0;
                DL_ATOMIC(own:B, STORE(claimant->last, own, release));
                t = DL_ATOMIC(claim:A, LOAD(ring->control->hint, acquire));
                continue;
            }
        }
        uint64_t word = DL_ATOMIC(claim:C, LOAD(ring->map[dl_granule(ring, t)], acquire));
        int32_t ahead = dl_laps_ahead(word, dl_tag(t, capacity));
        if (ahead == 0) {
            if (!plausible(ring, t, word))
                return DL_DAMAGED;
            if (dl_word_state(word) == DL_CLOSED)
                return DL_ENDED;
            t += (uint64_t)dl_word_granules(word) * DL_GRANULE;
            continue;
        }
        uint64_t before = released;
        released = DL_ATOMIC(claim:B, LOAD(ring->control->released, acquire));
        if (ahead > 0) { /* t is from a past lap: the frontier is at least a lap on */
            if (released <= t || t - released <= capacity)
                return DL_DAMAGED;
            continue;
        }
        uint64_t rest = capacity - dl_index(ring, t);
        uint64_t wanted = length <= rest ? length : rest; /* too long for the rest: pad it first */
        /* Once more, though the word says it: a producer that slept here while the others went through half
         * of all tags would take a current word for an earlier one. */
        if (t < released) {
            if (t - released <= capacity) /* it wraps: nothing was released up to there */
                return DL_DAMAGED;
            continue;
        }
        if (t + wanted - released > capacity) {
            if (released != before)
                continue;
            return DL_FULL;
        }
        if (wanted != length) {
            uint64_t padding = dl_word(dl_tag(t, capacity), DL_PADDING, slot, (uint32_t)(rest / DL_GRANULE));
            if (DL_ATOMIC(claim:D, SWAP(ring->map[dl_granule(ring, t)], &word, padding, acq_rel))) {
                t += rest;
                advance_hint(ring, t);
            }
            continue;
        }
        uint64_t claimed = dl_word(dl_tag(t, capacity), DL_CLAIMED, slot, granules);
        if (DL_ATOMIC(claim:E, SWAP(ring->map[dl_granule(ring, t)], &word, claimed, acq_rel)))
            break;
        if (claimant->lost != NULL)
            claimant->lost(claimant, time);
        uint64_t hint = DL_ATOMIC(claim:A, LOAD(ring->control->hint, acquire));
        if (hint - t <= capacity)
            t = hint; /* or the walk would be over all that was logged meanwhile */
    }
    DL_ATOMIC(own:B, STORE(claimant->last, t + length, release));
    if ((t ^ (t + length)) / DL_HINT_STRIDE != 0)
        advance_hint(ring, t + length);
    *position = t;
    return DL_OK;
}

/* Where the next frames will most likely be written: the lines are in another processor's cache or in none,
 * and are fetched while this record is copied, to be written to. */
#define AHEAD_DATA 1024u /* bytes: eight short records (bench: call) */
#define AHEAD_MAP 256u /* bytes: their claim words (bench: call) */

static inline void fetch_to_write(const void *line)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)line)); /* or the compiler makes it one to read */
#else
    __builtin_prefetch(line, 1);
#endif
}

static void fetch_next(const struct dl_ring *ring, uint64_t position, const uint8_t *frame)
{
    fetch_to_write(frame + AHEAD_DATA);
    fetch_to_write(frame + AHEAD_DATA + 64);
    fetch_to_write((const uint8_t *)&ring->map[dl_granule(ring, position)] + AHEAD_MAP);
}

static void commit(struct dl_ring *ring, const struct dl_claimant *claimant, uint32_t slot,
                   uint64_t position, uint32_t state, uint32_t granules)
{
    uint64_t word = dl_word(dl_tag(position, ring->capacity), state, slot, granules);
    DL_ATOMIC(commit:A, STORE(ring->map[dl_granule(ring, position)], word, release));
    if (!claimant->light || DL_ATOMIC(commit:D, LOAD(ring->control->barrier, relaxed)) == 0)
        DL_ATOMIC(commit:E, FENCE(seq_cst));
}

int dl_append(struct dl_ring *ring, struct dl_claimant *claimant, const struct dl_frame_header *header,
              const void *bytes, uint64_t length, uint64_t *position, uint64_t *end)
{
    if (length > ring->record_limit)
        return DL_TOO_LARGE;
    const uint32_t granules = dl_frame_granules(length), slot = claimant->slot;
    uint64_t at;
    int status = claim(ring, claimant, slot, granules, header->time, &at);
    if (status != DL_OK)
        return status;
    DL_POINT("claimed");
    uint8_t *frame = dl_at(ring, at);
    fetch_next(ring, at, frame);
    /* Word by word: put together in memory it would be read back before its parts have arrived there. */
    const uint64_t time = header->time;
    const uint64_t who = (header->pid != 0 ? header->pid : claimant->pid) | (uint64_t)header->kind << 32
                         | (uint64_t)header->tag << 48;
    uint32_t crc = dl_frame_crc_words(ring->seed, at, time, who, length);
    crc = ~dl_crc32c_copy(crc, frame + DL_FRAME_HEADER, bytes, length);
    DL_POINT("copied");
    memcpy(frame, &(uint64_t){length | (uint64_t)crc << 32}, 8);
    memcpy(frame + 8, &time, 8);
    memcpy(frame + 16, &who, 8);
    DL_POINT("filled");
    commit(ring, claimant, slot, at, DL_COMMITTED, granules);
    *position = at;
    *end = at + (uint64_t)granules * DL_GRANULE;
    return DL_OK;
}

int dl_append_group(struct dl_ring *ring, struct dl_claimant *claimant, const struct dl_frame_header *wanted,
                    const struct dl_item *items, uint32_t count, uint64_t *position, uint64_t *end)
{
    uint64_t length = DL_GROUP_HEADER;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].length > ring->record_limit)
            return DL_TOO_LARGE;
        length += dl_round_up(items[i].length + DL_FRAME_HEADER, DL_INNER_ALIGN);
        if (length > ring->record_limit)
            return DL_TOO_LARGE;
    }
    const uint32_t granules = dl_frame_granules(length), slot = claimant->slot;
    uint64_t at;
    int status = claim(ring, claimant, slot, granules, wanted->time, &at);
    if (status != DL_OK)
        return status;
    DL_POINT("group claimed");
    struct dl_frame_header header = *wanted;
    const uint16_t label = header.kind & (uint16_t)~DL_KIND_MASK;
    uint8_t *frame = dl_at(ring, at), *to = frame + DL_FRAME_HEADER;
    if (header.pid == 0)
        header.pid = claimant->pid;
    header.crc = 0;
    header.kind = DL_RECORD | label;
    memcpy(to, &(uint64_t){count}, DL_GROUP_HEADER);
    to += DL_GROUP_HEADER;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t span = dl_round_up(items[i].length + DL_FRAME_HEADER, DL_INNER_ALIGN);
        header.length = (uint32_t)items[i].length;
        memset(to + span - DL_INNER_ALIGN, 0, DL_INNER_ALIGN);
        memcpy(to, &header, DL_FRAME_HEADER);
        if (items[i].length != 0)
            memcpy(to + DL_FRAME_HEADER, items[i].bytes, items[i].length);
        to += span;
    }
    DL_POINT("group copied");
    header.kind = DL_GROUP | label;
    header.length = (uint32_t)length;
    header.crc = dl_frame_crc(ring->seed, at, &header, frame + DL_FRAME_HEADER);
    memcpy(frame, &header, DL_FRAME_HEADER);
    DL_POINT("group filled");
    commit(ring, claimant, slot, at, DL_COMMITTED_GROUP, granules);
    *position = at + DL_FRAME_HEADER + DL_GROUP_HEADER;
    *end = at + (uint64_t)granules * DL_GRANULE;
    return DL_OK;
}

bool dl_take_bell(struct dl_ring *ring)
{
    return DL_ATOMIC(commit:B, LOAD(ring->control->parked, relaxed)) != 0
           && DL_ATOMIC(commit:C, atomic_exchange_explicit(&ring->control->parked, 0,
                                                           memory_order_acq_rel)) != 0;
}

/* The header of a frame that has no bytes of its own.  Nothing in it depends on when or by which process
 * it is written, so a writer that died on the way is repeated byte for byte. */
static void write_filler(struct dl_ring *ring, uint64_t position, uint16_t kind, uint32_t granules,
                         uint32_t pid)
{
    struct dl_frame_header header = {
        .length = granules * DL_GRANULE - DL_FRAME_HEADER, .pid = pid, .kind = kind};
    header.crc = dl_frame_crc(ring->seed, position, &header, NULL);
    memcpy(dl_at(ring, position), &header, DL_FRAME_HEADER);
}

/* Records in a committed group, from its own bytes; a lie costs only the count. */
static uint64_t group_records(const struct dl_ring *ring, uint64_t position, uint64_t span)
{
    uint32_t count;
    memcpy(&count, dl_at(ring, position) + DL_FRAME_HEADER, 4);
    return count <= span / DL_FRAME_HEADER ? count : 1;
}

/* No process stores a hint beyond the frontier: where nothing is claimed at `frontier` but the hint is later,
 * it was scribbled over, and producers claim behind a hole or not at all. */
static bool hint_is_astray(const struct dl_ring *ring, uint64_t frontier)
{
    if (DL_ATOMIC(drain:B, LOAD(ring->control->hint, acquire)) <= frontier)
        return false;
    uint64_t word = DL_ATOMIC(drain:A, LOAD(ring->map[dl_granule(ring, frontier)], acquire));
    return dl_laps_ahead(word, dl_tag(frontier, ring->capacity)) < 0;
}

#define AHEAD_WORDS 128u /* bytes: the claim words of four short records (bench: throughput) */

void dl_drain(struct dl_ring *ring, uint64_t from, uint64_t max_bytes, uint64_t max_records,
              struct dl_segment *segment)
{
    uint64_t h = from, last = from;
    uint32_t state = 0;
    *segment = (struct dl_segment){.start = from, .stop = DL_STOP_EMPTY};
    for (;;) {
        if (h % DL_GRANULE != 0) {
            segment->stop = DL_STOP_DAMAGED;
            break;
        }
        if (h != from && (dl_index(ring, h) == 0 || state == DL_PADDING)) {
            segment->stop = DL_STOP_WRAP;
            break;
        }
        uint64_t word = DL_ATOMIC(drain:A, LOAD(ring->map[dl_granule(ring, h)], acquire));
        int32_t ahead = dl_laps_ahead(word, dl_tag(h, ring->capacity));
        if (ahead < 0) {
            if (h == from && hint_is_astray(ring, h))
                segment->stop = DL_STOP_DAMAGED;
            break;
        }
        if (ahead > 0 || !plausible(ring, h, word)) {
            segment->stop = DL_STOP_DAMAGED;
            break;
        }
        uint32_t granules = dl_word_granules(word);
        uint64_t span = (uint64_t)granules * DL_GRANULE, records = 0;
        /* The bytes are summed and written next: fetch them out of the producer's cache meanwhile. */
        __builtin_prefetch(dl_at(ring, h));
        __builtin_prefetch(dl_at(ring, h) + 64);
        __builtin_prefetch((const uint8_t *)&ring->map[dl_granule(ring, h)] + AHEAD_WORDS);
        state = dl_word_state(word);
        if (state == DL_CLAIMED || state == DL_CLOSED) {
            segment->stop = state == DL_CLAIMED ? DL_STOP_CLAIMED : DL_STOP_CLOSED;
            segment->next = dl_word_owner(word);
            break;
        }
        if (state == DL_COMMITTED)
            records = 1;
        else if (state == DL_COMMITTED_GROUP)
            records = group_records(ring, h, span);
        if (h + span - from > max_bytes || segment->records + records > max_records) {
            segment->stop = DL_STOP_LIMIT;
            segment->next = (uint32_t)span;
            break;
        }
        if (state == DL_PADDING)
            write_filler(ring, h, DL_PADDING_FRAME, granules, 0);
        else if (state == DL_ABANDONED)
            write_filler(ring, h, DL_ABANDONED_FRAME, granules, ring->slots[dl_word_owner(word)].pid);
        else
            last = h;
        segment->records += records;
        segment->length = h - from + (state == DL_PADDING ? DL_FRAME_HEADER : span);
        h += span;
    }
    segment->end = h;
    if (segment->records != 0)
        memcpy(&segment->last_time, dl_at(ring, last) + offsetof(struct dl_frame_header, time), 8);
}

bool dl_abandon(struct dl_ring *ring, uint64_t position)
{
    _Atomic uint64_t *cell = &ring->map[dl_granule(ring, position)];
    uint64_t word = DL_ATOMIC(drain:A, LOAD(*cell, acquire));
    if (dl_laps_ahead(word, dl_tag(position, ring->capacity)) != 0 || dl_word_state(word) != DL_CLAIMED)
        return false;
    uint64_t abandoned = dl_word(dl_word_tag(word), DL_ABANDONED, dl_word_owner(word),
                                 dl_word_granules(word));
    return DL_ATOMIC(abandon:A, SWAP(*cell, &word, abandoned, acq_rel));
}

static void refresh_tags(struct dl_ring *ring, uint64_t from, uint64_t to)
{
    for (uint64_t position = from; position < to; position += DL_GRANULE) {
        _Atomic uint64_t *cell = &ring->map[dl_granule(ring, position)];
        uint32_t tag = dl_tag(position, ring->capacity);
        if (dl_laps_ahead(DL_ATOMIC(refresh:B, LOAD(*cell, relaxed)), tag) != 0)
            DL_ATOMIC(refresh:A, STORE(*cell, dl_word(tag, 0, 0, 0), release));
    }
}

void dl_release(struct dl_ring *ring, uint64_t from, uint64_t to)
{
    /* A released run never crosses the ring's end, so all of it is of one lap. */
    if (from / ring->capacity % DL_REFRESH_LAPS == DL_REFRESH_LAPS - 1u)
        refresh_tags(ring, from, to);
    DL_POINT("refreshed");
    DL_ATOMIC(release:A, STORE(ring->control->released, to, seq_cst));
}

uint64_t dl_frontier(const struct dl_ring *ring, uint64_t from)
{
    uint64_t t = from;
    while (t - from < ring->capacity) {
        uint64_t word = DL_ATOMIC(frontier:A, LOAD(ring->map[dl_granule(ring, t)], acquire));
        if (dl_laps_ahead(word, dl_tag(t, ring->capacity)) != 0 || !plausible(ring, t, word)
            || dl_word_state(word) == DL_CLOSED)
            break;
        uint64_t end = t + (uint64_t)dl_word_granules(word) * DL_GRANULE;
        if (end - from > ring->capacity)
            break; /* scribbled over: no walk of true words comes round to where it began and goes on */
        t = end;
    }
    return t;
}

bool dl_is_closed(const struct dl_ring *ring, uint64_t from)
{
    uint64_t t = dl_frontier(ring, from);
    uint64_t word = DL_ATOMIC(closed:A, LOAD(ring->map[dl_granule(ring, t)], seq_cst));
    return dl_laps_ahead(word, dl_tag(t, ring->capacity)) == 0 && dl_word_state(word) == DL_CLOSED;
}

bool dl_close(struct dl_ring *ring, uint64_t position)
{
    uint32_t tag = dl_tag(position, ring->capacity);
    _Atomic uint64_t *cell = &ring->map[dl_granule(ring, position)];
    uint64_t word = DL_ATOMIC(drain:A, LOAD(*cell, acquire));
    uint64_t released = DL_ATOMIC(close:B, LOAD(ring->control->released, relaxed));
    if (dl_laps_ahead(word, tag) >= 0 || position - released >= ring->capacity)
        return false; /* the frontier of a full ring is over its head: not the place for a word */
    return DL_ATOMIC(close:A, SWAP(*cell, &word, dl_word(tag, DL_CLOSED, 0, 1), seq_cst));
}

void dl_park(struct dl_ring *ring) { DL_ATOMIC(park:A, STORE(ring->control->parked, 1, seq_cst)); }

bool dl_may_sleep(struct dl_ring *ring, uint64_t position)
{
    uint64_t word = DL_ATOMIC(park:B, LOAD(ring->map[dl_granule(ring, position)], seq_cst));
    if (dl_laps_ahead(word, dl_tag(position, ring->capacity)) < 0 || dl_word_state(word) == DL_CLAIMED)
        return true;
    dl_unpark(ring);
    return false;
}

bool dl_is_parked(struct dl_ring *ring)
{
    return DL_ATOMIC(park:D, LOAD(ring->control->parked, relaxed)) != 0;
}

void dl_unpark(struct dl_ring *ring) { DL_ATOMIC(park:C, STORE(ring->control->parked, 0, relaxed)); }

/* Order: the totals after it, the note of which slot, the slot's new word, the count that puts the totals
 * in force.  A successor finds the note; if the slot has moved on and the count has not, the count is all
 * that was missing. */
void dl_retire(struct dl_ring *ring, uint32_t slot)
{
    struct dl_control *control = ring->control;
    struct dl_slot *owner = &ring->slots[slot];
    uint64_t count = DL_ATOMIC(retire:E, LOAD(control->retired_count, acquire));
    uint64_t word = DL_ATOMIC(retire:E, LOAD(owner->word, acquire));
    const _Atomic uint64_t *counts[] = {&owner->logged, &owner->dropped, &owner->waited};
    for (int i = 0; i < 3; i++) {
        uint64_t total = DL_ATOMIC(retire:F, LOAD(control->totals[count & 1][i], relaxed));
        total += DL_ATOMIC(retire:F, LOAD(*counts[i], relaxed));
        DL_ATOMIC(retire:F, STORE(control->totals[(count + 1) & 1][i], total, relaxed));
    }
    DL_ATOMIC(retire:A, STORE(control->retiring, dl_note(count, slot, word), release));
    DL_ATOMIC(retire:B, STORE(owner->word, ((word >> 32) + 1) << 32 | DL_SLOT_FREE, release));
    DL_ATOMIC(retire:C, STORE(control->retired_count, count + 1, release));
    DL_ATOMIC(retire:D, STORE(control->retiring, DL_NO_NOTE, release));
}

void dl_retire_resume(struct dl_ring *ring)
{
    struct dl_control *control = ring->control;
    uint64_t note = DL_ATOMIC(retire:E, LOAD(control->retiring, acquire));
    uint32_t slot = dl_note_slot(note);
    if (slot >= DL_SLOTS)
        return;
    uint64_t count = DL_ATOMIC(retire:E, LOAD(control->retired_count, acquire));
    uint64_t word = DL_ATOMIC(retire:E, LOAD(ring->slots[slot].word, acquire));
    bool freed = dl_note(count, slot, word) != note, counted = dl_note(count, slot, note << 32) != note;
    if (freed && !counted)
        DL_ATOMIC(retire:C, STORE(control->retired_count, count + 1, release));
    DL_ATOMIC(retire:D, STORE(control->retiring, DL_NO_NOTE, release));
}
