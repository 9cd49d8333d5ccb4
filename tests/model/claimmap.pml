/* The ring protocol as a SPIN model: claim, commit, abandon, drain, publish, release, attach, detach,
 * close, park, with a kill between any two steps of a producer and a crash between any two of the writer.
 * `run` beside this file checks that every configuration holds and that every mutant is caught.
 *
 * MODELLED, one access to shared memory per step:
 *   producer  lock the slot's byte, look at its state, store ATTACHED; load hint, `released`, words of the
 *             map; swap a word to PADDING or CLAIMED, after a failed swap judge the word it returned; move
 *             the hint, or not; fill granule by granule; commit; look at `parked`, before or after the commit
 *             is visible (LIGHT), take it, ring; say that
 *             space is wanted, look again, sleep; store DETACHED, drop the lock.  `last` and `seen` are the
 *             claimant's, which threads share (THREADS).
 *   writer    begin at the watermark, which may be ahead of `released`; gather a run of complete frames of
 *             any length; write, publish, refresh tags granule by granule, release, wake sleepers for
 *             space; abandon the head if its owner's lock is free; mark dead slots with the frontier, free
 *             them when that is released, detached ones at once; close at the frontier, then make the
 *             successor; store `parked`, run the barrier of all (LIGHT), look again, sleep on the bell.
 *   A sleep ends by itself only if somebody was killed: a wake-up that can be lost is a deadlock.
 *
 * ASSERTED: a claim succeeds only at the frontier, into released space, in a ring not closed.  A granule is
 * filled when it is empty, under a claim that stands.  What is written is what was committed, all of it, and
 * the same if written twice; nothing is released unwritten.  A slot is taken when no claim of its former
 * owner is left.  A start over moves forward.  The words from `released` lead to the frontier.  In the end
 * all is drained and every slot is free: invalid end states count.
 *
 * ABSTRACTED: a producer may go by an older value of `released`, which `seen` remembers; the code looks anew
 * before each swap, one of the ways open to the model.  Memory is sequentially consistent; what a missing fence would do is written out as the order
 * it permits (LIGHT, BUG_SPACE_FENCE, BUG_LAST_LATE); the barrier waits for the commits that were held back
 * when it began, each for itself, as membarrier does.  The kernel's lock is the only witness of death
 * and falls with the process.  The words of a frontier walk are read at once (a slower walk ends later), so
 * is a run that is written (nobody may change it); a hint swap with its retries is one maximum.  A granule's
 * bytes are one number that names producer and place.  Positions begin two laps before the tags wrap.
 *
 * ASSUMED: no producer sleeps between its load of the hint and its swap while the others go through half of
 * the tags, 2^27 laps.  STALL holds them to that; BUG_STALL does not, and shows that it has to be assumed.
 * And frames are no longer than half the ring, or padding would have to ring (BUG_LONG).
 *
 * RUN  tests/model/run, or one configuration by hand:
 *   spin -DNP=2 -DNS=1 -DRECS=2 -DKILLS=2 -DWCRASH=1 -a claimmap.pml
 *   gcc -O2 -w -DSAFETY -DVECTORSZ=512 -DMEMLIM=3500 -o pan pan.c && ./pan -m100000
 *
 * STATES (spin 6.5.2), none with an error:
 *   reuse 538,919, slots 872,678, pair 775,290, three 1,159,157, close 744,960, park 1,019,492,
 *   park-killed 182,691, park-light 1,688,336, park-light-killed 221,811, wrap 693,933, stall 634,867, threads 1,254,193, threads-killed 477,013
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
 * GIVEUP a full ring is an answer, too; CLOSE; PARK, with sleepers for space; STALL, see above. */
#ifdef STALL
#define PRESENT
#endif

/* A word: tag, state (3 bits), owner (2), length (3). */
#define CLAIMED 1
#define COMMITTED 2
#define ABANDONED 3
#define PADDING 4
#define CLOSED 5
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
#define COMPLETE(w, p) (SAME(w, p) && STATE(w) >= COMMITTED && STATE(w) <= PADDING)

#define FREE 0
#define ATTACHED 1
#define DETACHED 2

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define BYTES(producer, i) (1 + (producer) + NP * (i))
#define FILLER 255

/* Shared memory. */
short map[C];
byte data[C];
byte hint = BASE, released = BASE;
byte slot[NS];
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

/* The page file's watermark; the kernel's locks (producer + 1); the successor of a closed ring. */
byte watermark = BASE;
byte lock[NS];
bit successor;

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
bit closed;
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
        last[me] = 0; seen[me] = 0; tried = 0; s = 0; live--; FORGET; goto over                              \
    }
#endif
#define FORGET T = NOWHERE; see = 0; size = 0; n = 0; i = 0; w = 0
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
        if :: STATE(w) == CLOSED -> w = 0; goto ended :: else -> T = T + LENGTH(w); w = 0; goto walk fi
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
    i = released;
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
#ifndef STALL
    byte t;
#endif

#if defined(PRESENT)
    s = me; goto next;
#elif defined(THREADS)
    goto next;
#endif
attach:
    if
    :: DIE
    :: atomic { LOCK(0) }
#if NS > 1
    :: atomic { (lock[0] != 0 || slot[0] != FREE) && LOCK(1) } /* in order */
#endif
    fi;
#ifdef BUG_LOCK_ONLY
    STEP(slot[s] = FREE);
#else
    STEP_EITHER(slot[s] == FREE, skip, lock[s] = 0; s = 0; goto attach);
#endif
    STEP(assert(slot[s] == FREE); assert_nothing_left(); slot[s] = ATTACHED; tried = 0; goto next);

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
    STEP(see = seen[MINE]; T = MAX(MAX(hint, see), last[MINE]));
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
            assert(T == frontier && T + C - T % C - released <= C && !closed);
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
            assert(T == frontier && T + size - released <= C && !closed);
            map[T % C] = WORD(T, CLAIMED, s, size); w = 0; frontier = T + size; NOTE_OWN_CLAIM
        :: else -> w = map[T % C]; judge()
        fi);
#ifdef THREADS
    STEP(NOTE_CLAIM);
#endif
#define COMMIT                                                                                               \
    assert(map[T % C] == WORD(T, CLAIMED, s, size));                                                         \
    map[T % C] = WORD(T, COMMITTED, s, size); committed[T % C] = me + 1; T = NOWHERE; size = 0; i = 0
move: /* the hint: now and then, and at the end of a lap */
    STEP(hint = MAX(hint, T + size));
fill:
    if
    :: DIE
    :: atomic {
        UP && i < size ->
        assert(map[T % C] == WORD(T, CLAIMED, s, size) && data[(T + i) % C] == 0);
        data[(T + i) % C] = BYTES(me, i); i++; goto fill
    }
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
    STEP_WHEN(successor, goto detach);

detach:
#ifdef THREADS
    STEP(FORGET; threads--; if :: threads == 0 :: else -> live--; goto over fi);
#endif
#ifdef BUG_UNLOCK_FIRST
    STEP(FORGET; lock[s] = 0);
    STEP(slot[s] = DETACHED; last[MINE] = 0; seen[MINE] = 0; s = 0; live--);
#else
    STEP(FORGET; slot[s] = DETACHED);
    STEP(lock[s] = 0; last[MINE] = 0; seen[MINE] = 0; s = 0; live--);
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
#define FORGET_ALL e = 0; i = 0; c = 0; w = 0; was = 0; own = 0; mark[0] = 0
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
#define IS_DEAD(x) (slot[x] != ATTACHED || lock[x] == 0)
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
#define IS_CLOSED(w, p) (SAME(w, p) && STATE(w) == CLOSED)

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
            was = (STATE(w) == COMMITTED -> data[(i + c) % C] : FILLER);
            assert(STATE(w) != COMMITTED || was == BYTES(committed[i % C] - 1, c));
            assert(i + c >= released && (page[(i + c) % C] == 0 || page[(i + c) % C] == was));
            page[(i + c) % C] = was; c++
        :: else -> break
        od;
        i = i + LENGTH(w)
    :: else -> i = 0; c = 0; w = 0; was = 0; break
    od
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
            assert(page[(i + c) % C] == (STATE(w) == COMMITTED -> BYTES(committed[i % C] - 1, c) : FILLER));
            page[(i + c) % C] = 0; data[(i + c) % C] = 0; c++
        :: else -> break
        od;
        committed[i % C] = 0; i = i + LENGTH(w)
    :: else -> i = 0; c = 0; w = 0; break
    od
}

proctype writer()
{
    byte h, e, i, c, was; /* head, end of the run */
    short w;
    bit own; /* this writer closed the ring */
    byte mark[NS];

begin: /* where the pages end */
    atomic {
        h = watermark; e = h;
#ifndef BUG_JOIN
        if :: released != h -> goto refresh :: else fi;
#endif
        goto top
    };

top: /* w: the claim seen at the head, or 0 */
    if
    :: CRASH
    :: atomic { COMPLETE(map[h % C], h) -> e = h + LENGTH(map[h % C]); w = 0; goto more }
    :: atomic { w == 0 && SAME(map[h % C], h) && STATE(map[h % C]) == CLAIMED -> w = map[h % C]; goto top }
    :: atomic { w != 0 && map[h % C] != w -> w = 0; goto top }
    :: atomic { w != 0 && IS_DEAD(OWNER(w)) -> goto abandon }
    SLOT(0)
#if NS > 1
    SLOT(1)
#endif
#ifdef CLOSE
    :: atomic { !closed && CLOSE_FITS -> assert_chain(); c = frontier; w = map[c % C]; goto close }
    :: atomic {
        h == frontier && IS_CLOSED(map[h % C], h) && !successor && MAY_SUCCEED ->
        successor = 1; goto top
    }
#endif
#ifdef PARK
    :: atomic { !COMPLETE(map[h % C], h) && live > 0 -> bell = 0; w = 0; goto park }
#endif
    :: atomic {
        live == 0 && ALL_FREE && h == frontier && (closed -> successor : BEHIND(map[h % C], h)) ->
        assert(released == frontier); h = 0; e = 0; own = 0; goto over
    }
    fi;

abandon:
    DO(if :: map[h % C] == w -> map[h % C] = WORD(h, ABANDONED, OWNER(w), LENGTH(w)) :: else fi;
       w = 0; goto top);

more: /* a run may end anywhere, and does at the ring's end */
    if
    :: atomic { e % C != 0 && COMPLETE(map[e % C], e) -> e = e + LENGTH(map[e % C]); goto more }
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
    atomic {
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
