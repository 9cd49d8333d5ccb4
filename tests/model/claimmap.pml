/* The ring protocol as a SPIN model: claim, commit, abandon, drain, publish, release, attach, detach, close,
 * succeed, park, with a kill between any two steps of a producer and a crash between any two of the writer.
 * `run` beside this file checks that every configuration holds and that every mutant is caught.
 *
 * MODELLED, one access to shared memory per step:
 *   producer  lock the slot's byte, look at its state, store ATTACHED; load hint, `released`, words of the
 *             map; swap a word to PADDING or CLAIMED, after a failed swap judge the word it returned; move
 *             the hint, or not; fill granule by granule; commit; look at `parked`, before or after the commit
 *             is visible (LIGHT), take it, ring; say that
 *             space is wanted, look again, sleep; store DETACHED, drop the lock.  `last` and `seen` are the
 *             claimant's, which threads share (THREADS).  From a ring that is closed or marked it comes over
 *             with the record in its hand when another has the name; it looks whether a ring is closed before
 *             and after it takes a slot there.
 *   writer    begin at the watermark, which may be ahead of `released`; gather a run of complete frames of
 *             any length; write, publish, refresh tags granule by granule, release, wake sleepers for
 *             space; abandon the head if its owner's lock is free; mark dead slots with the frontier, free
 *             them when that is released, detached ones at once; close at the frontier; at the word CLOSED
 *             give the name to a ring that begins there, then mark the old one; store `parked`, run the
 *             barrier of all (LIGHT), look again, sleep on the bell.
 *   A sleep ends by itself only if somebody was killed: a wake-up that can be lost is a deadlock.
 *
 * ASSERTED: a claim succeeds only at the frontier, into released space, in the ring that has the name,
 * not closed; positions go on from ring to ring, so this is the order, too.  A granule is filled when it
 * is empty, under a claim that stands.  What is written is what was committed, all of it, and the same if
 * written twice; it goes on where the pages end, never with a part of a group, and the records counted in
 * it, from bytes where it is a group, are those that its owners committed; nothing is released unwritten.
 * A slot is taken when no claim of its former owner is left, and is its owner's as long as that lives.  A
 * start over moves forward.  The words from `released` lead to the frontier.  In the end all is drained
 * and every slot is free: invalid end states count.
 *
 * ABSTRACTED: a producer may go by an older value of `released`, which `seen` remembers; the code looks
 * anew before each swap, one of the ways open to the model.  Memory is sequentially consistent; what a
 * missing fence would do is written out as the order it permits (LIGHT, BUG_RELAXED, BUG_COUNT_EARLY,
 * BUG_SPACE_FENCE, BUG_LAST_LATE); the barrier waits for the commits that were held back when it began,
 * each for itself, as membarrier does.  The kernel's lock is the only witness of death and falls with the
 * process.  The words of a frontier walk are read at once (a slower walk ends later), so is a look whether
 * the ring is closed, and a run that is written (nobody may change it); a hint swap with its retries is one
 * maximum.  A granule's bytes are one number that names producer and place.  Positions begin two laps
 * before the tags wrap.
 *
 * ASSUMED: no producer sleeps between its load of the hint and its swap while the others go through half
 * of the tags, 2^27 laps.  STALL holds them to that; BUG_STALL does not, and shows that it has to be
 * assumed.  And frames are no longer than half the ring, or padding would have to ring (BUG_LONG).
 *
 * RUN  tests/model/run, or one configuration by hand:
 *   spin -DNP=2 -DNS=1 -DRECS=2 -DKILLS=2 -DWCRASH=1 -a claimmap.pml
 *   gcc -O2 -w -DSAFETY -DVECTORSZ=512 -DMEMLIM=3500 -o pan pan.c && ./pan -m100000
 *
 * STATES (spin 6.5.2), none with an error:
 *   reuse 534,043, slots 856,934, pair 757,276, three 1,149,185, group 378,739, close 870,330,
 *   close-laps 978,014, park 1,002,812, park-light 1,670,192, park-killed 181,483, park-light-killed 220,451,
 *   wrap 693,657, stall 627,931, threads 1,251,289, threads-killed 475,893
 *   and with --long
 *   pair-laps 1,368,145, pair-killed 14,830,009, reuse-long 2,878,928, three-slots 3,815,898,
 *   three-long 10,475,616, close-pair 4,637,378, park-long 3,305,913, park-crash 2,325,364,
 *   stall-long 3,328,146, stall-killed 2,899,479
 */

#ifndef NP /* producers */
#define NP 2
#endif
#ifndef NS /* slots */
#define NS 1
#endif
#ifndef RECS /* records of each producer; 0: until the positions run out */
#define RECS 2
#endif
#ifndef SECOND /* of all producers but the first */
#define SECOND RECS
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef WCRASH /* crashes of the writer */
#define WCRASH 0
#endif
#ifndef C /* granules in the ring */
#define C 3
#endif
#ifndef TAGBITS
#define TAGBITS 4
#endif
#ifndef LAPS /* till the positions run out */
#define LAPS 12
#endif
#if !defined(REFRESH) || defined(BUG_REFRESH) /* one lap in so many is refreshed; 0: none */
#undef REFRESH
#define REFRESH 0
#endif
#if !defined(LMAX) || defined(BUG_LONG) /* granules of the longest frame, 1 or 2 */
#undef LMAX
#define LMAX 2
#endif
#define TAGS (1 << TAGBITS)
#define BASE ((TAGS - 2) * C)
#ifndef MAXPOS
#define MAXPOS (BASE + LAPS * C)
#endif
/* Switches: THREADS the producers are threads of one process; PRESENT they are attached from the start;
 * GIVEUP a full ring is an answer, too; GROUPS, see COUNT; CLOSE, once, and a successor; PARK, with sleepers
 * for space; STALL, see above. */
#ifdef STALL
#define PRESENT
#endif

/* A word: tag, state (3 bits), owner (2), length (3). */
#define CLAIMED 1
#define COMMITTED 2
#define ABANDONED 3
#define PADDING 4
#define CLOSED 5
#define COMMITTED_GROUP 6
#define TAG(w) ((w) >> 8)
#define STATE(w) (((w) >> 5) & 7)
#define OWNER(w) (((w) >> 3) & 3)
#define LENGTH(w) ((w) & 7)
#define LAP(p) ((p) / C)
#define TAGOF(p) ((LAP(p) + 1) & (TAGS - 1))
#define WORD(p, state, owner, length) ((TAGOF(p) << 8) | ((state) << 5) | ((owner) << 3) | (length))
#ifdef BUG_UNSIGNED
#define AHEAD(w, p) (TAG(w) > TAGOF(p))
#define BEHIND(w, p) (TAG(w) < TAGOF(p))
#else
#define DISTANCE(w, p) ((TAG(w) + TAGS - TAGOF(p)) & (TAGS - 1))
#define AHEAD(w, p) (DISTANCE(w, p) != 0 && DISTANCE(w, p) < TAGS / 2)
#define BEHIND(w, p) (DISTANCE(w, p) >= TAGS / 2)
#endif
#define SAME(w, p) (TAG(w) == TAGOF(p))
#define COMPLETE(w, p) (SAME(w, p) && STATE(w) >= COMMITTED && STATE(w) != CLOSED)
#define IS_CLOSED(w, p) (SAME(w, p) && STATE(w) == CLOSED)

#define FREE 0
#define ATTACHED 1
#define DETACHED 2

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define BYTES(who, i) (1 + (who) + NP * KINDS * (i))
#define FILLER 255

/* A frame of two granules may be a group of two records.  Only its bytes say how many there are. */
#ifdef GROUPS
#define KINDS 2
#define WHO (me + NP * group)
#define COMMIT_AS (group -> COMMITTED_GROUP : COMMITTED)
#define COUNT(bytes) ((bytes) == 0 -> 0 : 1 + ((bytes) - 1) / NP % KINDS)
#define COUNT_IN(p)                                                                                          \
    (STATE(map[(p) % C]) == COMMITTED_GROUP -> COUNT(data[(p) % C]) : STATE(map[(p) % C]) == COMMITTED)
#else
#define KINDS 1
#define WHO me
#define COMMIT_AS COMMITTED
#endif
#define IS_COMMITTED(w) (STATE(w) == COMMITTED || STATE(w) == COMMITTED_GROUP)

/* Shared memory. */
#ifdef CLOSE
typedef Ring {
    short map[C];
    byte data[C];
    byte hint, released;
    byte slot[NS];
    byte lock[NS]; /* the kernel's, on the ring's file */
    bit replaced;
};
Ring rings[2];
bit current; /* which of them has the name */
#define map rings[ring].map
#define data rings[ring].data
#define hint rings[ring].hint
#define released rings[ring].released
#define slot rings[ring].slot
#define lock rings[ring].lock
#define replaced rings[ring].replaced
#define FORMER (ring != current)
#define IS_OVER (FORMER || closed) /* a walk to the frontier ends at the word CLOSED */
#define LEAVE_RING ring = 0
#define COME_OVER if :: replaced -> goto ended :: else fi
#else
short map[C];
byte data[C];
byte hint = BASE, released = BASE;
byte slot[NS];
byte lock[NS]; /* the kernel's: producer + 1 */
#define FORMER false
#define IS_OVER false
#define LEAVE_RING skip
#define COME_OVER skip
#endif
#ifdef PARK
/* A futex word that counts up is, to a sleeper, one bit: changed since it looked. */
bit parked, bell, wanted, space[NP];
#ifdef LIGHT
bit held[NP], due[NP]; /* commits in a store buffer; those that the barrier waits for */
#endif
#if NP > 2
#define RING_SPACE wanted = 0; space[0] = 1; space[1] = 1; space[2] = 1
#else
#define RING_SPACE wanted = 0; space[0] = 1; space[1] = 1
#endif
#endif

/* The page file's. */
byte watermark = BASE;

/* Claimants. */
byte last[NP], seen[NP];
#ifdef THREADS
#define MINE 0
bit gone;
byte threads = NP;
#else
#define MINE me
#endif

/* Ghosts: the frontier; who committed at a granule and what a page holds of it, until it is released; who
 * has not ended; with STALL, where a producer stands. */
byte frontier = BASE;
byte committed[C], page[C];
bit closed; /* the ring that has the name */
byte live = NP, kills, crashes;
#ifdef STALL
byte at[NP];
#define NOWHERE 255
#define T at[me]
#else
#define NOWHERE 0
#define T t
#endif
#if defined(STALL) && !defined(BUG_STALL)
#define IN_TIME (at[1 - me] == NOWHERE || LAP(T) - LAP(at[1 - me]) < TAGS / 2)
#else
#define IN_TIME true
#endif

/* A step of a producer is what it does, or its death. */
#ifdef THREADS
#define UP (!gone)
#define DIE                                                                                                  \
    atomic {                                                                                                 \
        gone || kills < KILLS -> if :: !gone -> gone = 1; kills++; lock[0] = 0 :: else fi;                   \
        live--; FORGET; goto over                                                                            \
    }
#else
#define UP true
#define DIE                                                                                                  \
    atomic {                                                                                                 \
        kills < KILLS -> kills++; if :: lock[s] == me + 1 -> lock[s] = 0 :: else fi;                         \
        last[me] = 0; seen[me] = 0; tried = 0; s = 0; live--; FORGET; LEAVE_RING; goto over                  \
    }
#endif
#ifdef GROUPS
#define FORGET group = 0; FORGET_PLACE
#else
#define FORGET FORGET_PLACE
#endif
#define FORGET_PLACE T = NOWHERE; see = 0; size = 0; n = 0; i = 0; w = 0
#define STEP(body) if :: DIE :: atomic { UP -> body } fi
#define STEP_WHEN(guard, body) if :: DIE :: atomic { UP && (guard) -> body } fi
#define STEP_EITHER(guard, body, other)                                                                      \
    if :: DIE :: atomic { UP && (guard) -> body } :: atomic { UP && !(guard) -> other } fi

/* What a word says about position T; jumps to the next step. */
inline judge()
{
    if
    :: SAME(w, T) ->
        assert(LENGTH(w) != 0 && STATE(w) != 0);
#ifdef BUG_STAY
        T = T + LENGTH(w); w = 0; goto walk
#else
        if :: STATE(w) == CLOSED -> w = 0; goto ended :: else -> T = T + LENGTH(w); w = 0; goto walk fi
#endif
#ifndef BUG_LATER
    :: AHEAD(w, T) -> w = 0; goto later
    :: BEHIND(w, T) ->
#else
    :: else ->
#endif
        i = (T % C + size <= C -> size : C - T % C);
        if
        :: T + i > MAXPOS -> i = 0; w = 0; goto detach
        :: T + i <= MAXPOS && T + i - see > C -> i = 0; w = 0; goto look
        :: T + i <= MAXPOS && T + i - see <= C && i == size -> i = 0; goto claim
        :: T + i <= MAXPOS && T + i - see <= C && i != size -> i = 0; goto pad
        fi
    fi
}

/* No claim of the slot's former owner may be left. */
inline assert_nothing_left()
{
    i = (FORMER -> frontier : released); /* which is drained */
    do
    :: i < frontier ->
        w = map[i % C];
        assert(OWNER(w) != s || (STATE(w) != CLAIMED && STATE(w) != ABANDONED));
        i = i + LENGTH(w)
    :: else -> i = 0; w = 0; break
    od
}

#define LOCK(x)                                                                                              \
    lock[x] == 0 && (slot[x] == FREE || !tried) ->                                                           \
    if :: slot[x] != FREE -> tried = 1 :: else fi; s = x; lock[x] = me + 1

proctype producer(byte me)
{
    byte s, see, size, n, i;
    short w;
    bit tried; /* a slot that was not free; once is enough */
#ifdef CLOSE
    bit ring;
#endif
#ifdef GROUPS
    bit group;
#endif
#ifndef STALL
    byte t;
#endif

#if defined(PRESENT)
    s = me; goto next;
#elif defined(THREADS)
    goto next;
#endif
attach:
#ifdef CLOSE
    STEP(ring = current);
    STEP_WHEN(!IS_OVER || FORMER, if :: FORMER -> goto attach :: else fi);
#endif
    if
    :: DIE
    :: atomic { LOCK(0) }
#ifdef CLOSE
    :: atomic { FORMER -> goto attach }
#endif
#if NS > 1
    :: atomic { (lock[0] != 0 || slot[0] != FREE) && LOCK(1) } /* in order */
#endif
    fi;
#ifdef BUG_LOCK_ONLY
    STEP(slot[s] = FREE);
#else
    STEP_EITHER(slot[s] == FREE, skip, lock[s] = 0; s = 0; goto attach);
#endif
    STEP(assert(slot[s] == FREE); assert_nothing_left(); slot[s] = ATTACHED; tried = 0);
#ifdef CLOSE
    STEP_EITHER(!IS_OVER, goto next, slot[s] = DETACHED);
    STEP(lock[s] = 0; s = 0; goto attach);
#endif

#define QUOTA (me == 0 -> RECS : SECOND)
next:
    if
    :: DIE
    :: atomic {
        UP && (n < QUOTA || QUOTA == 0) ->
        if :: QUOTA != 0 -> n++ :: else fi;
        if
        :: size = 1
#if LMAX > 1
        :: size = 2
#endif
#ifdef GROUPS
        :: size = 2; group = 1
#endif
        fi
    }
    :: atomic { UP && QUOTA != 0 && n >= QUOTA -> goto detach }
    fi;
again: /* the same record */
#ifdef THREADS
    STEP(see = seen[MINE]);
#ifdef BUG_LAST_LATE
    STEP(i = hint);
    STEP(w = released);
    STEP(T = MAX(MAX(i, see), last[MINE]);
         if :: T - see > C -> see = w; T = MAX(T, see); assert(T - see <= C) :: else fi;
         i = 0; w = 0);
#else
    STEP(T = last[MINE]);
    STEP(T = MAX(MAX(hint, see), T));
#endif
#else
    STEP(COME_OVER; see = seen[MINE]; T = MAX(MAX(hint, see), last[MINE]));
#endif
walk:
    STEP_EITHER(T - see <= C, w = map[T % C]; judge(),
                see = released; T = MAX(T, see); assert(T - see <= C); goto walk);
later: /* T is from a past lap */
    STEP(see = released);
    STEP(assert(MAX(hint, see) > T); T = MAX(hint, see); goto walk);

look: /* no room, as far as was seen */
    STEP_EITHER(see != released, see = released; T = MAX(T, see); goto walk, seen[MINE] = see; T = NOWHERE);
#ifdef GIVEUP
    if
    :: DIE
    :: atomic { UP -> see = 0; size = 0; goto next }
    :: atomic { UP && released != see -> see = 0; goto again }
    fi;
#elif defined(PARK)
    STEP(space[me] = 0);
    STEP(wanted = 1);
    STEP_EITHER(released != see, see = 0; space[me] = 1; goto again, see = 0);
    STEP_WHEN(space[me] || kills + crashes > 0, space[me] = 1; goto again);
#else
    STEP_WHEN(released != see, see = 0; goto again);
#endif

pad: /* complete in itself */
    STEP_WHEN(IN_TIME,
        if
        :: map[T % C] == w ->
            assert(T == frontier && T + C - T % C - released <= C && !IS_OVER);
            map[T % C] = WORD(T, PADDING, s, C - T % C); w = 0; T = T + C - T % C; frontier = T
        :: else -> w = map[T % C]; judge()
        fi);
    STEP(hint = MAX(hint, T); goto walk);

#define NOTE_CLAIM                                                                                           \
    last[MINE] = T + size; seen[MINE] = see; see = 0;                                                        \
    if :: goto move :: (T + size) % C != 0 -> goto fill fi
#ifdef THREADS
#define NOTE_OWN_CLAIM skip
#else
#define NOTE_OWN_CLAIM NOTE_CLAIM
#endif
claim:
#ifdef BUG_HINT_EARLY
    STEP(hint = MAX(hint, T + size));
#endif
    STEP_WHEN(IN_TIME,
        if
        :: map[T % C] == w ->
            assert(T == frontier && T + size - released <= C && !IS_OVER);
            map[T % C] = WORD(T, CLAIMED, s, size); w = 0; frontier = T + size; NOTE_OWN_CLAIM
        :: else -> w = map[T % C]; judge()
        fi);
#ifdef THREADS
    STEP(NOTE_CLAIM);
#endif
#ifdef BUG_RELAXED /* the word may be seen before the bytes */
#define UNDER_CLAIM true
#else
#define UNDER_CLAIM (map[T % C] == WORD(T, CLAIMED, s, size))
#endif
#ifdef GROUPS
#define NO_GROUP ; group = 0
#else
#define NO_GROUP
#endif
#define COMMIT                                                                                               \
    assert(UNDER_CLAIM);                                                                                     \
    map[T % C] = WORD(T, COMMIT_AS, s, size); committed[T % C] = WHO + 1; T = NOWHERE; size = 0; i = 0 NO_GROUP
move: /* the hint: now and then, and at the end of a lap */
    STEP(hint = MAX(hint, T + size));
fill:
    if
    :: DIE
    :: atomic {
        UP && i < size ->
        assert(UNDER_CLAIM && data[(T + i) % C] == 0);
        data[(T + i) % C] = BYTES(WHO, i); i++; goto fill
    }
#ifdef BUG_RELAXED
    :: atomic {
        UP && map[T % C] == WORD(T, CLAIMED, s, size) ->
        map[T % C] = WORD(T, COMMIT_AS, s, size); committed[T % C] = WHO + 1; goto fill
    }
#endif
#ifdef LIGHT
    :: atomic { UP && i == size -> see = parked; held[me] = 1; goto arrives }
#endif
    :: atomic {
        UP && i == size -> COMMIT;
#ifndef PARK
        goto next
#endif
    }
    fi;
#ifdef PARK
    STEP_EITHER(parked, goto ring, goto next);
#ifdef LIGHT
arrives: /* killed or not, what is in the store buffer is written */
    atomic { true -> COMMIT; held[me] = 0; due[me] = 0 };
    STEP_EITHER(see == 0, goto next, see = 0);
#endif
ring:
    STEP_EITHER(parked, parked = 0, goto next);
    STEP(bell = 1; goto next);
#endif

ended: /* the ring is closed: on to its successor */
#ifdef CLOSE
    STEP_WHEN(FORMER, /* nobody looks at its slots any more */
              assert(slot[s] == ATTACHED);
              slot[s] = FREE; lock[s] = 0; last[MINE] = 0; seen[MINE] = 0; s = 0;
              n--; i = n; FORGET; n = i; i = 0; goto attach);
#else
    assert(false);
#endif

detach:
#ifdef THREADS
    STEP(FORGET; threads--; if :: threads == 0 :: else -> live--; goto over fi);
#endif
#ifdef BUG_UNLOCK_FIRST
    STEP(FORGET; lock[s] = 0);
    STEP(slot[s] = DETACHED; last[MINE] = 0; seen[MINE] = 0; s = 0; live--);
#else
    STEP(assert(slot[s] == ATTACHED); FORGET; slot[s] = DETACHED);
    STEP(lock[s] = 0; last[MINE] = 0; seen[MINE] = 0; s = 0; live--; LEAVE_RING);
#endif
over:
    skip
}

/* A step of the writer. */
#if NS > 1
#define CRASH atomic { crashes < WCRASH -> crashes++; FORGET_ALL; mark[1] = 0; goto begin }
#define ALL_FREE (slot[0] == FREE && slot[1] == FREE)
#else
#define CRASH atomic { crashes < WCRASH -> crashes++; FORGET_ALL; goto begin }
#define ALL_FREE (slot[0] == FREE)
#endif
#ifdef GROUPS
#define FORGET_COUNT records = 0
#define TAKE(p) records = records + COUNT_IN(p)
#else
#define FORGET_COUNT skip
#define TAKE(p) skip
#endif
#define FORGET_ALL e = 0; i = 0; c = 0; w = 0; was = 0; own = 0; FORGET_COUNT; mark[0] = 0
#define DO(body) if :: CRASH :: atomic { body } fi

/* A dead slot is freed when all that was claimed before its death was proven is released. */
#ifdef BUG_FREE
#define MARK (released + 1)
#else
#define MARK (frontier + 1)
#endif
#ifdef BUG_FRONTIER_EARLY
#define PROVEN_FIRST(x) true
#define PROVEN_LAST(x) (lock[x] == 0)
#else
#define PROVEN_FIRST(x) (lock[x] == 0)
#define PROVEN_LAST(x) true
#endif
#define SLOT(x)                                                                                              \
    :: atomic { slot[x] == DETACHED -> slot[x] = FREE; mark[x] = 0; goto top }                               \
    :: atomic {                                                                                              \
        slot[x] == ATTACHED && mark[x] == 0 && PROVEN_FIRST(x) ->                                            \
        assert_chain(); mark[x] = MARK; goto top                                                             \
    }                                                                                                        \
    :: atomic {                                                                                              \
        mark[x] != 0 && released + 1 >= mark[x] && PROVEN_LAST(x) ->                                         \
        slot[x] = FREE; mark[x] = 0; goto top                                                                \
    }
#ifdef BUG_TIMEOUT
#define IS_DEAD(x) true
#else
#define IS_DEAD(x) (lock[x] == 0)
#endif
#ifdef BUG_CLOSE_FULL
#define CLOSE_FITS true
#else
#define CLOSE_FITS (frontier - released < C)
#endif
#ifdef BUG_ORPHAN
#define MAY_SUCCEED own
#else
#define MAY_SUCCEED true
#endif

/* The words from `released` lead to the frontier, and end there. */
inline assert_chain()
{
    i = released;
    do
    :: i < frontier -> assert(SAME(map[i % C], i) && LENGTH(map[i % C]) != 0); i = i + LENGTH(map[i % C])
    :: else -> break
    od;
    assert(i == frontier && (frontier - released == C || closed || BEHIND(map[i % C], i)));
    i = 0
}

/* pwrite of the run [h, e). */
inline write_run()
{
    i = h;
    do
    :: i < e ->
        w = map[i % C]; c = 0;
        do
        :: c < LENGTH(w) ->
            was = (IS_COMMITTED(w) -> data[(i + c) % C] : FILLER);
            assert(!IS_COMMITTED(w) || was == BYTES(committed[i % C] - 1, c));
            assert(i + c >= released && (page[(i + c) % C] == 0 || page[(i + c) % C] == was));
            page[(i + c) % C] = was; c++
        :: else -> break
        od;
#ifdef GROUPS
        if :: IS_COMMITTED(w) -> records = records - 1 - (committed[i % C] - 1) / NP :: else fi;
#endif
        i = i + LENGTH(w)
    :: else -> break
    od;
    assert(i == e); /* nothing is there in part */
#ifdef GROUPS
    assert(records == 0);
#endif
    i = 0; c = 0; w = 0; was = 0
}

/* Before the release of [released, e): all is written; from then on its bytes are anybody's. */
inline check_run()
{
    assert(e > released && e <= frontier);
    i = released;
    do
    :: i < e ->
        w = map[i % C]; c = 0;
        assert(COMPLETE(w, i));
        do
        :: c < LENGTH(w) ->
            assert(page[(i + c) % C] == (IS_COMMITTED(w) -> BYTES(committed[i % C] - 1, c) : FILLER));
            page[(i + c) % C] = 0; data[(i + c) % C] = 0; c++
        :: else -> break
        od;
        committed[i % C] = 0; i = i + LENGTH(w)
    :: else -> i = 0; c = 0; w = 0; break
    od
}

/* A ring that begins where the pages end gets the name, all at once. */
#ifdef BUG_BASE
#define START (h + LENGTH(map[h % C]))
#else
#define START h
#endif
#ifdef BUG_UNDRAINED
#define MAY_REPLACE closed
#else
#define MAY_REPLACE IS_CLOSED(map[h % C], h)
#endif
inline succeed()
{
    h = START; e = h; ring = 1;
    do
    :: i < C -> map[i] = WORD(h - C, 0, 0, 0); i++
    :: else -> i = 0; break
    od;
    hint = h; released = h;
    current = 1; closed = 0; own = 0;
#ifndef BUG_MARKS
    mark[0] = 0;
#if NS > 1
    mark[1] = 0;
#endif
#endif
}

proctype writer()
{
    byte h, e, i, c, was; /* head, end of the run */
    short w;
    bit own; /* this writer closed the ring */
    byte mark[NS];
#ifdef CLOSE
    bit ring;
#endif
#ifdef GROUPS
    byte records; /* of the run, as counted */
#endif

begin: /* where the pages end */
    atomic {
#ifdef CLOSE
        ring = current;
#endif
        h = watermark; e = h;
#ifndef BUG_JOIN
        if :: released != h -> goto refresh :: else fi;
#endif
        goto top
    };

top: /* w: the claim seen at the head, or 0 */
    if
    :: CRASH
    :: atomic {
        COMPLETE(map[h % C], h) ->
        assert(h == watermark); e = h + LENGTH(map[h % C]); w = 0; TAKE(h); goto more
    }
    :: atomic { w == 0 && SAME(map[h % C], h) && STATE(map[h % C]) == CLAIMED -> w = map[h % C]; goto top }
    :: atomic { w != 0 && map[h % C] != w -> w = 0; goto top }
    :: atomic { w != 0 && IS_DEAD(OWNER(w)) -> goto abandon }
#ifdef BUG_COUNT_EARLY /* load the count, then the word */
    :: atomic { was == 0 -> was = 1 + COUNT(data[h % C]); goto top }
    :: atomic {
        was != 0 && COMPLETE(map[h % C], h) && STATE(map[h % C]) == COMMITTED_GROUP ->
        e = h + LENGTH(map[h % C]); w = 0; records = was - 1; was = 0; goto more
    }
#endif
#ifdef BUG_PART /* as many of a group's records as the page takes */
    :: atomic {
        COMPLETE(map[h % C], h) && STATE(map[h % C]) == COMMITTED_GROUP ->
        e = h + 1; w = 0; records = 1; goto write
    }
#endif
    SLOT(0)
#if NS > 1
    SLOT(1)
#endif
#ifdef CLOSE
    :: atomic {
        !closed && current == 0 && CLOSE_FITS -> assert_chain(); c = frontier; w = map[c % C]; goto close
    }
    :: atomic { MAY_REPLACE && MAY_SUCCEED -> succeed(); goto mark_replaced }
#endif
#ifdef PARK
    :: atomic { !COMPLETE(map[h % C], h) && live > 0 -> bell = 0; w = 0; goto park }
#endif
    :: atomic {
        live == 0 && ALL_FREE && h == frontier && BEHIND(map[h % C], h) ->
        assert(released == frontier && watermark == frontier); h = 0; e = 0; own = 0; goto over
    }
    fi;

abandon:
    DO(if :: map[h % C] == w -> map[h % C] = WORD(h, ABANDONED, OWNER(w), LENGTH(w)) :: else fi;
       w = 0; goto top);

more: /* a run may end anywhere, and does at the ring's end */
    if
    :: atomic { e % C != 0 && COMPLETE(map[e % C], e) -> TAKE(e); e = e + LENGTH(map[e % C]); goto more }
#ifdef BUG_RELEASE_FIRST
    :: goto release
#endif
#ifdef BUG_PUBLISH_FIRST
    :: atomic { watermark = e; goto write }
#endif
    :: goto write
    fi;
write:
    DO(write_run());
    DO(watermark = e);
refresh:
    if
    :: REFRESH != 0 && LAP(released) % MAX(REFRESH, 1) == REFRESH - 1 ->
#ifdef BUG_REFRESH_SKIP
        i = h;
#else
        i = released;
#endif
        do
        :: CRASH
        :: atomic { i < e && SAME(map[i % C], i) -> i++ }
        :: atomic { i < e && !SAME(map[i % C], i) -> map[i % C] = WORD(i, 0, 0, 0); i++ }
        :: atomic { i >= e -> i = 0; goto release }
        od
    :: else
    fi;
release:
#ifdef BUG_SPACE_FENCE
    DO(own = wanted);
    DO(check_run(); released = e; h = e);
    DO(if :: own -> RING_SPACE :: else fi; own = 0; goto top);
#elif defined(PARK)
    DO(check_run(); released = e; h = e);
    DO(if :: wanted -> RING_SPACE :: else fi; goto top);
#else
    DO(check_run(); released = e; h = e; goto top);
#endif

#ifdef CLOSE
close: /* loses to a claim, or ends the ring */
    DO(if :: map[c % C] == w -> map[c % C] = WORD(c, CLOSED, 0, 1); closed = 1; own = 1 :: else fi;
       c = 0; w = 0; goto top);
mark_replaced: /* for those who come no more to the word CLOSED */
    DO(ring = 0; replaced = 1; ring = 1; goto top);
#endif

#ifdef PARK
park:
    DO(parked = 1);
#if defined(LIGHT) && !defined(BUG_FENCE)
    DO(due[0] = held[0]; due[1] = held[1]);
    if
    :: CRASH
    :: atomic { due[0] == 0 && due[1] == 0 }
    fi;
#endif
#ifndef BUG_NO_LOOK
    if
    :: CRASH
    :: atomic { COMPLETE(map[h % C], h) -> bell = 1; parked = 0; goto top }
    :: atomic { !COMPLETE(map[h % C], h) }
    fi;
#endif
#ifdef BUG_BELL_LATE
    DO(bell = 0);
#endif
    if
    :: CRASH
    :: atomic { bell || kills > 0 }
    :: atomic { live == 0 && BEHIND(map[h % C], h) } /* nobody is left to ring */
    fi;
    DO(bell = 1; parked = 0; goto top);
#endif
over:
    skip
}

init
{
    byte p;
#ifdef CLOSE
    bit ring;
#endif
    atomic {
#ifdef CLOSE
        hint = BASE; released = BASE;
#endif
        do
        :: p < C -> map[p] = WORD(BASE - C, 0, 0, 0); p++
        :: else -> p = 0; break
        od;
#ifdef THREADS
        slot[0] = ATTACHED; lock[0] = 1;
#endif
        do
        :: p < NP ->
#ifdef PRESENT
            slot[p] = ATTACHED; lock[p] = p + 1;
#endif
#ifdef STALL
            at[p] = NOWHERE;
#endif
            run producer(p); p++
        :: else -> p = 0; break
        od;
        run writer()
    }
}
