/* The ring: claim, commit, drain, release over a claim map.  The algorithm and its argument; the bytes
 * are in layout.h, the policy (wait, drop, raise) is the caller's.  No Python, no system call, no
 * allocation: it builds into stress and fuzz programs by itself.
 *
 * ROLES.  Any number of producers append, from any process; one writer drains, releases, abandons and
 * closes.  A claim word per granule says, in one atomic 64-bit value, which producer has the bytes from there
 * on, how many, in which lap, and how far it is with them.
 *
 * KEY INVARIANT.  Let the frontier be the first position that is not claimed.  The words at the frame
 * boundaries from `released` to the frontier carry the tag of their position's lap and lead from one to
 * the next; the word at the frontier carries an earlier tag.  The frontier moves only by a successful
 * compare-and-swap on its word, and to the end of the frame claimed there.
 *
 * WHY A CLAIM IS EXCLUSIVE.  Each position a producer tries is a true boundary.  It starts from one: the
 * end of a claim of its own, a hint that was stored after a claim up to it, or `released`.  It moves on by
 * lengths of words of the lap it walks.  If the position it tries is not the frontier, it has been claimed
 * in the same lap, so the word carries this lap's tag or a later one.  If that happened before the producer
 * looked, it walks on or starts over.  If it happened after, the swap fails, because tags in a word only
 * grow.  So a swap succeeds only at the frontier.  The bytes it takes are free: end - released <= capacity
 * was checked against a value of `released` that can only have grown since, and the writer is done with
 * what is below `released` (release:A, claim:B).
 *
 * WHY A KILL LEAVES NO RIDDLE.  Before claim:E there is nothing; after it the word says position, length
 * and owner.  Until the owner commits, no other process writes there.  The writer turns the word into
 * ABANDONED only when the kernel says that the owner is dead, so no commit can follow.
 *
 * THE HINT is where to start walking, at or before the frontier.  It is a maximum (hint:B loops), or one
 * stalled producer would leave it behind for good.  It is moved once per DL_HINT_STRIDE bytes, because a
 * short walk over words in the cache costs less than a line that every producer writes.  A producer that
 * waits in vain for the writer moves it too, to the end of a claim of its own: a writer that a damaged word
 * led astray sees by the hint that it is not at the frontier.  A producer that lost the frontier and waited
 * starts at the hint, too.
 *
 * TAGS WRAP after 2^28 laps and are compared as signed differences.  A granule at which no frame ever
 * starts keeps an old tag, which would come to look later than the lap.  So once in DL_REFRESH_LAPS laps the
 * writer gives such words the lap's tag while it releases them (state 0: no walk ever visits them in that
 * lap, and in the next they are earlier, as they must be).  So no word is ever further behind than that,
 * and one that seems to be counts as ahead.  A producer may be stopped with a position in its hands, for
 * however long: it starts over.  It looks at `released` between its look at the word and its swap, and the
 * swap needs the very word it saw, so only a sleep just there, of 2^28 laps to the claim, could deceive it.
 *
 * PARKING is Dekker's: the writer stores `parked`, then looks at the word at its position; a producer
 * stores the word, then looks at `parked`.  Each has a full barrier between its two steps, so one of them
 * sees the other.  The producer that swaps `parked` back rings the bell, once per park.  A bell can be lost
 * with a killed process.  Three things make that good: a process that hears of the death and rings, the next
 * producer that finds the writer silent, and the look at `parked` and at the claim word that ends each slice
 * of a sleep.  A writer that has had something to do lately does not park.  It dozes on the same bell, 0.1 to
 * 2 ms, with `parked` unset, so that no producer pays for waking it; a process that waits for it (flush,
 * sync, space) rings.
 *   The producer's barrier would stand in every append, and wait there for the record's bytes to reach the
 * cache.  So where the kernel has membarrier, the writer runs the barrier of all: between its two steps
 * it makes every processor that runs a registered process pass a full barrier.  Such a producer's store
 * came before that barrier, and the writer's look sees it, or its look comes after, and sees `parked`.
 * Producers leave out their own barrier when both sides say that they can (`light`, and the control word
 * `barrier`).  A writer that cannot, in place of one that could, says so before it first sleeps.
 *
 * Orderings.  Each access is labelled in the code, DL_ATOMIC(label, ...); a test compares the two lists.
 *
 *   own:A      load last (acquire)             with own:B      a claim of another thread, what it saw
 *   own:B      store last (release)            with own:A
 *   claim:A    load hint (acquire)             with hint:B     a boundary, and the words up to it; again
 *                                                              after a lost swap
 *   claim:B    load released (acquire)         with release:A  the writer is done with what is below
 *   claim:C    load word (acquire)             with claim:E, close:A, refresh:A   the walk sees lengths
 *   claim:D    swap word -> PADDING (acq_rel)  with claim:C, drain:A   complete in itself
 *   claim:E    swap word -> CLAIMED (acq_rel)  with claim:C, drain:A   the linearization point
 *   hint:A     load hint (relaxed)             alone           only decides whether to store
 *   hint:B     swap hint (release)             with claim:A
 *   commit:A   store word COMMITTED (release)  with drain:A    the record's bytes are there
 *   commit:B   load parked (relaxed)           with park:A     behind commit:E, or the writer's barrier
 *   commit:C   swap parked -> 0 (acq_rel)      with park:A     one bell per park
 *   commit:D   load barrier (relaxed)          alone           only decides whether to make one
 *   commit:E   fence (seq_cst)                 with park:A, park:B   between commit:A and commit:B
 *   drain:A    load word (acquire)             with commit:A, claim:D, claim:E
 *   drain:B    load hint (acquire)             with hint:B     the claims up to it
 *   frontier:A load word (acquire)             with claim:E    as claim:C, for the writer and for stats
 *   closed:A   load word (seq_cst)             with close:A
 *   abandon:A  swap CLAIMED -> ABANDONED (acq_rel)   with drain:A   the owner is dead, nothing else stores
 *   refresh:A  store word (release)            with claim:C    a later tag comes with a `released`
 *                                                              beyond the place it came from
 *   refresh:B  load word (relaxed)             alone           no other process stores there
 *   release:A  store released (seq_cst)        with claim:B; and before the look at the space_wanted flag
 *   close:B    load released (relaxed)         alone           the writer's own
 *   close:A    swap word -> CLOSED (seq_cst)   with claim:C, closed:A   loses to a claim, or ends the ring
 *   park:A     store parked (seq_cst)          with commit:B   the writer's barrier stands behind it
 *   park:B     load word (seq_cst)             with commit:A
 *   park:C     store parked 0 (relaxed)        alone           a late bell is harmless
 *   park:D     load parked (relaxed)           with commit:C   between two slices of one sleep: taken, and
 *                                                              the bell not rung, is a producer that died
 *   retire:A   store the note (release)        with retire:E   the totals to come are stored
 *   retire:B   store the slot's word (release) with retire:E   the note is stored
 *   retire:C   store the count (release)       with retire:E   the totals in force are stored
 *   retire:D   store no note (release)         with retire:E   nothing is left to do
 *   retire:E   load note, word, count (acquire)  with retire:A to retire:D of a writer that died
 *   retire:F   load, store a total (relaxed)   alone           the count puts it in force
 *
 * The same for the accesses outside ring.c.  Waiting, in ring_wait.c; each wait is Dekker's again: the
 * sleeper stores its wish, then looks for what it waits for; the waker makes it true, then looks for a wish.
 *
 *   space:A    load space (seq_cst)            with space:E    a count after this look is not slept through
 *   space:B    store space_wanted (seq_cst)    with space:D    then the producer looks for room (claim:B)
 *   space:C    fence (seq_cst)                 with space:B    between release:A and space:D
 *   space:D    load, swap space_wanted (seq_cst)   with space:B   one waker per wish
 *   space:E    add to space (seq_cst)          with space:A    then all sleepers are woken
 *   done:A     load done (seq_cst)             with done:D     as space:A
 *   done:B     store done_wanted (seq_cst)     with done:C     then the caller looks at written or durable
 *   done:C     load, swap done_wanted (seq_cst)    with done:B    one waker per wish
 *   done:D     add to done (seq_cst)           with done:A     then all sleepers are woken
 *   bell:A     add to bell (relaxed)           with bell:B     the kernel looks again before it sleeps
 *   bell:B     load bell (seq_cst)             with bell:A     a ring after this look is not slept through
 *   bell:C     load barrier (seq_cst)          alone           the writer's own
 *   beat:A     store heartbeat (relaxed)       with beat:B     a hint, never a proof
 *   beat:B     load heartbeat (relaxed)        with beat:A
 *
 * Words that Python loads and stores, in mapping.c and ring_object.c; layout.h says which process may.
 *
 *   word:A     load a word (seq_cst)           with word:B, word:C, word:D
 *   word:B     store a word (seq_cst)          with word:A, word:E, halt:A
 *   word:C     load, swap to a maximum (seq_cst)   with word:A, claim:A   of `hint` too
 *   word:D     add to a word (seq_cst)         with word:A
 *   word:E     load a word (acquire)           with word:B     between two slices of a reader's sleep
 *   word:F     add to a bell (seq_cst)         with word:A     then all sleepers are woken
 *   word:H     swap a word (seq_cst)           with word:A, word:B     one winner per value
 *   look:A     load a claim word (acquire)     with commit:A, claim:E   for `stat` and `cat --ring`
 *   word:G     load released (seq_cst)         with release:A  where to look for CLOSED
 *   halt:A     load halted (relaxed)           with word:B     seen too late it costs nothing: claim:C sees
 *                                                              CLOSED, and max_bytes is no exact limit
 *
 * The producer table, in ring_slots.c and producer.c.
 *
 *   slot:A     load a slot's word (seq_cst)    with slot:B, slot:C, retire:B   and see close:A
 *   slot:B     swap FREE -> ATTACHED (seq_cst) with slot:A     the slot's other fields are stored
 *   slot:C     swap ATTACHED -> DETACHED (seq_cst) with slot:A   the owner's counts are final
 *   slot:D     store a count (seq_cst)         alone           the slot is FREE and the caller has its lock
 *   slot:E     load a count (seq_cst)          with count:A    a moment's value
 *   count:A    load, store, add to a count (relaxed)   with slot:E   final with slot:C
 *   label:A    load a label's index (acquire)  with label:B    the table on disk has it
 *   label:B    store a label's index (release) with label:A    the table on disk has it
 *   label:D    store labels_wanted (seq_cst)   with word:A     slot:B stands before it; the writer clears it,
 *                                                              then looks at the slots
 *   label:E    load a slot's word (seq_cst)    with slot:B
 *   label:C    store a label's index (relaxed) alone           0, before slot:B
 *   total:A    load the count and totals (seq_cst) with retire:C
 *   total:B    store a total (seq_cst)         alone           of a ring that has no name yet
 *
 * Among the threads of one process, in the rest of csrc/python and csrc/os.
 *
 *   own:C      store last (seq_cst)            alone           of a producer not in use yet
 *   end:A      load, store end (relaxed)       with end:B      a moment's value
 *   end:B      load, store end (seq_cst)       with end:A
 *   mark:A     load, store kind (relaxed)      alone           with or without the label, both are right
 *   ask:A      load attention (relaxed)        with ask:B      seen too late it costs nothing
 *   ask:B      and, or attention (seq_cst)     with ask:A
 *   inside:A   add to, subtract from inside (seq_cst)  with inside:B   an append is under way
 *   inside:B   load inside (seq_cst)           with inside:A   detach waits until it is 0
 *   inside:C   store inside (seq_cst)          alone           a fork's child has one thread
 *   pace:A     load, store logged_at, losses (relaxed)     alone   only decides how long to wait
 *   fork:A     load the token (relaxed)        alone           a process stores its own
 *   fork:B     store the token (relaxed)       alone           the same value in each thread
 *   origin:A   load the process kept (acquire) with origin:B   the bytes of its name
 *   origin:B   store the process kept (release)    with origin:A
 *   crc:A      load an implementation (relaxed)    with crc:B   all of them agree
 *   crc:B      store an implementation (relaxed)   with crc:A
 *   guard:A    swap a guard's start (seq_cst)  alone           takes a free place
 *   guard:B    load a guard's start (acquire)  with guard:C    the end and the access
 *   guard:C    store a guard's start (release) with guard:B
 *   guard:D    load, store end, access (relaxed)   alone       ordered by guard:B and guard:C
 *   guard:E    swap the flag (seq_cst)         alone           one thread installs the handler
 *   guard:F    store the mark (seq_cst)        with guard:G    of the handler, in the thread that stored
 *   guard:G    load the mark (seq_cst)         with guard:F    behind the store that may have been lost
 */
#ifndef DL_RING_H
#define DL_RING_H

#include <stdbool.h>

#include "labels.h"
#include "layout.h"

#define DL_HINT_STRIDE 4096u /* bytes (bench: throughput) */

enum dl_status {
    DL_OK = 0,
    DL_FULL = -1, /* no room now; an answer, not a failure */
    DL_TOO_LARGE = -2, /* longer than this ring can ever take */
    DL_ENDED = -3, /* closed: attach to the successor */
    DL_DAMAGED = -4, /* a word that cannot be: it was scribbled over */
};

/* One process's view of a ring.  capacity and limits are copied at open: what stands in shared memory
 * is not looked at again. */
struct dl_ring {
    struct dl_constants *constants;
    struct dl_control *control;
    struct dl_slot *slots;
    _Atomic uint64_t *map;
    uint8_t *data;
    struct dl_label *labels; /* one for each slot */
    uint64_t capacity;
    uint64_t granules; /* in the whole ring */
    uint32_t record_limit;
    uint32_t seed; /* of every crc, see dl_frame_seed */
};

/* What one process knows of its own claims; shared by its threads. */
struct dl_claimant {
    uint32_t slot;
    uint32_t pid;
    bool light; /* registered for the writer's barrier, see PARKING */
    _Atomic uint64_t last; /* end of a late claim: a boundary to start from, only ever too low */
    /* How to wait when another took the frontier, before the next attempt to log a record of that time; or
     * NULL.  Called with nothing claimed. */
    void (*lost)(struct dl_claimant *claimant, uint64_t time);
};

struct dl_item {
    const void *bytes;
    uint64_t length;
};

/* Why a drain stopped. */
enum dl_stop {
    DL_STOP_EMPTY, /* nothing claimed beyond */
    DL_STOP_CLAIMED, /* a claim not committed yet */
    DL_STOP_LIMIT, /* the next frame would pass max_bytes or max_records */
    DL_STOP_WRAP, /* the ring's end, or padding: drain again */
    DL_STOP_CLOSED,
    DL_STOP_DAMAGED,
};

/* A contiguous run of complete frames. */
struct dl_segment {
    uint64_t start;
    uint64_t end; /* position behind the last frame */
    uint64_t length; /* bytes to write: end - start, or up to the header of padding that ends the run */
    uint64_t records;
    uint64_t last_time; /* of the last record; 0 without one */
    enum dl_stop stop;
    uint32_t next; /* DL_STOP_LIMIT: span of the frame that did not fit; DL_STOP_CLAIMED: the owner */
};

static inline uint64_t dl_index(const struct dl_ring *ring, uint64_t position)
{
    return position & (ring->capacity - 1u);
}
static inline uint64_t dl_granule(const struct dl_ring *ring, uint64_t position)
{
    return dl_index(ring, position) / DL_GRANULE;
}
static inline uint8_t *dl_at(const struct dl_ring *ring, uint64_t position)
{
    return ring->data + dl_index(ring, position);
}

/* Write a new ring into zeroed memory: constants holds what the creator decides (capacity, base,
 * generation, salt, ids, name, path); the rest is filled in.  No other process may see the memory yet. */
void dl_ring_format(void *memory, const struct dl_constants *wanted);

/* Check the constants against the size of the object and fill in the view.  NULL, or what is wrong. */
const char *dl_ring_open(struct dl_ring *ring, void *memory, uint64_t size);

/* Producers.  `header` gives time, kind with label, and tag (of a group's kind only the label counts).
 * Length, crc and (where it is 0) pid are filled in.  On DL_OK `position` is the record's (of a group: of its
 * first record) and `end` the position behind the frame. */
int dl_append(struct dl_ring *ring, struct dl_claimant *claimant, const struct dl_frame_header *header,
              const void *bytes, uint64_t length, uint64_t *position, uint64_t *end);
int dl_append_group(struct dl_ring *ring, struct dl_claimant *claimant, const struct dl_frame_header *wanted,
                    const struct dl_item *items, uint32_t count, uint64_t *position, uint64_t *end);

/* After an append: true if the writer sleeps and the caller has to wake it. */
bool dl_take_bell(struct dl_ring *ring);

/* The writer. */
void dl_drain(struct dl_ring *ring, uint64_t from, uint64_t max_bytes, uint64_t max_records,
              struct dl_segment *segment);
bool dl_abandon(struct dl_ring *ring, uint64_t position);
void dl_release(struct dl_ring *ring, uint64_t from, uint64_t to);
bool dl_close(struct dl_ring *ring, uint64_t position);
void dl_park(struct dl_ring *ring); /* then the barrier, if `barrier` says that there is one */
bool dl_may_sleep(struct dl_ring *ring, uint64_t position); /* true: on the bell, then dl_unpark */
bool dl_is_parked(struct dl_ring *ring);
void dl_unpark(struct dl_ring *ring);

/* Any process: the first unclaimed position at or after `from`; reads only.  Stops at damage. */
uint64_t dl_frontier(const struct dl_ring *ring, uint64_t from);

/* Any process: has the ring been closed?  After a slot was taken this look is the other half of close:A,
 * after which the writer looks at the slots: one of the two sees the other (both seq_cst by their swaps). */
bool dl_is_closed(const struct dl_ring *ring, uint64_t from);

/* The writer: make a slot free again, adding its counts to the totals exactly once, however often the
 * writer dies on the way.  dl_retire_resume first thing in a new writer. */
void dl_retire(struct dl_ring *ring, uint32_t slot);
void dl_retire_resume(struct dl_ring *ring);

#endif
