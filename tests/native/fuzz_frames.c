/*
 * Owns the proof that no bytes, in a page or in a ring, make frames.c or ring.c touch memory outside what
 * they were given, loop for ever, or answer what cannot be; and that a search after damage finds exactly
 * what a simple one finds, at a bounded cost.
 * Must not know more than frames.h and ring.h promise.
 *
 * Inputs are made and mutated here, with checksums put right, which no blind change would pass; libFuzzer
 * (clang -fsanitize=fuzzer -DDL_LIBFUZZER, `make fuzz`) keeps those that reach new code, and main() is a
 * driver for compilers that have none.  The same seed gives the same inputs.
 *
 *   fuzz_frames [--seconds N] [--runs N] [--seed S]
 *   fuzz_frames FILE...                          these inputs, as libFuzzer wrote them: see corpus/
 */
#define _DEFAULT_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "crc32c.h"
#include "frames.h"
#include "ring.h"

#define SALT 42
#define POSITION ((1ull << 32) - 4096) /* of the first frame in every input */
#define CAPACITY 4096u
#define LONGEST_INPUT (64u << 10)

/* ---- frames --------------------------------------------------------------------------------------- */

/* The definition: the first granule at which a valid frame stands. */
static uint64_t find_simply(const uint8_t *at, uint64_t room, uint32_t seed)
{
    struct dl_frame frame;
    for (uint64_t offset = 0; offset < room; offset += DL_GRANULE)
        if (dl_frame_check(at + offset, room - offset, POSITION + offset, seed, &frame) == DL_FRAME_VALID)
            return offset;
    return room;
}

static void look_at_group(const uint8_t *bytes, uint64_t length)
{
    struct dl_frame inner;
    uint64_t offset = DL_GROUP_HEADER, before = offset, count = 0;
    while (dl_group_next(bytes, length, &offset, &inner)) {
        CHECK(inner.bytes >= bytes && inner.bytes + inner.header.length <= bytes + length);
        CHECK(offset > before);
        before = offset;
        count++;
    }
    CHECK(dl_group_count(bytes, length) <= count);
}

static void look_at_frames(const uint8_t *bytes, uint64_t length)
{
    const uint32_t seed = dl_frame_seed(SALT);
    struct dl_frame frame;
    struct dl_census census;
    uint64_t frames = 0, records = 0, offset = 0, damage = 0;
    CHECK(dl_frame_find(bytes, length, POSITION, seed) == find_simply(bytes, length, seed));
    while (offset < length) {
        const uint8_t *at = bytes + offset;
        uint64_t room = length - offset, position = POSITION + offset;
        enum dl_frame_status status = dl_frame_check(at, room, position, seed, &frame);
        if (status == DL_FRAME_VALID) {
            CHECK(frame.span <= room && frame.span % DL_GRANULE == 0 && frame.span >= DL_GRANULE);
            CHECK(frame.header.length <= frame.span - DL_FRAME_HEADER);
            if (frame.header.kind == DL_GROUP) {
                CHECK(dl_frame_records(&frame) == dl_group_count(frame.bytes, frame.header.length));
                look_at_group(frame.bytes, frame.header.length);
            }
            frames++;
            records += dl_frame_records(&frame);
            offset += frame.span;
            continue;
        }
        CHECK(status == DL_FRAME_BAD || dl_all_zero(at, room < DL_FRAME_HEADER ? room : DL_FRAME_HEADER));
        uint64_t distance = dl_frame_find(at, room, position, seed);
        CHECK(distance > 0 && distance <= room && (distance == room || distance % DL_GRANULE == 0));
        damage += distance < room ? distance : 0;
        offset += distance;
    }
    dl_census(bytes, length, POSITION, seed, 0xffffffffu, &census);
    CHECK(census.frames == frames && census.records == records && census.corrupt_bytes == damage);
    CHECK(census.end <= length && census.corrupt_ranges <= length / DL_GRANULE);
    look_at_group(bytes, length);
}

/* ---- ring ----------------------------------------------------------------------------------------- */

static int append(struct dl_ring *ring, struct dl_claimant *claimant, uint64_t length, uint32_t group,
                  uint64_t *end)
{
    static const uint8_t bytes[CAPACITY];
    struct dl_frame_header header = {.time = 1, .kind = DL_RECORD};
    struct dl_item items[8];
    uint64_t position;
    for (uint32_t i = 0; i < group; i++)
        items[i] = (struct dl_item){bytes, length / (i + 1)};
    return group == 0 ? dl_append(ring, claimant, &header, bytes, length, &position, end)
                      : dl_append_group(ring, claimant, &header, items, group, &position, end);
}

/* Everybody's calls on a ring somebody scribbled over.  What they answer may be wrong; that they answer,
 * and inside the ring, may not; nor may a hint alone lead anybody into bytes not released. */
static void use_ring(struct dl_ring *ring, uint64_t from, bool words_are_true)
{
    struct dl_claimant claimant = {.slot = 3, .pid = 1003};
    struct dl_segment segment;
    uint64_t end;
    for (int round = 0; round < 40; round++) {
        dl_drain(ring, from, (uint64_t)round % 3 == 0 ? 64 : CAPACITY, 10, &segment);
        CHECK(segment.start == from && segment.end - from <= ring->capacity);
        CHECK(segment.length <= segment.end - from);
        CHECK(dl_index(ring, from) + segment.length <= ring->capacity);
        bool damaged = segment.stop == DL_STOP_DAMAGED && segment.end == from;
        CHECK(damaged || from % DL_GRANULE == 0);
        if (segment.stop == DL_STOP_CLAIMED && segment.end == from) {
            CHECK(segment.next < DL_SLOTS);
            CHECK(dl_abandon(ring, from));
        }
        if (segment.end != from) {
            dl_release(ring, from, segment.end);
            from = segment.end;
        }
        int status = append(ring, &claimant, (uint64_t)round * 29 % 1100, (uint32_t)round % 5, &end);
        CHECK(status <= DL_OK && status >= DL_DAMAGED);
        if (status == DL_OK) {
            CHECK(end % DL_GRANULE == 0);
            CHECK(!words_are_true || end - atomic_load(&ring->control->released) <= ring->capacity);
        }
        if (damaged)
            break;
        CHECK(dl_frontier(ring, from) - from <= ring->capacity);
        dl_is_closed(ring, atomic_load(&ring->control->released));
        dl_park(ring);
        if (dl_take_bell(ring) || dl_may_sleep(ring, from))
            dl_unpark(ring);
    }
    dl_abandon(ring, from);
    dl_close(ring, from);
    dl_retire_resume(ring);
    dl_retire(ring, 5);
}

/* Input: numbers of 2 and 8 bytes, where to scribble and what. */
static void scribble_over_ring(const uint8_t *input, uint64_t length)
{
    static uint8_t *memory;
    struct dl_ring ring;
    struct dl_constants constants = {.capacity = CAPACITY, .base = POSITION, .salt = SALT};
    uint64_t size = dl_ring_size(CAPACITY), end;
    bool words_are_true = true;
    if (memory == NULL)
        memory = malloc(size);
    memset(memory, 0, size);
    dl_ring_format(memory, &constants);
    CHECK(dl_ring_open(&ring, memory, size) == NULL);
    struct dl_claimant claimant = {.slot = 1, .pid = 1001};
    for (uint64_t i = 0; i < 10; i++)
        CHECK(append(&ring, &claimant, i * 40, (uint32_t)(i % 3), &end) == DL_OK);
    for (; length >= 10; input += 10, length -= 10) {
        uint16_t where;
        uint64_t what;
        memcpy(&where, input, 2);
        memcpy(&what, input + 2, 8);
        void *word;
        const uint64_t choice = where % 6u, place = where / 6u, granule = place % ring.granules;
        switch (choice) {
        case 0: /* any value anywhere in the control block */
            word = (uint8_t *)ring.control + place % (DL_OS_PAGE / 8u) * 8u;
            break;
        case 3: /* in the slots of those who append here */
            word = (uint8_t *)ring.slots + place % (5u * sizeof(struct dl_slot) / 8u) * 8u;
            break;
        case 4: /* in the data */
            word = ring.data + place % (CAPACITY / 8u) * 8u;
            break;
        case 1: /* any value in the claim map */
            word = memory + DL_MAP_OFFSET + granule * 8u;
            break;
        case 2: /* a word of about this lap */
            word = memory + DL_MAP_OFFSET + granule * 8u;
            what = dl_word(dl_tag(POSITION, CAPACITY) + (uint32_t)(what % 3) - 1u, (uint32_t)(what >> 8) & 7u,
                           (uint32_t)(what >> 16) & DL_OWNER_MASK, (uint32_t)(what >> 32) & 0xffu);
            break;
        default: /* a position of about now; or a slot of those there may be */
            word = (void *)(place % 3u == 0   ? &ring.control->hint
                            : place % 3u == 1 ? &ring.control->released
                                              : &ring.control->retiring);
            if (place % 3u != 2)
                what = POSITION + what % (3u * CAPACITY) - CAPACITY;
        }
        words_are_true &= choice == 3 || choice == 4 || word == (void *)&ring.control->hint
                          || word == (void *)&ring.control->retiring;
        memcpy(word, &what, 8);
    }
    look_at_frames(ring.data, CAPACITY); /* what a salvage does */
    use_ring(&ring, length == 9 ? POSITION + input[0] : POSITION, words_are_true);
}

/* Input: the constants, as they may stand in an object somebody planted. */
static void open_any_ring(const uint8_t *input, uint64_t length)
{
    static struct dl_constants constants;
    struct dl_ring ring;
    memset(&constants, 0, sizeof constants);
    constants = (struct dl_constants){.magic = DL_RING_MAGIC, .version = DL_RING_VERSION,
                                      .byte_order = DL_BYTE_ORDER, .granule = DL_GRANULE, .slots = DL_SLOTS};
    memcpy(&constants, input, length < sizeof constants ? length : sizeof constants);
    for (int honest = 0; honest < 3; honest++) {
        if (honest == 1)
            constants.crc = dl_crc32c(&constants, offsetof(struct dl_constants, crc));
        if (honest == 2) {
            constants.size = dl_ring_size(constants.capacity);
            constants.record_limit = dl_record_limit(constants.capacity);
            constants.crc = dl_crc32c(&constants, offsetof(struct dl_constants, crc));
        }
        const char *problem = dl_ring_open(&ring, &constants, constants.size);
        if (problem != NULL)
            continue;
        CHECK(ring.capacity >= DL_CAPACITY_MIN && ring.capacity <= DL_CAPACITY_MAX);
        CHECK(ring.granules == ring.capacity / DL_GRANULE && ring.record_limit < ring.capacity / 4);
        CHECK(ring.data + ring.capacity == (uint8_t *)&constants + dl_labels_offset(ring.capacity));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    /* Exactly as long as it is, so that a byte too far is noticed. */
    uint64_t length = size - 1;
    uint8_t *bytes = malloc(length == 0 ? 1 : length);
    memcpy(bytes, data + 1, length);
    switch (data[0] % 4) {
    case 0:
    case 1:
        look_at_frames(bytes, length);
        break;
    case 2:
        scribble_over_ring(bytes, length);
        break;
    default:
        open_any_ring(bytes, length);
    }
    free(bytes);
    return 0;
}

/* ---- corpus and mutations ------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t dice(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    uint64_t value = random_state;
    return (value ^ value >> 29) * 0xBF58476D1CE4E5B9u >> 16;
}

struct input {
    size_t size;
    uint8_t bytes[LONGEST_INPUT];
};

/* Puts a valid frame of that kind and length of bytes; where they begin. */
static uint8_t *put_frame(struct input *input, uint16_t kind, uint32_t length)
{
    uint64_t span = dl_frame_granules(length) * (uint64_t)DL_GRANULE, offset = input->size - 1;
    if (input->size + span > LONGEST_INPUT)
        return NULL;
    uint8_t *at = input->bytes + input->size;
    struct dl_frame_header header = {.length = length, .time = dice(), .pid = 7, .kind = kind, .tag = 20};
    for (uint64_t i = DL_FRAME_HEADER; i < span; i++)
        at[i] = (uint8_t)(i * 7);
    if (kind == DL_GROUP) {
        uint64_t to = DL_FRAME_HEADER + DL_GROUP_HEADER;
        uint32_t count = 0;
        for (; to + 64 <= DL_FRAME_HEADER + length; to += 64, count++)
            memcpy(at + to, &(struct dl_frame_header){.length = 33 + count % 8, .kind = DL_RECORD},
                   DL_FRAME_HEADER);
        memcpy(at + DL_FRAME_HEADER, &(uint64_t){count}, 8);
    }
    header.crc = dl_frame_crc(dl_frame_seed(SALT), POSITION + offset, &header, at + DL_FRAME_HEADER);
    memcpy(at, &header, DL_FRAME_HEADER);
    input->size += span;
    return at + DL_FRAME_HEADER;
}

static void make_input(struct input *input)
{
    input->size = 1;
    input->bytes[0] = (uint8_t)dice();
    switch (input->bytes[0] % 4) {
    case 2:
    case 3:
        for (size_t size = 10 + dice() % 400; input->size < size; input->size++)
            input->bytes[input->size] = (uint8_t)dice();
        if (input->bytes[0] % 4 == 3) {
            struct dl_constants constants = {.magic = DL_RING_MAGIC, .version = DL_RING_VERSION,
                                             .byte_order = DL_BYTE_ORDER,
                                             .capacity = 1ull << (dice() % 64), .granule = DL_GRANULE,
                                             .slots = DL_SLOTS, .base = dice() % 4 * 16};
            memcpy(input->bytes + 1, &constants, 256);
        }
        return;
    default:
        for (uint64_t frames = 1 + dice() % 30; frames > 0; frames--) {
            uint64_t die = dice();
            uint16_t kind = (uint16_t)(1 + die % DL_GROUP);
            uint32_t length = (uint32_t)(die >> 8) % (die % 64 < 4 ? 30000 : 200);
            put_frame(input, kind, length);
        }
    }
}

static const uint64_t interesting[] = {0, 1, 8, 24, 31, 32, 33, 4096, 8192, 8193, 65535, 1u << 20, 1u << 25,
                                       (1u << 25) - 56, 0x7fffffff, 0xffffffff, 1ull << 63, ~0ull};

static void mutate(struct input *input)
{
    for (uint64_t times = 1 + dice() % 6; times > 0 && input->size > 1; times--) {
        size_t room = input->size - 1, at = 1 + dice() % room;
        size_t granule = 1 + dice() % (room / DL_GRANULE + 1) * DL_GRANULE;
        switch (dice() % 8) {
        case 0:
            input->bytes[at] ^= (uint8_t)(1u << (dice() % 8));
            break;
        case 1:
            input->bytes[at] = (uint8_t)dice();
            break;
        case 2: /* a number where a length, a kind or a word may stand */
            if (granule + 24 <= input->size) {
                uint64_t value = interesting[dice() % (sizeof interesting / sizeof *interesting)];
                memcpy(input->bytes + granule + dice() % 3 * 8, &value, 4u << (dice() % 2));
            }
            break;
        case 3: /* cut */
            input->size = 1 + dice() % room;
            break;
        case 4: { /* copy a piece over another */
            size_t from = 1 + dice() % room, length = dice() % 200;
            if (from + length <= input->size && at + length <= input->size)
                memmove(input->bytes + at, input->bytes + from, length);
            break;
        }
        case 5: /* wipe */
            memset(input->bytes + at, 0, (input->size - at) % (1 + dice() % 4096));
            break;
        case 6: { /* plant headers that claim all there is */
            for (size_t to = granule; to + DL_GRANULE <= input->size && dice() % 16 != 0; to += DL_GRANULE)
                memcpy(input->bytes + to,
                       &(struct dl_frame_header){.length = (uint32_t)(input->size - to - DL_FRAME_HEADER
                                                                      - dice() % DL_GRANULE),
                                                 .crc = 5, .kind = (uint16_t)(1 + dice() % DL_GROUP)},
                       DL_FRAME_HEADER);
            break;
        }
        default: { /* a lie with a valid checksum */
            struct dl_frame_header header;
            if (granule + DL_GRANULE > input->size)
                break;
            memcpy(&header, input->bytes + granule, DL_FRAME_HEADER);
            if (header.length > input->size - granule - DL_FRAME_HEADER)
                break;
            header.crc = dl_frame_crc(dl_frame_seed(SALT), POSITION + granule - 1, &header,
                                      input->bytes + granule + DL_FRAME_HEADER);
            memcpy(input->bytes + granule, &header, DL_FRAME_HEADER);
        }
        }
    }
}

#ifdef DL_LIBFUZZER

int LLVMFuzzerInitialize(int *count, char ***arguments);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    dl_crc32c_init();
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    static struct input input;
    random_state = seed;
    uint64_t die = dice() % 32;
    if (die >= 16)
        return LLVMFuzzerMutate(data, size, most);
    if (size < 2 || size > LONGEST_INPUT || die == 0)
        make_input(&input);
    else {
        input.size = size;
        memcpy(input.bytes, data, size);
        mutate(&input);
    }
    size = input.size < most ? input.size : most;
    memcpy(data, input.bytes, size);
    return size;
}

#else

/* ---- the cost of a search ------------------------------------------------------------------------- */

static uint32_t (*real_update)(uint32_t, const void *, size_t);
static uint64_t summed; /* bytes */

static uint32_t counting_update(uint32_t state, const void *bytes, size_t length)
{
    summed += length;
    return real_update(state, bytes, length);
}

/* Headers that claim all the rest, planted in every granule before one valid frame: it is found, and the
 * bytes summed grow with the room, not with its square. */
static void a_search_among_planted_headers_costs_no_square(void)
{
    const uint64_t room = 2u << 20, last = room - 65536;
    const uint32_t seed = dl_frame_seed(SALT);
    uint8_t *bytes = calloc(room, 1);
    CHECK(bytes != NULL);
    for (uint64_t at = 0; at < last; at += DL_GRANULE) {
        struct dl_frame_header planted
            = {.length = (uint32_t)(room - at - DL_FRAME_HEADER), .crc = 5, .kind = DL_RECORD};
        memcpy(bytes + at, &planted, DL_FRAME_HEADER);
    }
    struct dl_frame_header header = {.length = 60000, .time = 1, .kind = DL_RECORD};
    header.crc = dl_frame_crc(seed, POSITION + last, &header, bytes + last + DL_FRAME_HEADER);
    memcpy(bytes + last, &header, DL_FRAME_HEADER);

    real_update = dl_crc32c_chosen_update;
    dl_crc32c_chosen_update = counting_update;
    summed = 0;
    CHECK(dl_frame_find(bytes, room, POSITION, seed) == last);
    dl_crc32c_chosen_update = real_update;
    CHECK(summed < room / DL_GRANULE * 9000);
    free(bytes);
}

/* Candidates that reach as far as any may, then a nearer one: all marks between are needed, and go round. */
static void a_search_goes_on_behind_what_a_frame_can_claim(void)
{
    const uint64_t room = DL_FRAME_LONGEST + (8u << 20), last = (7u << 20) + 32;
    const uint32_t seed = dl_frame_seed(SALT);
    uint8_t *bytes = calloc(room, 1);
    CHECK(bytes != NULL);
    for (uint64_t at = 0; at < room; at += 65536) {
        uint64_t most = DL_FRAME_LONGEST - DL_FRAME_HEADER, rest = room - at - DL_FRAME_HEADER;
        struct dl_frame_header planted
            = {.length = (uint32_t)(most < rest ? most : rest), .crc = 5, .kind = DL_RECORD};
        memcpy(bytes + at, &planted, DL_FRAME_HEADER);
    }
    struct dl_frame_header header = {.length = 20000, .time = 1, .kind = DL_RECORD};
    header.crc = dl_frame_crc(seed, POSITION + last, &header, bytes + last + DL_FRAME_HEADER);
    memcpy(bytes + last, &header, DL_FRAME_HEADER);
    CHECK(dl_frame_find(bytes, room, POSITION, seed) == last);
    free(bytes);
}

static uint64_t option(int count, char **arguments, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < count; i++)
        if (strcmp(arguments[i], name) == 0)
            return strtoull(arguments[i + 1], NULL, 0);
    return otherwise;
}

static int run_files(int count, char **paths)
{
    static uint8_t bytes[1 << 20];
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        if (file == NULL) {
            perror(paths[i]);
            return 2;
        }
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        alarm(20);
        LLVMFuzzerTestOneInput(bytes, size);
    }
    printf("%d passed, 0 failed\n", count);
    return 0;
}

int main(int count, char **arguments)
{
    static struct input input;
    dl_crc32c_init();
    if (count > 1 && strncmp(arguments[1], "--", 2) != 0)
        return run_files(count - 1, arguments + 1);
    uint64_t seconds = option(count, arguments, "--seconds", 0), seed = option(count, arguments, "--seed", 1);
    uint64_t runs = option(count, arguments, "--runs", seconds == 0 ? 10000 : ~0ull), passed = 0;
    time_t stop = time(NULL) + (time_t)seconds;
    a_search_among_planted_headers_costs_no_square();
    a_search_goes_on_behind_what_a_frame_can_claim();
    for (; passed < runs && (seconds == 0 || time(NULL) < stop); passed++) {
        random_state = seed * 1000003u + passed; /* each run by itself: --seed S --runs N ends with the one */
        dice();
        make_input(&input);
        if (passed % 8 != 0)
            mutate(&input);
        alarm(20); /* longer is a loop without end */
        LLVMFuzzerTestOneInput(input.bytes, input.size);
    }
    printf("%llu passed, 0 failed\n", (unsigned long long)passed);
    return 0;
}
#endif
