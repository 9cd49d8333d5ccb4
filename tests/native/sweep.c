/*
 * Owns the proof that no instruction is the wrong one to die at.  A process is single-stepped by ptrace
 * through one operation on a ring.  After instruction 0, 1, 2, ... it is taken for dead, as it stands: a
 * bystander must get its record in at once, and what a writer then finds must be whole: every record of
 * the bystander once and in order, the victim's wholly or not at all, and certainly if its call returned.
 * Then all memory is put back and the next instruction executed.  Writers are swept in the same way: what
 * they wrote to their pages, and the successor from there on, must hold everything once.
 * Where the victim goes on after a while, or two are stopped at once, it is killed or continued for real,
 * at instructions drawn at random.
 * Must not know at which instruction what happens.
 *
 *   sweep [--freezes N] [--pairs N]   every operation; and so many freezes and pairs of each (default 30)
 *   sweep --possible                  exit 0 if this machine lets a process trace its child
 */
#define _GNU_SOURCE

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "frames.h"
#include "ring.c"

#include "books.h"

#define HANG 20 /* seconds for what takes milliseconds */

/* A new writer: the pages may be ahead of what was released. */
static void take_over(void)
{
    dl_retire_resume(&ring);
    uint64_t position = atomic_load(&ring.control->released);
    CHECK(position <= outside->watermark, "released before it was written");
    while (position < outside->watermark) {
        struct dl_segment segment;
        dl_drain(&ring, position, outside->watermark - position, NO_LIMIT, &segment);
        CHECK(segment.end > position, "the ring does not hold what the pages do");
        dl_release(&ring, position, segment.end);
        position = segment.end;
    }
}

static const bool NOBODY[MOST], THE_VICTIM[MOST] = {[VICTIM] = true};

/* ---- operations ----------------------------------------------------------------------------------- */

static void log_it(uint32_t who) { append_ready(who); }

static void in_the_middle(void) { begin(0, 512); }
static void at_the_end(void) { begin(0, CAPACITY - 128); }
static void at_the_very_end(void) { begin(0, CAPACITY - 64); }
static void where_tags_wrap(void) { begin(((uint64_t)DL_TAG_MASK - 1) * CAPACITY, CAPACITY - 64); }
static void without_room(void)
{
    begin(0, 1024);
    while (append(BYSTANDER, 700) == DL_OK) {
    }
    while (append(BYSTANDER, 0) == DL_OK) {
    }
}
static void behind_a_stale_hint(void)
{
    begin(0, 512);
    for (int i = 0; i < 20; i++)
        append(BYSTANDER, 10);
    claimants[VICTIM].last = 0;
    atomic_store(&ring.control->hint, 512);
}
static void while_the_writer_sleeps(void)
{
    begin(0, 512);
    dl_park(&ring);
    CHECK(dl_may_sleep(&ring, outside->watermark), "nothing is claimed");
}
static void when_it_is_closed(void)
{
    begin(0, 512);
    CHECK(dl_close(&ring, outside->watermark), "nothing is claimed");
}

struct operation {
    const char *name;
    void (*prepare)(void);
    void (*act)(uint32_t who);
    uint32_t count; /* of records in a producer's operation */
    uint64_t length; /* of each */
    int answer; /* the bystander's */
};
static const struct operation operations[] = {
    {"a record", in_the_middle, log_it, 1, 40, DL_OK},
    {"a long record", in_the_middle, log_it, 1, 700, DL_OK},
    {"a group", in_the_middle, log_it, 3, 20, DL_OK},
    {"a record behind padding", at_the_end, log_it, 1, 700, DL_OK},
    {"a group behind padding", at_the_very_end, log_it, 3, 20, DL_OK},
    {"a record where tags wrap", where_tags_wrap, log_it, 1, 700, DL_OK},
    {"a record where there is no room", without_room, log_it, 1, 40, DL_FULL},
    {"a record behind a stale hint", behind_a_stale_hint, log_it, 1, 40, DL_OK},
    {"a record while the writer sleeps", while_the_writer_sleeps, log_it, 1, 10, DL_OK},
    {"a record in a closed ring", when_it_is_closed, log_it, 1, 40, DL_ENDED},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* ---- writers' operations: the victim is the writer ------------------------------------------------- */

static void with_all_kinds(uint64_t base)
{
    begin(base, CAPACITY - 1024);
    append(BYSTANDER, 100);
    uint64_t position;
    CHECK(claim(&ring, &claimants[VICTIM], VICTIM, 4, 0, &position) == DL_OK, "no room");
    append_group(BYSTANDER, 3, 30);
    append(BYSTANDER, 800); /* behind padding */
    append(BYSTANDER, 0);
}
static void of_all_kinds(void) { with_all_kinds(0); }
static void of_a_lap_that_refreshes(void) { with_all_kinds((DL_REFRESH_LAPS - 2) * CAPACITY); }
static void of_a_slot_to_retire(void)
{
    begin(0, 512);
    atomic_store(&ring.slots[VICTIM].logged, 7);
    atomic_store(&ring.slots[VICTIM].dropped, 5);
}

static void drain_all(uint32_t who)
{
    (void)who;
    consume(THE_VICTIM);
}
static void retire(uint32_t who)
{
    if ((uint32_t)atomic_load(&ring.slots[who].word) != DL_SLOT_FREE)
        dl_retire(&ring, who);
}
static void close_at_frontier(uint32_t who)
{
    (void)who;
    dl_close(&ring, dl_frontier(&ring, outside->watermark));
}
static void park(uint32_t who)
{
    (void)who;
    dl_park(&ring);
    dl_may_sleep(&ring, outside->watermark);
    dl_unpark(&ring);
}

static const struct operation writings[] = {
    {"draining all kinds", of_all_kinds, drain_all, 0, 0, DL_OK},
    {"draining a lap that refreshes", of_a_lap_that_refreshes, drain_all, 0, 0, DL_OK},
    {"retiring a slot", of_a_slot_to_retire, retire, 0, 0, DL_OK},
    {"closing", of_all_kinds, close_at_frontier, 0, 0, DL_OK},
    {"parking", in_the_middle, park, 0, 0, DL_OK},
};
#define WRITINGS (sizeof writings / sizeof *writings)

/* ---- tracing -------------------------------------------------------------------------------------- */

static pid_t start(void (*act)(uint32_t), uint32_t who)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(2);
        raise(SIGSTOP);
        act(who);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %x", status);
    return pid;
}

/* Let it execute so many instructions.  False if it ended before; then it is reaped. */
static bool step(pid_t pid, uint64_t instructions)
{
    for (uint64_t i = 0; i < instructions; i++) {
        int status;
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0, "%s", strerror(errno));
        CHECK(waitpid(pid, &status, 0) == pid, "%s", strerror(errno));
        if (WIFEXITED(status)) {
            CHECK(WEXITSTATUS(status) == 0, "status %x", status);
            return false;
        }
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "status %x", status);
    }
    return true;
}

static void stop_for_good(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "status %x", status);
}

static void go_on(pid_t pid)
{
    int status;
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0, "%s", strerror(errno));
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x",
          status);
}

/* ---- sweeps --------------------------------------------------------------------------------------- */

/* All memory that outlives a process, as it stood at some moment. */
struct state {
    uint8_t *memory;
    struct outside outside;
    struct dl_claimant claimants[MOST];
};
static struct state before, between;

static void save(struct state *state)
{
    if (state->memory == NULL)
        state->memory = malloc(memory_size);
    CHECK(state->memory != NULL, "no memory");
    memcpy(state->memory, memory, memory_size);
    memcpy(&state->outside, outside, sizeof *outside);
    memcpy(state->claimants, claimants, sizeof claimants);
}

static void restore(const struct state *state)
{
    memcpy(memory, state->memory, memory_size);
    memcpy(outside, &state->outside, sizeof *outside);
    memcpy(claimants, state->claimants, sizeof claimants);
    alarm(HANG);
}

static void stand_by(const struct operation *operation)
{
    int status = append(BYSTANDER, 10);
    CHECK(status == operation->answer, "%d", status);
}

/* The end of every life: the ring is empty, or closed, and takes what the bystander logs. */
static void check_end(const struct operation *operation, enum dl_stop stop, const bool dead[MOST])
{
    bool closed = operation->answer == DL_ENDED;
    CHECK(stop == (closed ? DL_STOP_CLOSED : DL_STOP_EMPTY), "stop %d", stop);
    CHECK(closed || append(BYSTANDER, 10) == DL_OK, "no room in an empty ring");
    consume(dead);
    check_pages();
}

static void after_a_producer(const struct operation *operation)
{
    stand_by(operation);
    if (current_at % 2) /* by turns: the bystander behind the claim, or behind what became of it */
        stand_by(operation);
    check_end(operation, consume(THE_VICTIM), THE_VICTIM);
}

static void after_a_writer(const struct operation *operation)
{
    int status = append(BYSTANDER, 10);
    bool closing = operation->act == close_at_frontier;
    CHECK(status == DL_OK || (status == DL_ENDED && closing), "%d", status);
    take_over();
    if (operation->act == retire) {
        retire(VICTIM);
        struct dl_control *control = ring.control;
        uint64_t count = atomic_load(&control->retired_count);
        CHECK(count == 1 && atomic_load(&control->totals[1][0]) == 7
                  && atomic_load(&control->totals[1][1]) == 5,
              "counted %llu times", (unsigned long long)count);
    }
    enum dl_stop stop = consume(THE_VICTIM);
    CHECK(stop == DL_STOP_EMPTY || (stop == DL_STOP_CLOSED && closing), "stop %d", stop);
    check_pages();
}

/* Every instruction of an operation; returns how many it has. */
static uint64_t sweep(const struct operation *operation, void (*after)(const struct operation *))
{
    current = operation->name;
    current_at = 0;
    operation->prepare();
    for (uint32_t who = VICTIM; who <= OTHER && operation->count != 0; who++)
        make_ready(who, operation->count, operation->length);
    save(&before);
    pid_t pid = start(operation->act, VICTIM);
    bool alive;
    do {
        save(&between);
        after(operation);
        restore(&between);
        current_at++;
        alive = step(pid, 1);
    } while (alive);
    after(operation); /* it died of old age */
    return current_at;
}

static uint64_t dice = 1;

static uint64_t below(uint64_t limit)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (dice >> 33) % limit;
}

/* Frozen somewhere, while the others go on as far as they can; then it goes on, or is killed. */
static void freeze(const struct operation *operation, uint64_t length)
{
    restore(&before);
    current_at = below(length);
    bool killed = below(4) == 0;
    pid_t pid = start(operation->act, VICTIM);
    bool alive = step(pid, current_at);
    stand_by(operation);
    CHECK(consume(NOBODY) != DL_STOP_DAMAGED, "damaged");
    if (alive && killed)
        stop_for_good(pid);
    else if (alive)
        go_on(pid);
    const bool *dead = alive && killed ? THE_VICTIM : NOBODY;
    if (operation->answer == DL_OK && !(alive && killed))
        CHECK(outside->returned[VICTIM] == operation->count, "it did not come through");
    check_end(operation, consume(dead), dead);
}

/* Two producers stopped somewhere, the second while the first stands still. */
static void pair(const struct operation *operation, uint64_t length)
{
    restore(&before);
    current_at = below(length);
    bool killed = below(2) == 0;
    pid_t one = start(operation->act, VICTIM);
    bool one_alive = step(one, current_at);
    pid_t two = start(operation->act, OTHER);
    bool two_alive = step(two, below(length));
    stand_by(operation);
    if (two_alive)
        stop_for_good(two);
    bool dead[MOST] = {[VICTIM] = false, [OTHER] = two_alive};
    CHECK(consume(dead) != DL_STOP_DAMAGED, "damaged");
    if (one_alive && killed)
        stop_for_good(one);
    else if (one_alive)
        go_on(one);
    dead[VICTIM] = one_alive && killed;
    check_end(operation, consume(dead), dead);
}

int main(int argc, char **argv)
{
    uint64_t freezes = 30, pairs = 30, instructions = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--possible") == 0) {
            pid_t pid = fork();
            if (pid == 0)
                _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
            int status;
            return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
        }
        if (strcmp(argv[i], "--freezes") == 0 && i + 1 < argc)
            freezes = (uint64_t)atoll(argv[++i]);
        else if (strcmp(argv[i], "--pairs") == 0 && i + 1 < argc)
            pairs = (uint64_t)atoll(argv[++i]);
        else {
            fprintf(stderr, "sweep [--freezes N] [--pairs N] | --possible\n");
            return 2;
        }
    }
    memory_size = dl_ring_size(CAPACITY);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    outside = mmap(NULL, sizeof *outside, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && outside != MAP_FAILED, "no memory");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < OPERATIONS; i++) {
        uint64_t length = sweep(&operations[i], after_a_producer);
        for (uint64_t k = 0; k < freezes; k++)
            freeze(&operations[i], length);
        for (uint64_t k = 0; k < pairs; k++)
            pair(&operations[i], length);
        instructions += length;
        printf("%-36s %5llu instructions\n", current, (unsigned long long)length);
    }
    for (size_t i = 0; i < WRITINGS; i++) {
        uint64_t length = sweep(&writings[i], after_a_writer);
        instructions += length;
        printf("%-36s %5llu instructions\n", current, (unsigned long long)length);
    }
    printf("stopped at each of %llu instructions of %d operations, frozen %llu times, in pairs %llu times\n",
           (unsigned long long)instructions, (int)(OPERATIONS + WRITINGS),
           (unsigned long long)(freezes * OPERATIONS), (unsigned long long)(pairs * OPERATIONS));
    return 0;
}
