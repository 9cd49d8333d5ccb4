/*
 * Owns the proof that the real C code keeps its promises in every order of its steps, for small cases:
 * producers, a writer and one who dies are run as coroutines, and a scheduler decides at each labelled
 * step who goes on.  Schedules with few preemptions are explored exhaustively, many more at random.
 * Stores weaker than sequentially consistent go through a store buffer, as on x86 (and as weak as that:
 * what needs a weaker memory is for the model and the thread sanitizer).
 * Must not know how a claim is found, only what every schedule must end with: each record that a call
 * returned for written once, whole and in order, nobody asleep with work to do, nobody spinning.
 *
 *   schedule [--preemptions N] [--seconds N]   all schedules with up to N preemptions (default 2), at most
 *                                              so long for each case; then at random for as long
 *   schedule --case N --replay C,C,...         one schedule, as a failure prints it
 */
#define _GNU_SOURCE

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

static void point(const char *label);
static uint64_t buffered_load(const void *object, int size);
static void buffered_store(void *object, uint64_t value, int size, bool at_once);
static void flush_own(void);

enum { order_relaxed, order_release, order_seq_cst };
#define DL_POINT(label) point(label)
#define LOAD(object, order) buffered_load(&(object), sizeof(object))
#define STORE(object, value, order) \
    buffered_store(&(object), value, sizeof(object), order_##order == order_seq_cst)
#define SWAP(object, expected, value, order) \
    (flush_own(), atomic_compare_exchange_strong(&(object), expected, value))
#define FENCE(order) flush_own()

#include "frames.h"
#include "ring.c"

#include "books.h"

#define MOST_THREADS 4
#define STACK (64u << 10)
#define MOST_CHOICES 4096
#define SPIN 5000 /* steps of one thread without an end: too many */

/* ---- threads -------------------------------------------------------------------------------------- */

enum state { READY, ASLEEP, DONE, DEAD };

struct thread {
    ucontext_t context;
    void *stack;
    void (*run)(uint32_t who);
    uint32_t who;
    enum state state;
    bool mortal;
    bool (*awake)(uint32_t who); /* ASLEEP: until this is true */
    const char *label; /* where it stands */
    uint32_t steps;
    struct { /* stores on their way to memory, the oldest first */
        void *object;
        uint64_t value;
        int size;
    } buffer[64];
    uint32_t buffered;
};

static struct thread threads[MOST_THREADS];
static uint32_t thread_count;
static int running = -1; /* -1: the scheduler */
static ucontext_t scheduler;
static bool dead[MOST];

static void write_back(struct thread *thread, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        memcpy(thread->buffer[i].object, &thread->buffer[i].value, (size_t)thread->buffer[i].size);
    thread->buffered -= count;
    memmove(thread->buffer, thread->buffer + count, thread->buffered * sizeof *thread->buffer);
}

static void flush_own(void)
{
    if (running >= 0)
        write_back(&threads[running], threads[running].buffered);
}

static uint64_t buffered_load(const void *object, int size)
{
    uint64_t value = 0;
    memcpy(&value, object, (size_t)size);
    if (running >= 0)
        for (uint32_t i = 0; i < threads[running].buffered; i++)
            if (threads[running].buffer[i].object == object)
                value = threads[running].buffer[i].value;
    return value;
}

static void buffered_store(void *object, uint64_t value, int size, bool at_once)
{
    if (running < 0) {
        memcpy(object, &value, (size_t)size);
        return;
    }
    struct thread *self = &threads[running];
    if (self->buffered == sizeof self->buffer / sizeof *self->buffer)
        write_back(self, 1);
    self->buffer[self->buffered].object = object;
    self->buffer[self->buffered].value = value;
    self->buffer[self->buffered++].size = size;
    if (at_once)
        flush_own();
}

/* membarrier(): every processor's stores arrive, each at a moment of its own. */
static void run_barrier(void)
{
    for (uint32_t i = 0; i < thread_count; i++) {
        point("barrier");
        write_back(&threads[i], threads[i].buffered);
    }
}

static void point(const char *label)
{
    if (running < 0)
        return;
    struct thread *self = &threads[running];
    self->label = label;
    CHECK(++self->steps < SPIN, "%u spins at %s", self->who, label);
    if (strcmp(label, "hint:B") == 0 || strcmp(label, "commit:C") == 0)
        flush_own(); /* read-modify-write operations, not through a macro */
    swapcontext(&self->context, &scheduler);
}

static void sleep_until(bool (*awake)(uint32_t who))
{
    struct thread *self = &threads[running];
    self->state = ASLEEP;
    self->awake = awake;
    self->label = "asleep";
    swapcontext(&self->context, &scheduler);
}

static void life(int index)
{
    threads[index].run(threads[index].who);
    threads[index].state = DONE;
    threads[index].label = "done";
    swapcontext(&threads[index].context, &scheduler);
}

static void add_thread(void (*run)(uint32_t), uint32_t who, bool mortal)
{
    struct thread *thread = &threads[thread_count];
    void *stack = thread->stack != NULL ? thread->stack : malloc(STACK);
    *thread = (struct thread){.stack = stack, .run = run, .who = who, .mortal = mortal, .label = "start"};
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = stack;
    thread->context.uc_stack.ss_size = STACK;
    thread->context.uc_link = NULL;
    makecontext(&thread->context, (void (*)(void))life, 1, (int)thread_count);
    thread_count++;
}

/* ---- choices -------------------------------------------------------------------------------------- */

/* A schedule is a list of choices: what happened at each moment at which more than one thing could. */
static struct {
    uint16_t options, chosen;
} choices[MOST_CHOICES];
static uint32_t choice_count, replayed, budget;
static uint64_t dice; /* 0: exhaustive */
static uint32_t rarity; /* of a preemption at random: one in so many steps */
static char trace[1 << 16];
static size_t traced;
static bool tracing;

static uint32_t below(uint32_t limit)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((dice >> 33) % limit);
}

/* `free_of_charge`: nothing goes on by itself, so whatever is chosen is no preemption. */
static uint32_t choose(uint32_t options, bool free_of_charge)
{
    if (options == 1 || (budget == 0 && !free_of_charge))
        return 0;
    CHECK(choice_count < MOST_CHOICES, "too many choices");
    uint32_t chosen = 0;
    if (choice_count < replayed)
        chosen = choices[choice_count].chosen;
    else if (dice != 0)
        chosen = free_of_charge || below(rarity) == 0 ? below(options) : 0;
    choices[choice_count].options = (uint16_t)options;
    choices[choice_count++].chosen = (uint16_t)chosen;
    if (chosen != 0 && !free_of_charge && dice == 0)
        budget--;
    return chosen;
}

static void print_schedule(void)
{
    printf("  --replay ");
    for (uint32_t i = 0; i < choice_count; i++)
        printf("%s%u", i == 0 ? "" : ",", choices[i].chosen);
    printf("\n%.*s", (int)traced, trace);
}

static void note(const struct thread *thread, const char *what)
{
    if (tracing && traced < sizeof trace - 100)
        traced += (size_t)sprintf(trace + traced, "  %u %s%s\n", thread->who, what, thread->label);
}

static void resume(int index)
{
    running = index;
    note(&threads[index], "");
    swapcontext(&scheduler, &threads[index].context);
    running = -1;
}

static bool can_run(struct thread *thread)
{
    if (thread->state == ASLEEP && thread->awake(thread->who)) {
        thread->state = READY;
        thread->steps = 0;
    }
    return thread->state == READY;
}

/* One schedule, to the moment when nobody can go on. */
static void play(void)
{
    int last = -1;
    bool may_die = true;
    for (;;) {
        int could[MOST_THREADS], count = 0;
        bool goes_on = last >= 0 && can_run(&threads[last]);
        if (goes_on)
            could[count++] = last;
        for (int i = 0; i < (int)thread_count; i++)
            if (i != last && can_run(&threads[i]))
                could[count++] = i;
        int flushing[MOST_THREADS], flushes = 0;
        for (int i = 0; i < (int)thread_count; i++)
            if (threads[i].buffered != 0)
                flushing[flushes++] = i;
        bool dies = may_die && goes_on && threads[last].mortal;
        if (count == 0) {
            if (flushes == 0)
                return;
            write_back(&threads[flushing[0]], 1); /* in the end every store arrives */
            continue;
        }
        uint32_t chosen = choose((uint32_t)(count + flushes + dies), !goes_on);
        if (chosen < (uint32_t)count) {
            last = could[chosen];
            resume(last);
        } else if (chosen < (uint32_t)(count + flushes)) {
            struct thread *thread = &threads[flushing[chosen - (uint32_t)count]];
            note(thread, "a store arrives, at ");
            write_back(thread, 1);
        } else {
            struct thread *thread = &threads[last];
            note(thread, "dies at ");
            write_back(thread, thread->buffered); /* what it stored, the processor still writes */
            thread->state = DEAD;
            dead[thread->who] = true;
            may_die = false;
            last = -1;
        }
    }
}

/* ---- what threads do ------------------------------------------------------------------------------ */

static uint32_t rounds[MOST]; /* how often each logs */
static uint64_t released_before; /* what a producer without room saw */
static bool ended[MOST];

static bool has_room(uint32_t who)
{
    (void)who;
    return atomic_load(&ring.control->released) != released_before;
}

static void produce(uint32_t who)
{
    for (uint32_t i = 0; i < rounds[who]; i++) {
        int status;
        while ((status = append_ready(who)) == DL_FULL) {
            released_before = atomic_load(&ring.control->released);
            if ((status = append_ready(who)) != DL_FULL)
                break;
            sleep_until(has_room);
        }
        if (status == DL_ENDED) {
            ended[who] = true;
            return;
        }
        CHECK(status == DL_OK, "%u was answered %d", who, status);
        for (uint32_t k = 0; k < counts[who]; k++)
            fill(&ready[who][k], who, (uint32_t)outside->tried[who] + k, items[who][k].length - 8);
    }
}

static uint32_t bell_before;

static bool is_rung_or_over(uint32_t who)
{
    (void)who;
    if (atomic_load(&ring.control->bell) != bell_before)
        return true;
    /* The sleep has a limit, for the sake of a bell or a commit that died with its producer: then, and only
     * then, it may be what wakes. */
    struct dl_segment segment;
    if (!dead[VICTIM])
        return false;
    int self = running;
    running = -1;
    dl_drain(&ring, outside->watermark, NO_LIMIT, NO_LIMIT, &segment);
    running = self;
    return segment.end != outside->watermark || (segment.stop == DL_STOP_CLAIMED && dead[segment.next % MOST]);
}

static void write_pages(uint32_t who)
{
    (void)who;
    for (;;) {
        enum dl_stop stop = consume(dead);
        CHECK(stop != DL_STOP_DAMAGED && stop != DL_STOP_LIMIT, "stop %d", stop);
        if (stop == DL_STOP_CLOSED)
            return;
        bell_before = atomic_load(&ring.control->bell);
        dl_park(&ring);
        if (atomic_load(&ring.control->barrier) != 0)
            run_barrier();
        if (dl_may_sleep(&ring, outside->watermark)) {
            sleep_until(is_rung_or_over);
            dl_unpark(&ring);
        }
        threads[running].steps = 0;
    }
}

static void write_and_close(uint32_t who)
{
    (void)who;
    while (!dl_close(&ring, dl_frontier(&ring, outside->watermark)))
        consume(dead);
    write_pages(who);
}

/* ---- cases ---------------------------------------------------------------------------------------- */

static void log_as(uint32_t who, uint32_t times, uint32_t count, uint64_t length)
{
    rounds[who] = times;
    make_ready(who, count, length);
}

/* One would leave its fence to the writer's barrier, and does where there is one. */
static void writer_first(void (*run)(uint32_t))
{
    add_thread(run, 0, false);
    claimants[VICTIM].light = true;
}

static void two_producers(void)
{
    begin(0, 512);
    atomic_store(&ring.control->barrier, 1);
    writer_first(write_pages);
    log_as(VICTIM, 1, 1, 10);
    log_as(OTHER, 1, 1, 40);
    add_thread(produce, VICTIM, false);
    add_thread(produce, OTHER, false);
}

static void one_who_dies(void)
{
    two_producers();
    threads[1].mortal = true;
}

static void a_group(void)
{
    begin(0, CAPACITY - 64);
    writer_first(write_pages);
    log_as(VICTIM, 1, 3, 20);
    log_as(OTHER, 2, 1, 100);
    add_thread(produce, VICTIM, true);
    add_thread(produce, OTHER, false);
}

static void padding(void)
{
    begin(0, CAPACITY - 128);
    writer_first(write_pages);
    log_as(VICTIM, 1, 1, 700);
    log_as(OTHER, 1, 1, 300);
    add_thread(produce, VICTIM, true);
    add_thread(produce, OTHER, false);
}

static void closing(void)
{
    begin(0, 512);
    writer_first(write_and_close);
    log_as(VICTIM, 2, 1, 10);
    log_as(OTHER, 1, 1, 10);
    add_thread(produce, VICTIM, true);
    add_thread(produce, OTHER, false);
}

static void without_room(void)
{
    begin(0, 512);
    while (append(BYSTANDER, 900) == DL_OK) {
    }
    writer_first(write_pages);
    log_as(VICTIM, 1, 1, 900);
    log_as(OTHER, 1, 1, 900);
    add_thread(produce, VICTIM, true);
    add_thread(produce, OTHER, false);
}

/* One may be stopped anywhere while the other goes round the ring, its frames at the same places. */
static void laps(uint64_t base)
{
    begin(base, 1024);
    writer_first(write_pages);
    log_as(VICTIM, 1, 1, 1024 - 32);
    log_as(OTHER, 7, 1, 1024 - 32);
    add_thread(produce, VICTIM, true);
    add_thread(produce, OTHER, false);
}
static void some_laps(void) { laps(0); }
static void laps_where_tags_wrap(void) { laps(((uint64_t)DL_TAG_MASK - 2) * CAPACITY); }

/* Granules at which no frame starts for laps: without refreshed tags they would come to look later. */
static void laps_that_refresh(void)
{
    begin(0, 512);
    for (int i = 0; i < 40; i++) {
        append(BYSTANDER, 700);
        consume(dead);
    }
    writer_first(write_pages);
    log_as(VICTIM, 3, 1, 10);
    log_as(OTHER, 12, 1, 900);
    add_thread(produce, VICTIM, false);
    add_thread(produce, OTHER, false);
}

static const struct {
    const char *name;
    void (*prepare)(void);
} cases[] = {
    {"two producers", two_producers},
    {"one who dies", one_who_dies},
    {"a group", a_group},
    {"padding", padding},
    {"closing", closing},
    {"without room", without_room},
    {"some laps", some_laps},
    {"laps where tags wrap", laps_where_tags_wrap},
    {"laps that refresh", laps_that_refresh},
};
#define CASES (sizeof cases / sizeof *cases)

/* ---- exploring ------------------------------------------------------------------------------------ */

static void check_end(void)
{
    for (uint32_t i = 1; i < thread_count; i++)
        CHECK(threads[i].state == DONE || threads[i].state == DEAD, "%u waits for ever at %s", threads[i].who,
              threads[i].label);
    CHECK(threads[0].state == DONE || threads[0].state == ASLEEP, "the writer stands at %s", threads[0].label);
    uint64_t written = outside->watermark;
    enum dl_stop stop = consume(dead);
    CHECK(outside->watermark == written, "the writer sleeps, and there is something to write");
    CHECK(stop == (threads[0].state == DONE ? DL_STOP_CLOSED : DL_STOP_EMPTY), "stop %d", stop);
    check_pages();
}

static void begin_case(uint32_t number)
{
    current = cases[number].name;
    choice_count = 0;
    traced = 0;
    thread_count = 0;
    memset(dead, 0, sizeof dead);
    memset(ended, 0, sizeof ended);
    cases[number].prepare();
}

/* The next schedule in order; false after the last. */
static bool advance(void)
{
    while (choice_count > 0 && choices[choice_count - 1].chosen + 1 == choices[choice_count - 1].options)
        choice_count--;
    if (choice_count == 0)
        return false;
    choices[choice_count - 1].chosen++;
    replayed = choice_count;
    return true;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run_once(uint32_t number, uint32_t preemptions)
{
    budget = preemptions;
    begin_case(number);
    play();
    check_end();
}

static void explore(uint32_t number, uint32_t preemptions, double seconds)
{
    double end = now() + seconds;
    uint64_t count = 0;
    bool all = true;
    dice = 0;
    replayed = 0;
    do {
        current_at = count;
        run_once(number, preemptions);
        count++;
        if (now() > end) {
            all = false;
            break;
        }
    } while (advance());
    printf("%-22s %8llu schedules, %s with up to %u preemptions;", cases[number].name,
           (unsigned long long)count, all ? "all" : "the first", preemptions);
    replayed = 0;
    uint64_t random = 0;
    for (end = now() + seconds; now() < end; random++) {
        current_at = random;
        dice = random * 2 + 1;
        rarity = 8u << random % 3 * 2;
        run_once(number, UINT32_MAX);
    }
    printf(" %llu at random\n", (unsigned long long)random);
}

int main(int argc, char **argv)
{
    uint32_t preemptions = 2;
    int only = -1;
    double seconds = 2;
    char *replay = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--preemptions") == 0)
            preemptions = (uint32_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--case") == 0)
            only = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--replay") == 0)
            replay = argv[i + 1];
        else
            return 2;
    }
    memory_size = dl_ring_size(CAPACITY);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    outside = mmap(NULL, sizeof *outside, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && outside != MAP_FAILED, "no memory");
    setvbuf(stdout, NULL, _IOLBF, 0);
    on_failure = print_schedule;
    if (replay != NULL) {
        for (char *at = replay; *at != 0; at += *at == ',')
            choices[replayed++].chosen = (uint16_t)strtoul(at, &at, 10);
        tracing = true;
        run_once((uint32_t)only, UINT32_MAX);
        print_schedule();
        return 0;
    }
    for (uint32_t i = 0; i < CASES; i++)
        if (only < 0 || only == (int)i)
            explore(i, preemptions, seconds);
    printf("every schedule kept the promises\n");
    return 0;
}
