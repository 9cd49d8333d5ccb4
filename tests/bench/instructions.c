/* What callgrind counts: each function below does one thing COUNT times, in a ring of its own, and nothing
 * else; instructions.py divides.  Takes the core in, so that it is compiled with the flags named there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.c"
#include "frames.c"
#include "ring.c"

#define COUNT 1000u /* instructions.py knows it, too */
#define GROUP 50u /* divides COUNT */
#define CAPACITY (1u << 20)

static struct dl_ring ring;
static struct dl_claimant claimant = {.slot = 1, .pid = 42};
static const struct dl_frame_header header = {.time = 1, .kind = DL_RECORD};
static uint8_t record[8192];
static struct dl_item items[GROUP];

__attribute__((noinline)) static void append(uint64_t length)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t position, end;
        if (dl_append(&ring, &claimant, &header, record, length, &position, &end) != DL_OK)
            abort();
        if (dl_take_bell(&ring))
            abort();
    }
}

__attribute__((noinline)) void measured_append(void) { append(100); }
__attribute__((noinline)) void measured_append_empty(void) { append(0); }

__attribute__((noinline)) void measured_append_long(void)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t position, end;
        if (dl_append(&ring, &claimant, &header, record, sizeof record, &position, &end) != DL_OK)
            abort();
        dl_release(&ring, LOAD(ring.control->released, relaxed), end);
    }
}

__attribute__((noinline)) void measured_append_group(void)
{
    for (uint32_t i = 0; i < COUNT / GROUP; i++) {
        uint64_t position, end;
        if (dl_append_group(&ring, &claimant, &header, items, GROUP, &position, &end) != DL_OK)
            abort();
    }
}

/* In segments as the writer takes them: as much as there is. */
__attribute__((noinline)) void measured_drain(void)
{
    struct dl_segment segment;
    uint64_t from = LOAD(ring.control->released, relaxed), records = 0;
    do {
        dl_drain(&ring, from, UINT64_MAX, UINT64_MAX, &segment);
        records += segment.records;
        dl_release(&ring, from, segment.end);
        from = segment.end;
    } while (segment.stop == DL_STOP_WRAP);
    if (records != COUNT)
        abort();
}

__attribute__((noinline)) void measured_read(void)
{
    struct dl_frame frame;
    uint64_t at = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        if (dl_frame_check(ring.data + at, CAPACITY - at, at, ring.seed, &frame) != DL_FRAME_VALID)
            abort();
        at += frame.span;
    }
}

/* As recovery and `verify` walk a page. */
__attribute__((noinline)) void measured_census(void)
{
    struct dl_census census;
    dl_census(ring.data, COUNT * 128u, 0, ring.seed, 0xffffffffu, &census);
    if (census.records != COUNT)
        abort();
}

int main(int argc, char **argv)
{
    void *memory = aligned_alloc(DL_OS_PAGE, dl_ring_size(CAPACITY));
    memset(memory, 0, dl_ring_size(CAPACITY));
    dl_crc32c_init();
    dl_ring_format(memory, &(struct dl_constants){.capacity = CAPACITY, .salt = 7, .name = "instructions"});
    if (dl_ring_open(&ring, memory, dl_ring_size(CAPACITY)) != NULL)
        return 2;
    memset(record, 'x', sizeof record);
    for (uint32_t i = 0; i < GROUP; i++)
        items[i] = (struct dl_item){record, 100};
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "core") == 0) {
        puts(dl_crc32c_name());
    } else if (strcmp(what, "append") == 0) {
        measured_append();
    } else if (strcmp(what, "append_empty") == 0) {
        measured_append_empty();
    } else if (strcmp(what, "append_long") == 0) {
        measured_append_long();
    } else if (strcmp(what, "append_group") == 0) {
        measured_append_group();
    } else {
        append(100);
        if (strcmp(what, "drain") == 0)
            measured_drain();
        else if (strcmp(what, "read") == 0)
            measured_read();
        else if (strcmp(what, "census") == 0)
            measured_census();
        else
            return 2;
    }
    free(memory);
    return 0;
}
