/*
 * Owns the proof that the ring keeps what ring.h promises when threads append, die and drain at once:
 * every committed record comes out exactly once, whole, in its producer's order, where its position says;
 * what the dead had claimed comes out as abandoned; nothing else does.
 * Must not know how a claim is found, only the promises, and the labels at which a thread may stop.
 *
 * Built with -DDL_REFRESH_LAPS=4, so that tags are refreshed all the time, and with a sanitizer.
 *
 *   stress [--records N] [--seconds N]   all cases, N records per producer in each; again for N seconds
 *   stress --capacity N --base N --producers N --records N --lives N --shared 0|1
 *                                        one case: a producer dies after up to N points (0: never),
 *                                        shared: two threads to a claimant, as in one process
 */
#define _DEFAULT_SOURCE

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void point(const char *label);
#define DL_POINT(label) point(label)
#include "frames.h"
#include "ring.c"

#define PRODUCERS 16
#define LONGEST_WAIT 120 /* seconds for one case: longer is a hang */

#define CHECK(condition, ...)                                                                            \
    do {                                                                                                 \
        if (!(condition))                                                                                \
            fail(#condition, __LINE__, __VA_ARGS__);                                                     \
    } while (0)

#define fail(condition, line, ...)                                                                       \
    do {                                                                                                 \
        printf("FAILED %s: line %d, %s: ", current, line, condition);                                    \
        printf(__VA_ARGS__);                                                                             \
        printf("\n0 passed, 1 failed\n");                                                                \
        fflush(stdout);                                                                                  \
        _exit(1);                                                                                        \
    } while (0)

static const char *current = "";

/* ---- threads that may stop at any point ----------------------------------------------------------- */

struct producer {
    pthread_t thread;
    struct dl_ring *ring;
    struct dl_claimant *claimant, own;
    uint32_t index, producers, records;
    uint64_t random;
    uint64_t sequence; /* of the attempt under way: counts the dead ones too */
    uint64_t committed; /* records */
    uint32_t lives; /* 0: immortal */
    uint32_t fuse; /* points until death, 0: immortal */
    uint32_t open_deaths, doubtful_deaths; /* with a claim open, with perhaps one */
    jmp_buf death;
};

static _Thread_local struct producer *me;
static void (*script)(const char *label); /* what a single-threaded case does at each point */
static _Atomic uint32_t bell;
static _Atomic uint32_t finished; /* producers */
static _Atomic bool dead[DL_SLOTS];

static uint64_t mix(uint64_t value)
{
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return value ^ value >> 31;
}

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* ---- what a producer logs: all of it follows from its index and the sequence ---------------------- */

#define MOST_INNER 5

struct plan {
    uint32_t count; /* records in the group, 0: a record by itself */
    uint32_t lengths[MOST_INNER];
};

static struct plan plan_of(uint32_t index, uint64_t sequence, uint32_t limit)
{
    uint64_t dice = mix((uint64_t)index << 48 | sequence);
    struct plan plan = {0};
    if (dice % 8 == 0) {
        plan.count = 1 + (uint32_t)(dice >> 8) % MOST_INNER;
        for (uint32_t i = 0; i < plan.count; i++)
            plan.lengths[i] = (uint32_t)(dice >> (16 + 8 * i)) % 64;
    } else if (dice % 8 == 1)
        plan.lengths[0] = (uint32_t)(dice >> 8) % (limit + 1);
    else
        plan.lengths[0] = (uint32_t)(dice >> 8) % 100;
    return plan;
}

/* What the attempt under way logs, once it is committed. */
static void count_committed(struct producer *self)
{
    struct plan plan = plan_of(self->index, self->sequence, self->ring->record_limit);
    self->committed += plan.count == 0 ? 1 : plan.count;
}

static void die(struct producer *self, const char *label)
{
    static const char *const open_at[] = {"claimed", "copied", "filled", "group ", "commit:A"};
    static const char *const doubtful_at[] = {"own:B", "hint:"};
    for (size_t i = 0; i < sizeof open_at / sizeof *open_at; i++)
        self->open_deaths += begins_with(label, open_at[i]);
    for (size_t i = 0; i < sizeof doubtful_at / sizeof *doubtful_at; i++)
        self->doubtful_deaths += begins_with(label, doubtful_at[i]);
    if (strcmp(label, "commit:E") == 0)
        count_committed(self);
    longjmp(self->death, 1);
}

static void point(const char *label)
{
    if (script != NULL)
        script(label);
    struct producer *self = me;
    if (self == NULL)
        return;
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    if (self->random >> 58 == 0)
        sched_yield();
    if (self->fuse != 0 && --self->fuse == 0)
        die(self, label);
}

static uint8_t fill_of(uint32_t index, uint64_t sequence, uint32_t i)
{
    return (uint8_t)(index * 67 + sequence * 7 + i + 1);
}

static int append_plan(struct producer *self, const struct plan *plan)
{
    static _Thread_local uint8_t bytes[MOST_INNER][1 << 16];
    struct dl_frame_header header = {
        .time = self->sequence, .kind = DL_RECORD, .tag = (uint16_t)self->index};
    uint64_t position, end;
    struct dl_item items[MOST_INNER];
    for (uint32_t i = 0; i < (plan->count == 0 ? 1 : plan->count); i++) {
        memset(bytes[i], fill_of(self->index, self->sequence, i), plan->lengths[i]);
        items[i] = (struct dl_item){bytes[i], plan->lengths[i]};
    }
    for (;;) {
        int status = plan->count == 0
                         ? dl_append(self->ring, self->claimant, &header, bytes[0], plan->lengths[0],
                                     &position, &end)
                         : dl_append_group(self->ring, self->claimant, &header, items, plan->count,
                                           &position, &end);
        if (status != DL_FULL)
            return status;
        sched_yield();
    }
}

static void born(struct producer *self, uint32_t slot)
{
    self->own = (struct dl_claimant){.slot = slot, .pid = 1000 + slot};
    self->ring->slots[slot].pid = 1000 + slot;
    self->fuse = self->lives == 0 ? 0 : 1 + (uint32_t)(mix(self->random) % self->lives);
}

static void reborn(struct producer *self)
{
    uint32_t slot = self->own.slot + self->producers;
    atomic_store_explicit(&dead[self->own.slot], true, memory_order_release);
    if (slot + self->producers >= DL_SLOTS)
        self->lives = 0;
    born(self, slot);
}

static void *produce(void *argument)
{
    struct producer *self = me = argument;
    while (self->sequence < self->records) {
        if (setjmp(self->death) != 0)
            reborn(self);
        else {
            self->sequence++;
            struct plan plan = plan_of(self->index, self->sequence, self->ring->record_limit);
            int status = append_plan(self, &plan);
            CHECK(status == DL_OK, "producer %u, record %lu: status %d", self->index, self->sequence,
                  status);
            count_committed(self);
            if (dl_take_bell(self->ring))
                atomic_fetch_add(&bell, 1);
        }
    }
    me = NULL;
    atomic_fetch_add_explicit(&finished, 1, memory_order_release);
    return NULL;
}

/* ---- the consumer --------------------------------------------------------------------------------- */

struct consumer {
    struct dl_ring *ring;
    uint64_t position;
    uint64_t records, abandoned, padding;
    uint64_t last[PRODUCERS]; /* sequence last seen */
};

static void check_bytes(const uint8_t *bytes, uint32_t length, uint8_t fill, uint64_t position)
{
    for (uint32_t i = 0; i < length; i++)
        CHECK(bytes[i] == fill, "position %lu, byte %u: %u, not %u", position, i, bytes[i], fill);
}

static void check_record(struct consumer *self, const struct dl_frame *frame, uint64_t position)
{
    const struct dl_frame_header *header = &frame->header;
    uint32_t index = header->tag;
    uint64_t sequence = header->time;
    CHECK(index < PRODUCERS, "position %lu: producer %u", position, index);
    CHECK(sequence > self->last[index], "position %lu: producer %u, %lu after %lu", position, index,
          sequence, self->last[index]);
    self->last[index] = sequence;
    struct plan plan = plan_of(index, sequence, self->ring->record_limit);
    if (plan.count == 0) {
        CHECK(header->kind == DL_RECORD && header->length == plan.lengths[0],
              "position %lu: kind %u, length %u", position, header->kind, header->length);
        check_bytes(frame->bytes, header->length, fill_of(index, sequence, 0), position);
        self->records++;
        return;
    }
    struct dl_frame inner;
    uint64_t offset = DL_GROUP_HEADER;
    for (uint32_t i = 0; i < plan.count; i++) {
        CHECK(dl_group_next(frame->bytes, header->length, &offset, &inner), "position %lu: inner %u",
              position, i);
        CHECK(inner.header.length == plan.lengths[i] && inner.header.time == sequence,
              "position %lu: inner %u of %u bytes", position, i, inner.header.length);
        check_bytes(inner.bytes, inner.header.length, fill_of(index, sequence, i), position);
    }
    CHECK(dl_frame_records(frame) == plan.count, "position %lu: count", position);
    self->records += plan.count;
}

/* The run as a reader of pages would see it; then it is spoilt, so that nobody can have relied on it. */
static void check_segment(struct consumer *self, const struct dl_segment *segment)
{
    struct dl_ring *ring = self->ring;
    uint64_t position = segment->start, before = self->records;
    CHECK(segment->length <= segment->end - segment->start, "length %lu", segment->length);
    while (position < segment->end) {
        struct dl_frame frame;
        enum dl_frame_status status
            = dl_frame_check(dl_at(ring, position), segment->end - position, position, ring->seed, &frame);
        CHECK(status == DL_FRAME_VALID, "position %lu: status %d, crc %#x, expected %#x", position, status,
              frame.found, frame.expected);
        if (frame.header.kind == DL_PADDING_FRAME)
            self->padding++;
        else if (frame.header.kind == DL_ABANDONED_FRAME)
            CHECK(frame.header.pid >= 1000, "position %lu: pid %u", position, frame.header.pid);
        else
            check_record(self, &frame, position);
        position += frame.span;
    }
    CHECK(position == segment->end, "frames end at %lu, the run at %lu", position, segment->end);
    CHECK(self->records - before == segment->records, "%lu records", segment->records);
    memset(dl_at(ring, segment->start), 0xDB, segment->length);
}

/* One look; false if there was nothing to do. */
static bool consume(struct consumer *self, uint64_t max_bytes, uint64_t max_records)
{
    struct dl_segment segment;
    dl_drain(self->ring, self->position, max_bytes, max_records, &segment);
    CHECK(segment.stop != DL_STOP_DAMAGED, "position %lu", self->position);
    if (segment.end != self->position) {
        check_segment(self, &segment);
        dl_release(self->ring, self->position, segment.end);
        self->position = segment.end;
        return true;
    }
    if (segment.stop == DL_STOP_LIMIT)
        return consume(self, segment.next, 1u << 20);
    if (segment.stop == DL_STOP_CLAIMED && atomic_load_explicit(&dead[segment.next], memory_order_acquire)) {
        /* False if it committed after the look at the word and before its death. */
        self->abandoned += dl_abandon(self->ring, self->position);
        return true;
    }
    return false;
}

/* ---- a ring --------------------------------------------------------------------------------------- */

static struct dl_ring make_ring(uint64_t capacity, uint64_t base)
{
    struct dl_ring ring;
    struct dl_constants constants = {.capacity = capacity, .base = base, .generation = 1, .salt = 42};
    void *memory = mmap(NULL, dl_ring_size(capacity), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                        0);
    CHECK(memory != MAP_FAILED, "no memory for a ring of %lu", capacity);
    dl_ring_format(memory, &constants);
    const char *problem = dl_ring_open(&ring, memory, dl_ring_size(capacity));
    CHECK(problem == NULL, "%s", problem);
    for (size_t i = 0; i < DL_SLOTS; i++)
        atomic_store(&dead[i], false);
    return ring;
}

static void drop_ring(struct dl_ring *ring) { munmap(ring->constants, dl_ring_size(ring->capacity)); }

static int append_one(struct dl_ring *ring, struct dl_claimant *claimant, uint64_t length, uint64_t *position)
{
    static const uint8_t bytes[1 << 16];
    struct dl_frame_header header = {.time = 1, .kind = DL_RECORD};
    uint64_t end;
    return dl_append(ring, claimant, &header, bytes, length, position, &end);
}

/* ---- many threads --------------------------------------------------------------------------------- */

static uint64_t rounds; /* of all cases; each has its own dice */

struct run {
    const char *what;
    uint64_t capacity, base;
    uint32_t producers, records, lives;
    bool shared;
};

static void run_threads(const struct run *run)
{
    static struct producer producers[PRODUCERS];
    struct dl_ring ring = make_ring(run->capacity, run->base);
    struct consumer consumer = {.ring = &ring, .position = run->base};
    alarm(LONGEST_WAIT);
    memset(producers, 0, sizeof producers);
    atomic_store(&finished, 0);
    for (uint32_t i = 0; i < run->producers; i++) {
        struct producer *self = &producers[i];
        *self = (struct producer){.ring = &ring,
                                  .index = i,
                                  .producers = run->producers,
                                  .records = run->records,
                                  .random = mix(run->base + i + rounds * PRODUCERS),
                                  .lives = run->lives};
        self->claimant = run->shared ? &producers[i / 2].own : &self->own;
        born(self, i);
    }
    for (uint32_t i = 0; i < run->producers; i++)
        CHECK(pthread_create(&producers[i].thread, NULL, produce, &producers[i]) == 0, "no thread");

    for (uint64_t round = 0;; round++) {
        bool all = atomic_load_explicit(&finished, memory_order_acquire) == run->producers;
        uint64_t dice = mix(round);
        if (consume(&consumer, 32 + dice % run->capacity, 1 + (dice >> 32) % 50))
            continue;
        if (all && dl_frontier(&ring, consumer.position) == consumer.position)
            break;
        uint32_t rung = atomic_load(&bell);
        dl_park(&ring);
        if (dl_may_sleep(&ring, consumer.position)) {
            for (int i = 0; i < 50 && atomic_load(&bell) == rung; i++) /* a bell may die with its ringer */
                sched_yield();
            dl_unpark(&ring);
        }
    }

    uint64_t committed = 0, open = 0, doubtful = 0, position;
    for (uint32_t i = 0; i < run->producers; i++) {
        pthread_join(producers[i].thread, NULL);
        committed += producers[i].committed;
        open += producers[i].open_deaths;
        doubtful += producers[i].doubtful_deaths;
    }
    CHECK(consumer.records == committed, "%lu records of %lu", consumer.records, committed);
    CHECK(open <= consumer.abandoned && consumer.abandoned <= open + doubtful,
          "%lu abandoned, %lu to %lu died", consumer.abandoned, open, open + doubtful);
    CHECK(run->lives == 0 || open > 0, "nobody died");
    CHECK(consumer.padding > 0, "the ring's end was never in the way");
    CHECK(dl_close(&ring, consumer.position), "position %lu", consumer.position);
    CHECK(append_one(&ring, &producers[0].own, 1, &position) == DL_ENDED, "after the close");
    drop_ring(&ring);
}

/* ---- one thread, every step ----------------------------------------------------------------------- */

static int points_left;
static const char *stopped_at;
static jmp_buf stopped;

static void stop_at_point(const char *label)
{
    stopped_at = label;
    if (points_left-- == 0)
        longjmp(stopped, 1);
}

#define BASE ((1ull << 32) - 128)

/* True if the append was over before the step. */
static bool append_until(struct dl_ring *ring, uint64_t length, int step)
{
    struct dl_claimant victim = {.slot = 7, .pid = 1007};
    uint64_t position;
    points_left = step;
    script = stop_at_point;
    if (setjmp(stopped) != 0) {
        script = NULL;
        return false;
    }
    CHECK(append_one(ring, &victim, length, &position) == DL_OK, "step %d", step);
    script = NULL;
    return true;
}

/* Reads all from BASE to behind `position`; the number of records, and of holes. */
static uint64_t read_all(struct dl_ring *ring, uint64_t position, uint32_t *holes)
{
    uint64_t records = 0, from = BASE;
    struct dl_segment segment;
    struct dl_frame frame;
    while (from <= position) {
        dl_drain(ring, from, 1 << 20, 100, &segment);
        if (segment.stop == DL_STOP_CLAIMED && segment.end == from) {
            CHECK(segment.next == 7, "position %lu: owner %u", from, segment.next);
            CHECK(dl_abandon(ring, from) && !dl_abandon(ring, from), "position %lu", from);
            ++*holes;
            continue;
        }
        CHECK(segment.end > from, "position %lu: stop %d", from, segment.stop);
        CHECK(dl_frame_check(dl_at(ring, from), segment.end - from, from, ring->seed, &frame)
                  == DL_FRAME_VALID,
              "position %lu", from);
        dl_release(ring, from, segment.end);
        records += segment.records;
        from = segment.end;
    }
    return records;
}

/* Killed after any number of steps of an append, a producer leaves nothing or a hole with its name on it,
 * and the next record is logged and read. */
static bool a_kill_at_any_step_leaves_no_riddle(void)
{
    const uint64_t lengths[] = {0, 10, 300, 1000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        bool complete = false;
        for (int step = 0; !complete; step++) {
            struct dl_ring ring = make_ring(4096, BASE);
            struct dl_claimant other = {.slot = 8, .pid = 1008};
            uint64_t position = 0;
            uint32_t holes = 0;
            ring.slots[7].pid = 1007;
            complete = append_until(&ring, lengths[i], step);
            CHECK(append_one(&ring, &other, 20, &position) == DL_OK, "step %d", step);
            uint64_t records = read_all(&ring, position, &holes);
            bool committed = complete || strcmp(stopped_at, "commit:E") == 0;
            CHECK(records == (committed ? 2 : 1) && holes <= (committed ? 0 : 1),
                  "step %d: %lu records, %u holes", step, records, holes);
            drop_ring(&ring);
        }
    }
    return true;
}

static struct dl_ring *sleeper_ring;
static uint64_t sleeper_laps;

/* While the producer stands between its look at the hint and its look at the word, the ring goes on for
 * any number of laps. */
static void sleep_for_laps(const char *label)
{
    if (strcmp(label, "claim:C") != 0)
        return;
    struct dl_ring *ring = sleeper_ring;
    script = NULL;
    uint64_t now = sleeper_laps * ring->capacity + 64;
    for (uint64_t i = 0; i < ring->granules; i++) {
        uint64_t position = sleeper_laps * ring->capacity + i * DL_GRANULE;
        if (position >= now)
            position -= ring->capacity;
        atomic_store(&ring->map[i], dl_word(dl_tag(position, ring->capacity), DL_COMMITTED, 1, 1));
    }
    atomic_store(&ring->control->released, now);
    atomic_store(&ring->control->hint, now);
}

static bool a_producer_that_slept_starts_over(void)
{
    const uint64_t half = 1ull << (DL_TAG_BITS - 1), whole = half * 2;
    const uint64_t laps[] = {1, 2, 3, 100, half - 1, half, half + 1, whole - DL_TAG_BEHIND - 1, whole - 2,
                             whole - 1, whole, whole + 1};
    for (size_t i = 0; i < sizeof laps / sizeof *laps; i++) {
        struct dl_ring ring = make_ring(4096, 0);
        struct dl_claimant claimant = {.slot = 7, .pid = 1007};
        uint64_t position = 0;
        sleeper_ring = &ring;
        sleeper_laps = laps[i];
        script = sleep_for_laps;
        int status = append_one(&ring, &claimant, 8, &position);
        script = NULL;
        CHECK(status == DL_OK && position == laps[i] * 4096 + 64, "after %lu laps: status %d, position %lu",
              laps[i], status, position);
        drop_ring(&ring);
    }
    return true;
}

static struct dl_ring *walked_ring;
static uint64_t walked;
static int stalled_at; /* a step */

static void count_walk(const char *label) { walked += strcmp(label, "claim:C") == 0; }

/* Who knows nothing but the hint walks from there to the frontier. */
static void check_walk(const char *when)
{
    struct dl_claimant newcomer = {.slot = 9, .pid = 1009};
    uint64_t position;
    walked = 0;
    script = count_walk;
    CHECK(append_one(walked_ring, &newcomer, 8, &position) == DL_OK, "step %d, %s", stalled_at, when);
    script = NULL;
    CHECK(walked <= DL_HINT_STRIDE / DL_GRANULE, "step %d, %s: over %lu words", stalled_at, when, walked);
}

/* While the producer stands there, another fills most of the ring. */
static void stall_at_point(const char *label)
{
    (void)label;
    if (points_left-- != 0)
        return;
    struct dl_claimant other = {.slot = 8, .pid = 1008};
    uint64_t position = 0;
    script = NULL;
    while (position < BASE + walked_ring->capacity / 4 * 3)
        CHECK(append_one(walked_ring, &other, 8, &position) == DL_OK, "position %lu", position);
    check_walk("while it stands");
}

/* Stopped at any step of an append, for however long, a producer neither leaves the hint behind nor takes it
 * back: the walks of others stay short. */
static bool a_stalled_producer_leaves_no_hint_behind(void)
{
    const uint64_t lengths[] = {100, 300}; /* fits before the ring's end just so; does not, and pads */
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        bool complete = false;
        for (stalled_at = 0; !complete; stalled_at++) {
            struct dl_ring ring = make_ring(1 << 16, BASE);
            struct dl_claimant victim = {.slot = 7, .pid = 1007};
            uint64_t position;
            walked_ring = &ring;
            points_left = stalled_at;
            script = stall_at_point;
            CHECK(append_one(&ring, &victim, lengths[i], &position) == DL_OK, "step %d", stalled_at);
            complete = script != NULL; /* there is no such step */
            script = NULL;
            check_walk("after it went on");
            drop_ring(&ring);
        }
    }
    return true;
}

static uint64_t total_logged(struct dl_ring *ring)
{
    return atomic_load(&ring->control->totals[atomic_load(&ring->control->retired_count) & 1][0]);
}

/* Killed at any step while it retires a slot, and again while its successor picks up, the writer counts the
 * slot exactly once. */
static bool a_slot_is_counted_once_however_often_the_writer_dies(void)
{
    volatile bool complete = false;
    for (volatile int first = 0; !complete; first++) {
        volatile bool resumed = false;
        for (volatile int second = 0; !resumed; second++) {
            struct dl_ring ring = make_ring(4096, 0);
            struct dl_slot *slots = ring.slots;
            for (uint32_t i = 0; i < 3; i++) {
                atomic_store(&slots[i].word, DL_SLOT_DETACHED);
                atomic_store(&slots[i].logged, 100u + i);
            }
            dl_retire(&ring, 0);
            points_left = first;
            script = stop_at_point;
            if (setjmp(stopped) == 0) {
                dl_retire(&ring, 1);
                complete = true;
            }
            points_left = second;
            if (setjmp(stopped) == 0) {
                dl_retire_resume(&ring);
                resumed = true;
            }
            script = NULL;
            dl_retire_resume(&ring);
            if ((uint32_t)atomic_load(&slots[1].word) != DL_SLOT_FREE)
                dl_retire(&ring, 1);
            CHECK(total_logged(&ring) == 201, "killed at step %d, then at %d", first, second);
            dl_retire(&ring, 2);
            CHECK(total_logged(&ring) == 303, "killed at step %d, then at %d, and one more", first, second);
            drop_ring(&ring);
        }
    }
    return true;
}

/* A producer rings for a writer that parks, each time: with one record at a time a lost bell is for good.
 * With the fence in the producer, and with the kernel's barrier in the writer. */
#define ROUNDS 20000u

static bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

static void *ring_for_each(void *argument)
{
    struct dl_ring *ring = argument;
    struct dl_claimant claimant = {.slot = 1, .pid = 1001, .light = atomic_load(&ring->control->barrier) != 0};
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t position;
        CHECK(append_one(ring, &claimant, 8, &position) == DL_OK, "round %u", i);
        if (dl_take_bell(ring))
            atomic_fetch_add(&bell, 1);
        while (LOAD(ring->control->released, acquire) <= position)
            sched_yield();
    }
    return NULL;
}

static bool no_bell_is_lost(bool barrier)
{
    struct dl_ring ring = make_ring(4096, 0);
    atomic_store(&ring.control->barrier, barrier);
    struct dl_segment segment;
    pthread_t thread;
    uint64_t from = 0;
    alarm(LONGEST_WAIT);
    CHECK(pthread_create(&thread, NULL, ring_for_each, &ring) == 0, "no thread");
    for (uint64_t records = 0; records < ROUNDS;) {
        uint32_t rung = atomic_load(&bell);
        dl_park(&ring);
        if (barrier)
            CHECK(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED), "no barrier");
        if (dl_may_sleep(&ring, from)) {
            while (atomic_load(&bell) == rung)
                sched_yield();
            dl_unpark(&ring);
        }
        dl_drain(&ring, from, 4096, 100, &segment);
        records += segment.records;
        dl_release(&ring, from, segment.end);
        from = segment.end;
    }
    pthread_join(thread, NULL);
    drop_ring(&ring);
    return true;
}

static bool no_bell_is_lost_with_fences(void) { return no_bell_is_lost(false); }
static bool no_bell_is_lost_with_the_writer_s_barrier(void)
{
    return !membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) || no_bell_is_lost(true);
}

/* ---- main ----------------------------------------------------------------------------------------- */

static uint64_t option(int count, char **arguments, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < count; i++)
        if (strcmp(arguments[i], name) == 0)
            return strtoull(arguments[i + 1], NULL, 0);
    return otherwise;
}

int main(int count, char **arguments)
{
    dl_crc32c_init();
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint32_t records = (uint32_t)option(count, arguments, "--records", 20000);
    time_t stop = time(NULL) + (time_t)option(count, arguments, "--seconds", 0);
    const struct run asked = {
        .what = "the case asked for",
        .capacity = option(count, arguments, "--capacity", 0),
        .base = option(count, arguments, "--base", 0),
        .producers = (uint32_t)option(count, arguments, "--producers", 4),
        .records = records,
        .lives = (uint32_t)option(count, arguments, "--lives", 0),
        .shared = option(count, arguments, "--shared", 0) != 0,
    };
    if (asked.capacity != 0) {
        current = asked.what;
        CHECK(asked.producers <= PRODUCERS, "at most %d producers", PRODUCERS);
        run_threads(&asked);
        printf("1 passed, 0 failed\n");
        return 0;
    }

    static const struct {
        const char *what;
        bool (*run)(void);
    } steps[] = {
        {"a kill at any step leaves no riddle", a_kill_at_any_step_leaves_no_riddle},
        {"a producer that slept starts over", a_producer_that_slept_starts_over},
        {"a stalled producer leaves no hint behind", a_stalled_producer_leaves_no_hint_behind},
        {"a slot is counted once however often the writer dies",
         a_slot_is_counted_once_however_often_the_writer_dies},
        {"no bell is lost with fences", no_bell_is_lost_with_fences},
        {"no bell is lost with the writer's barrier", no_bell_is_lost_with_the_writer_s_barrier},
    };
    const uint64_t wrap = (1ull << DL_TAG_BITS) - 3;
    const struct run runs[] = {
        {"across 2^32, the smallest ring", 4096, (1ull << 32) - 128, 4, records, 0, false},
        {"across 2^63", 4096, (1ull << 63) - 4096 - 64, 3, records, 0, false},
        {"while tags wrap", 4096, 4096 * wrap, 4, records, 0, false},
        {"a larger ring while tags wrap", 65536, 65536 * wrap + 32, 4, records, 0, false},
        {"two threads to a claimant", 4096, 4096 * wrap + 64, 4, records, 0, true},
        {"producers that die", 4096, (1ull << 32) - 128, 4, records, 400, false},
        {"producers that die young while tags wrap", 4096, 4096 * wrap, 4, records / 4, 60, false},
    };
    int passed = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        current = steps[i].what;
        passed += steps[i].run();
    }
    for (rounds = 0; rounds == 0 || time(NULL) < stop; rounds++)
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            current = runs[i].what;
            run_threads(&runs[i]);
            passed++;
        }
    printf("%d passed, 0 failed\n", passed);
    return 0;
}
