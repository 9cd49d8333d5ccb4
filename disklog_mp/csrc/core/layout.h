/* The bytes, in shared memory and on disk.  Everything here is little-endian; every offset, length and
 * bit of the ring, the frame and the page header is described in this file once, and the asserts below
 * hold the tables to the structs.  It knows no algorithm: ring.h argues the order of accesses, frames.h
 * says what makes a frame valid, _pages/format.py builds page headers with literal offsets a test
 * compares with these.
 *
 * Position: a 64-bit count of bytes since the log began; never wraps, never repeats, always a multiple
 * of the granule.  index = position mod capacity is the place in the ring's data, and
 * file offset = data_offset + position - first_position the place in a page file.
 *
 * THE RING, one shared-memory object
 *
 *   offset    length             part              written by
 *        0      4096             constants         the creator, before the name exists
 *     4096      4096             control           see struct dl_control
 *     8192    262144             producer table    4,096 slots of 64 bytes: their owner, and the writer
 *   270336    capacity / 4       claim map         one word per granule: producers claim, writer abandons
 *   data_offset  capacity        data              the claimant until commit
 *   behind it    294912          labels            see struct dl_label: the slots' owners, and the writer
 *
 * A claim word, 64 bits, all of it changed in one atomic step:
 *
 *   bits 36-63  tag      (position / capacity + 1) mod 2^28: the lap; compare as signed differences
 *   bits 33-35  state    see enum dl_state
 *   bits 20-32  owner    the claimant's slot
 *   bits  0-19  length   in granules, 1 and up
 *
 * A FRAME, 24 bytes of header, the record's bytes, zero to 31 bytes of padding to the granule; the same
 * bytes in the ring and in a page file:
 *
 *   offset length field
 *        0      4  length     of the bytes that follow the header
 *        4      4  crc        CRC-32C, see dl_frame_crc in frames.h: bound to the position and the salt
 *        8      8  time       ns since the epoch, CLOCK_REALTIME of the producer; 0 in padding, abandoned
 *       16      4  pid        of the producer, in its own pid namespace; abandoned: of the dead one
 *       20      2  kind       bits 0-3 see enum dl_kind; 0 is never valid, so untouched bytes never parse;
 *                             bits 4-15 the index of the producer's label, 0: none; see LABELS
 *       22      2  tag        the user's
 *
 * A group (log_many) is one frame whose bytes are: count (4), zero (4), then count inner frames, each a
 * header of the same form (kind RECORD, crc 0: it is the group's crc that covers it) and its bytes,
 * padded to 8.  An inner record's position is the group's position plus the inner header's distance from
 * the group's header.
 *
 * LABELS.  In containers that share a log every producer may be pid 1, so a producer can have a label, a
 * text of 1 to 64 bytes.  A frame has no byte to spare, and a text in each frame would be longer than most
 * records.  But twelve bits of `kind` are free.  They hold an index into a table in the log's directory,
 * disklog.labels, where each line says which label an index stands for.  The checksum covers them.
 *   A producer writes the label it wants beside its slot, before the slot says ATTACHED.  The writer looks up
 * the index, or appends a line to the table and waits until it is on disk.  Only then does it store the
 * index beside the slot.  So an index that stands in a frame stands in the table, at any crash.  Asking
 * twice gives the same index: the next writer goes on where the last one was killed, and nothing has to be
 * undone.  A producer waits a moment for the answer when it attaches.  Until it has one, its records say 0.
 * The ring carries the question, not a file or a socket, because a producer in a container may reach nothing
 * else of the log.
 *   Other places were considered.  In `pid` it would hide which process of a container it was.  `tag` is the
 * user's.  Slots are used again, so their numbers say nothing later.  A record that names the producer is
 * not seen by a reader that begins behind it, and retention removes it.
 *
 * A PAGE FILE: a header of 4,096 bytes, the page head (if the user asked for one), and from data_offset
 * frames without a gap.  See struct dl_page_header.
 *
 * AN EXAMPLE.  Three records ("one" with tag 20, an empty one, forty times "x") and a group of two ("four",
 * "fives"), logged 1 ns apart by process 4711.  The log's salt is 7.  They stand in its first page, position
 * 0 at data_offset 4096.  Bytes are hexadecimal; 78*40 is forty times 78.
 *
 *   offset length  bytes             meaning
 *    4096      4  03000000          the first record: length 3
 *    4100      4  e2d83ae2          crc
 *    4104      8  00a06f4cabeb7b18  time
 *    4112      4  67120000          pid 4711
 *    4116      2  0100              kind
 *    4118      2  1400              tag
 *    4120      3  6f6e65            "one"
 *    4123      5  0000000000        padding to the granule
 *    4128      4  00000000          the second, empty: length 0
 *    4132      4  db32fd07          crc
 *    4136      8  01a06f4cabeb7b18  time
 *    4144      4  67120000          pid 4711
 *    4148      2  0100              kind
 *    4150      2  0000              tag
 *    4152      8  0000000000000000  padding to the granule
 *    4160      4  28000000          the third: length 40
 *    4164      4  84eebef8          crc
 *    4168      8  02a06f4cabeb7b18  time
 *    4176      4  67120000          pid 4711
 *    4180      2  0100              kind
 *    4182      2  0000              tag
 *    4184     40  78*40             "xxx...": fills the granule
 *    4224      4  48000000          a group: length 72
 *    4228      4  817e858a          crc
 *    4232      8  03a06f4cabeb7b18  time
 *    4240      4  67120000          pid 4711
 *    4244      2  0500              kind
 *    4246      2  0000              tag
 *    4248      4  02000000          count 2
 *    4252      4  00000000          zero
 *    4256      4  04000000          its first record: length 4
 *    4260      4  00000000          crc: the group's covers it
 *    4264      8  03a06f4cabeb7b18  time
 *    4272      4  67120000          pid 4711
 *    4276      2  0100              kind
 *    4278      2  0000              tag
 *    4280      4  666f7572          "four"
 *    4284      4  00000000          padding to 8
 *    4288      4  05000000          its second record: length 5
 *    4292      4  00000000          crc: the group's covers it
 *    4296      8  03a06f4cabeb7b18  time
 *    4304      4  67120000          pid 4711
 *    4308      2  0100              kind
 *    4310      2  0000              tag
 *    4312      5  6669766573        "fives"
 *    4317      3  000000            padding to 8, and to the granule
 */
#ifndef DL_LAYOUT_H
#define DL_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define DL_RING_VERSION 2u /* 1: no labels behind the data */
#define DL_PAGE_VERSION 1u
#define DL_PAGE_LABELLED 2u /* may hold frames with a label, which readers of version 1 call damaged */
#define DL_RING_MAGIC 0x474e49524b534944ull /* "DISKRING" */
#define DL_PAGE_MAGIC 0x0a0d454741504c44ull /* "DLPAGE\r\n": a transfer that mangles line ends shows */
#define DL_BYTE_ORDER 0x01020304u

#define DL_GRANULE 32u
#define DL_SLOTS 4096u
#define DL_LINE 128u /* two cache lines: the prefetcher fetches pairs */
#define DL_OS_PAGE 4096u

#define DL_CONTROL_OFFSET 4096u
#define DL_SLOTS_OFFSET 8192u
#define DL_MAP_OFFSET (DL_SLOTS_OFFSET + DL_SLOTS * 64u)
#define DL_CAPACITY_MIN 4096ull
#define DL_CAPACITY_MAX (1ull << 40)

/* Bytes of the ring object on which the kernel's locks stand: byte i for slot i, then the writer's. */
#define DL_WRITER_LOCK DL_SLOTS

enum dl_kind {
    DL_RECORD = 1,
    DL_PADDING_FRAME = 2, /* length says how far; only the header means anything */
    DL_ABANDONED_FRAME = 3, /* a dead producer's claim; only the header means anything */
    DL_GAP = 4, /* a record that says how many others were dropped */
    DL_GROUP = 5,
};
#define DL_KIND_MASK 0xfu
#define DL_LABEL_SHIFT 4u
#define DL_LABEL_MAX 0xfffu

enum dl_state {
    DL_CLAIMED = 1,
    DL_COMMITTED = 2,
    DL_ABANDONED = 3,
    DL_PADDING = 4,
    DL_CLOSED = 5, /* the end of this ring; its successor of the same name goes on from here */
    DL_COMMITTED_GROUP = 6, /* committed, and the writer reads the count of records from its bytes */
};

#define DL_TAG_BITS 28u
#define DL_TAG_MASK ((1u << DL_TAG_BITS) - 1u)
#ifndef DL_REFRESH_LAPS
#define DL_REFRESH_LAPS (1u << 20) /* see TAGS WRAP in ring.h */
#endif
#define DL_TAG_BEHIND (2u * DL_REFRESH_LAPS)
#define DL_TAG_SHIFT 36u
#define DL_STATE_SHIFT 33u
#define DL_OWNER_SHIFT 20u
#define DL_OWNER_MASK 0x1fffu
#define DL_LENGTH_MASK 0xfffffu /* the longest frame is this many granules */
#define DL_FRAME_LONGEST ((uint64_t)DL_LENGTH_MASK * DL_GRANULE)

struct dl_frame_header {
    uint32_t length;
    uint32_t crc;
    uint64_t time;
    uint32_t pid;
    uint16_t kind;
    uint16_t tag;
};
#define DL_FRAME_HEADER 24u
#define DL_GROUP_HEADER 8u
#define DL_INNER_ALIGN 8u

static_assert(sizeof(struct dl_frame_header) == DL_FRAME_HEADER, "see the table");
static_assert(offsetof(struct dl_frame_header, crc) == 4, "see the table");
static_assert(offsetof(struct dl_frame_header, time) == 8, "see the table");
static_assert(offsetof(struct dl_frame_header, pid) == 16, "see the table");
static_assert(offsetof(struct dl_frame_header, kind) == 20, "see the table");
static_assert(offsetof(struct dl_frame_header, tag) == 22, "see the table");

/* The constants of a ring: written once, then never. */
struct dl_constants {
    uint64_t magic;
    uint32_t version;
    uint32_t byte_order;
    uint64_t size; /* of the whole object; checked against fstat */
    uint64_t capacity; /* of the data: a power of two */
    uint64_t base; /* the first position this ring held */
    uint64_t generation; /* 1 for a log's first ring, then counts up */
    uint64_t salt; /* in every crc of this log */
    uint8_t boot_id[16];
    uint8_t log_id[16];
    uint32_t granule;
    uint32_t slots;
    uint32_t record_limit; /* the longest record, in bytes */
    uint32_t reserved;
    char name[128]; /* of the log, NUL-terminated */
    char path[3856]; /* of the directory, absolute, NUL-terminated */
    uint64_t crc; /* CRC-32C of all bytes before it */
};
static_assert(sizeof(struct dl_constants) == 4096, "one OS page");
static_assert(offsetof(struct dl_constants, capacity) == 24, "after the size");
static_assert(offsetof(struct dl_constants, name) == 104, "after the limits");

/* The control block.  One writer column per line, lines 128 bytes apart, so that what producers change
 * and what the writer changes never share a cache line.
 *
 *   offset  field                      written by
 *        0  hint                       producers, a monotonic maximum, now and then
 *      128  released                   the writer; what is below may be overwritten
 *      256  written, durable           the writer; positions below are in a page file / on disk
 *      384  parked, bell, barrier      writer sets parked, one producer takes it; bell is a futex word;
 *                                      barrier: see PARKING in ring.h
 *      512  space_wanted, space        sleepers for space set the flag; the writer counts the futex word
 *      640  done_wanted, done,         the same for sleepers in flush and sync;
 *           sync_wanted, roll_wanted   producers: positions up to which they ask for it (maximum)
 *           labels_wanted              producers set it, the writer clears it before it looks at the labels
 *      768  heartbeat, halted, ...     the writer: its identity and its state
 *      896  records, ...               the writer: the books
 *     1280  error_*                    the writer: the last trouble
 *     1536  start_turn, start_error    sessions that start a writer, one at a time; a writer clears them
 *     2048  options                    the writer, at its start: the options in force, JSON
 *
 * Bells are futex words in here, not named semaphores, for these reasons.  A wait on one is bounded by the
 * monotonic clock; a semaphore's by the wall clock, which steps.  It reaches every process that maps the
 * ring, also where ring_dir is a volume that containers share.  One call wakes all sleepers, and none is
 * counted.  There is no second object to protect, rename or leak.  And none can be planted: opening an empty
 * semaphore file is SIGBUS.
 */
struct dl_control {
    _Atomic uint64_t hint;
    uint8_t pad0[120];
    _Atomic uint64_t released;
    uint8_t pad1[120];
    _Atomic uint64_t written;
    _Atomic uint64_t durable;
    uint8_t pad2[112];
    _Atomic uint32_t parked;
    _Atomic uint32_t bell;
    _Atomic uint32_t barrier; /* the writer runs one for all registered processes before it sleeps */
    uint8_t pad3[116];
    _Atomic uint32_t space_wanted;
    _Atomic uint32_t space;
    uint8_t pad4[120];
    _Atomic uint32_t done_wanted;
    _Atomic uint32_t done;
    _Atomic uint64_t sync_wanted;
    _Atomic uint64_t roll_wanted;
    _Atomic uint32_t labels_wanted; /* producers: one of them waits for the index of its label */
    uint8_t pad5[100];
    _Atomic uint64_t heartbeat; /* ns, CLOCK_REALTIME: a hint to look closer, never a proof */
    _Atomic uint32_t halted; /* enum dl_halt: what producers must know before they claim */
    _Atomic uint32_t writer_pid; /* 0: left in good order */
    _Atomic uint64_t writer_start; /* start ticks of that process */
    _Atomic uint64_t writer_namespace; /* inode of its pid namespace */
    _Atomic uint64_t writer_count; /* writers this ring has had */
    uint8_t pad6[88];
    _Atomic uint64_t records; /* in page files, since the log began: the next record's number */
    _Atomic uint64_t abandoned; /* frames the writer turned into abandoned ones */
    _Atomic uint64_t page; /* number of the page being written, 0: none yet */
    _Atomic uint64_t first_page; /* number of the oldest page kept */
    _Atomic uint64_t page_bytes; /* bytes of all page files */
    _Atomic uint64_t sync_failures;
    _Atomic uint64_t retired_count; /* slots retired; totals[retired_count & 1] is in force */
    _Atomic uint64_t retiring; /* the retirement under way, see dl_note */
    _Atomic uint64_t totals[2][3]; /* logged, dropped, waited of all slots retired so far */
    _Atomic uint64_t base_records; /* the number at which the counts of this ring (and totals) began */
    _Atomic uint64_t base_position; /* the position at which they began */
    _Atomic uint64_t abandoning; /* position of the last abandoned claim, plus the count before it mod 32 */
    _Atomic uint64_t repair[9]; /* the last repair, see _ring/repair.py; the first is when, 0: none */
    uint8_t pad7[176];
    _Atomic uint64_t error_time; /* 0: none */
    _Atomic uint32_t error_number; /* errno */
    uint32_t pad8;
    char error_text[240];
    _Atomic uint64_t start_turn; /* sessions: which may start the next writer from when on, _ring/starts.py */
    char start_error[248]; /* the session whose turn it was: what the last start of a writer failed of */
    uint8_t pad9[256];
    char options[2048];
};
static_assert(sizeof(struct dl_control) == 4096, "one OS page");
static_assert(offsetof(struct dl_control, released) == 128, "see the table");
static_assert(offsetof(struct dl_control, written) == 256, "see the table");
static_assert(offsetof(struct dl_control, parked) == 384, "see the table");
static_assert(offsetof(struct dl_control, space_wanted) == 512, "see the table");
static_assert(offsetof(struct dl_control, done_wanted) == 640, "see the table");
static_assert(offsetof(struct dl_control, heartbeat) == 768, "see the table");
static_assert(offsetof(struct dl_control, records) == 896, "see the table");
static_assert(offsetof(struct dl_control, error_time) == 1280, "see the table");
static_assert(offsetof(struct dl_control, start_turn) == 1536, "see the table");
static_assert(offsetof(struct dl_control, options) == 2048, "see the table");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
              "a lock inside shared memory is not shared");

enum dl_halt {
    DL_GOING = 0,
    DL_LOG_FULL = 1, /* the log reached max_bytes and takes no more */
    DL_REPLACED = 2, /* this ring has a successor of the same name */
};

/* A producer's slot.  word = incarnation << 32 | enum dl_slot_state: the kernel lock on the slot's byte
 * says which process may fill a FREE one; only the writer makes one FREE again, with the next incarnation. */
enum dl_slot_state { DL_SLOT_FREE = 0, DL_SLOT_ATTACHED = 1, DL_SLOT_DETACHED = 2 };

struct dl_slot {
    _Atomic uint64_t word;
    uint32_t pid; /* owner, before ATTACHED */
    uint32_t again; /* of what it logged: other producers' records, saved from a ring without writer */
    uint64_t start; /* start ticks of the process */
    uint64_t pid_namespace; /* inode */
    uint64_t since; /* ns since the epoch */
    _Atomic uint64_t logged; /* the owner's threads */
    _Atomic uint64_t dropped;
    _Atomic uint64_t waited; /* times a log() found the ring full */
};
static_assert(sizeof(struct dl_slot) == 64, "one cache line per producer");

/* The label of the producer in the slot of the same number.  It is not in the slot: what producers count
 * there stays in one line, and these bytes are touched once. */
#define DL_LABEL_LENGTH 64u /* bytes: a host name has at most so many */
struct dl_label {
    uint16_t length; /* of the text, 0: none wanted; the slot's owner, before ATTACHED */
    _Atomic uint16_t policies; /* by which the producer dropped or refused records, a bit each; its threads */
    _Atomic uint32_t index; /* 0: no answer yet; the writer's answer, DL_NO_LABEL: there is none to be had */
    char text[DL_LABEL_LENGTH]; /* UTF-8 */
};
#define DL_NO_LABEL (DL_LABEL_MAX + 1u)
static_assert(sizeof(struct dl_label) == 72, "see the table");
static_assert(DL_SLOTS * sizeof(struct dl_label) == 294912, "see the table");

/* The header of a page file.  The first 256 bytes never change after creation, but for version and crc when
 * the first label comes while the page is being written.  The line at 256 is the only other place of a page
 * file that does, written by the writer through its mapping.
 *
 *   offset length field            meaning
 *        0      8 magic
 *        8      4 version          2 once it may hold a frame with a label, else 1; may become 2 in place
 *       12      4 header_length    4,096
 *       16     16 log_id
 *       32      8 number           of the page, from 1
 *       40      8 first_position
 *       48      8 first_number     of its first record
 *       56      8 salt
 *       64      8 created          ns since the epoch
 *       72      8 page_bytes       limit when created; the same for records and age (0: none)
 *       80      8 page_records
 *       88      8 page_age         ns
 *       96      4 data_offset      of the first frame
 *      100      4 head_length      bytes of page head, from 4,096
 *      104    128 name             of the log, NUL-terminated
 *      232     20 reserved         zero
 *      252      4 crc              CRC-32C of bytes 0-251, with version 1 or 2 (it is stored first)
 *      256      8 watermark        file offset one past the last visible byte
 *      264      8 records          below the watermark
 *      272      8 last_time        of the last record below the watermark
 *      280      4 state            see enum dl_page_state
 *      284      4 bell             futex word, counts up with every change of this line
 *      288      4 data_crc         sealed: CRC-32C of data_offset..watermark without padding's bytes
 *      292      4 seal_crc         sealed: CRC-32C of bytes 256-283 and 288-291
 */
enum dl_page_state { DL_PAGE_OPEN = 1, DL_PAGE_SEALED = 2 };

struct dl_page_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_length;
    uint8_t log_id[16];
    uint64_t number;
    uint64_t first_position;
    uint64_t first_number;
    uint64_t salt;
    uint64_t created;
    uint64_t page_bytes;
    uint64_t page_records;
    uint64_t page_age;
    uint32_t data_offset;
    uint32_t head_length;
    char name[128];
    uint8_t reserved[20];
    uint32_t crc;
    _Atomic uint64_t watermark;
    _Atomic uint64_t records;
    _Atomic uint64_t last_time;
    _Atomic uint32_t state;
    _Atomic uint32_t bell;
    _Atomic uint32_t data_crc;
    _Atomic uint32_t seal_crc;
    uint8_t rest[3800];
};
static_assert(sizeof(struct dl_page_header) == 4096, "one OS page");
static_assert(offsetof(struct dl_page_header, salt) == 56, "see the table");
static_assert(offsetof(struct dl_page_header, data_offset) == 96, "see the table");
static_assert(offsetof(struct dl_page_header, crc) == 252, "see the table");
static_assert(offsetof(struct dl_page_header, watermark) == 256, "see the table");
static_assert(offsetof(struct dl_page_header, bell) == 284, "see the table");

static inline uint64_t dl_round_up(uint64_t length, uint64_t unit)
{
    return (length + unit - 1) / unit * unit;
}

/* Where the data of a ring of that capacity begins, and how long the whole object is. */
static inline uint64_t dl_data_offset(uint64_t capacity)
{
    return dl_round_up(DL_MAP_OFFSET + capacity / DL_GRANULE * 8u, DL_OS_PAGE);
}
static inline uint64_t dl_labels_offset(uint64_t capacity) { return dl_data_offset(capacity) + capacity; }
static inline uint64_t dl_ring_size(uint64_t capacity)
{
    return dl_labels_offset(capacity) + DL_SLOTS * sizeof(struct dl_label);
}

/* A quarter of the ring at most, and never more than a claim word can say.  (No frame may be longer than
 * half the ring: padding is committed without a bell, and must not be what a full ring waits for.) */
static inline uint32_t dl_record_limit(uint64_t capacity)
{
    uint64_t granules = capacity / DL_GRANULE / 4u;
    if (granules > DL_LENGTH_MASK)
        granules = DL_LENGTH_MASK;
    return (uint32_t)(granules * DL_GRANULE - DL_FRAME_HEADER);
}

static inline uint32_t dl_frame_granules(uint64_t length)
{
    return (uint32_t)((length + DL_FRAME_HEADER + DL_GRANULE - 1u) / DL_GRANULE);
}

static inline uint32_t dl_tag(uint64_t position, uint64_t capacity)
{
    /* A power of two: several times in every append, and a division takes longer than the rest of a look. */
    return (uint32_t)((position >> __builtin_ctzll(capacity)) + 1u) & DL_TAG_MASK;
}
static inline uint64_t dl_word(uint32_t tag, uint32_t state, uint32_t owner, uint32_t granules)
{
    return (uint64_t)tag << DL_TAG_SHIFT | (uint64_t)state << DL_STATE_SHIFT
           | (uint64_t)owner << DL_OWNER_SHIFT | granules;
}
static inline uint32_t dl_word_tag(uint64_t word) { return (uint32_t)(word >> DL_TAG_SHIFT); }
static inline uint32_t dl_word_state(uint64_t word)
{
    return (uint32_t)(word >> DL_STATE_SHIFT) & 7u;
}
static inline uint32_t dl_word_owner(uint64_t word)
{
    return (uint32_t)(word >> DL_OWNER_SHIFT) & DL_OWNER_MASK;
}
static inline uint32_t dl_word_granules(uint64_t word) { return (uint32_t)word & DL_LENGTH_MASK; }

/* How many laps the word is ahead of the tag: 0 the same lap, negative an earlier one (unclaimed).  No word
 * can be more than DL_TAG_BEHIND behind: one that seems so is ahead. */
static inline int32_t dl_laps_ahead(uint64_t word, uint32_t tag)
{
    uint32_t difference = (dl_word_tag(word) - tag + DL_TAG_BEHIND) & DL_TAG_MASK;
    return (int32_t)difference - (int32_t)DL_TAG_BEHIND;
}

/* What a writer notes before it retires a slot: low bits of retired_count (from 45), slot (from 32) and
 * incarnation, as they were before. */
#define DL_NO_NOTE (~0ull)
static inline uint64_t dl_note(uint64_t count, uint32_t slot, uint64_t slot_word)
{
    return count << 45 | (uint64_t)slot << 32 | slot_word >> 32;
}
static inline uint32_t dl_note_slot(uint64_t note) { return (uint32_t)(note >> 32) & DL_OWNER_MASK; }

#endif
