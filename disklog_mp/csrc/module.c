/* _core: the C core as Python objects.  It maps memory, reads the clock, sleeps on futex words and turns bytes
 * into records; what a status means for a caller (wait, drop, raise, re-attach) is decided in session.py,
 * which session.log calls only off the fast path.  Only this file and events.c know Python.
 */
#include "binding.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"
#include "frames.h"
#include "ring.h"
#include "wall_clock.h"

#define RELEASE_GIL_ABOVE 16384u /* bytes: below it the copy is shorter than giving the GIL back */
#define WRITER_SILENCE 1000000000ull /* ns without a heartbeat before a producer looks closer */

static const char RECORD_NAME[] = "disklog_mp.Record";

/* ---- time, futex, fork ------------------------------------------------------------------------------ */

/* Relative, so on the monotonic clock: a step of the wall clock lengthens no wait. */
static int futex_wait(const void *word, uint32_t expected, double seconds)
{
    struct timespec limit = {.tv_sec = (time_t)seconds};
    limit.tv_nsec = (long)((seconds - (double)limit.tv_sec) * 1e9);
    return (int)syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
}

static int futex_wake(const void *word, int count)
{
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

/* The barrier of PARKING in ring.h.  False where the kernel has none, or a sandbox forbids it. */
static bool membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/* The kernel zeroes this page in a forked child: the token there no longer matches, without a system call
 * on the way.  Tokens count up, so a child's is never its parent's. */
static _Atomic uint64_t *fork_page;
static uint64_t last_token;

static int make_fork_page(void)
{
    if (fork_page != NULL)
        return 0;
    void *page = mmap(NULL, DL_OS_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -1;
    (void)madvise(page, DL_OS_PAGE, MADV_WIPEONFORK); /* where it is missing, forked() does it */
    fork_page = page;
    return 0;
}

static uint64_t fork_token(void)
{
    uint64_t token = atomic_load_explicit(fork_page, memory_order_relaxed);
    if (token != 0)
        return token;
    token = ++last_token;
    atomic_store_explicit(fork_page, token, memory_order_relaxed);
    return token;
}

static PyObject *core_forked(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    atomic_store_explicit(fork_page, 0, memory_order_relaxed);
    Py_RETURN_NONE;
}

/* ---- helpers ---------------------------------------------------------------------------------------- */

void dl_free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DecRef((PyObject *)type);
}

PyObject *dl_new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

/* ---- files cut under a reader ----------------------------------------------------------------------- */

/* A page file that somebody else cuts, or that the disk cannot read, takes memory away from under whoever
 * looks into it: SIGBUS.  There it gets zeros, which no frame is made of: they are passed over, and
 * reported, like any damage.  What its writer stores there is lost with the rest of the page, which it
 * sees to before it writes more.  Rings are left to the signal: a record must not vanish. */
#define GUARDED 4096 /* mappings; what is mapped beyond them is as it was */
static struct {
    _Atomic uintptr_t start, end; /* start 0: free */
    _Atomic int access;
} guarded[GUARDED];
static struct sigaction former_sigbus;
static uintptr_t os_page;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARDED && info->si_code > 0; i++) {
        uintptr_t start = atomic_load_explicit(&guarded[i].start, memory_order_acquire);
        if (start == 0 || at < start || at >= atomic_load_explicit(&guarded[i].end, memory_order_relaxed))
            continue;
        int before = errno;
        void *zeros = mmap((void *)(at & ~(os_page - 1)), os_page,
                           atomic_load_explicit(&guarded[i].access, memory_order_relaxed),
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        errno = before;
        if (zeros != MAP_FAILED)
            return;
    }
    if (former_sigbus.sa_flags & SA_SIGINFO) {
        former_sigbus.sa_sigaction(number, info, context);
    } else if (former_sigbus.sa_handler != SIG_DFL && former_sigbus.sa_handler != SIG_IGN) {
        former_sigbus.sa_handler(number);
    } else {
        signal(number, SIG_DFL);
        raise(number);
    }
}

/* Return 1 + the mapping's place among the guarded, 0 if there is none. */
static int guard(const void *memory, size_t size, int access)
{
    static atomic_flag installed = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&installed)) {
        struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        (void)sigaction(SIGBUS, NULL, &former_sigbus);
        (void)sigaction(SIGBUS, &action, NULL);
    }
    for (int place = 0; place < GUARDED; place++) {
        uintptr_t none = 0;
        /* No address is at or behind this start until the rest is told. */
        if (!atomic_compare_exchange_strong(&guarded[place].start, &none, UINTPTR_MAX))
            continue;
        atomic_store_explicit(&guarded[place].access, access, memory_order_relaxed);
        atomic_store_explicit(&guarded[place].end, (uintptr_t)memory + size, memory_order_relaxed);
        atomic_store_explicit(&guarded[place].start, (uintptr_t)memory, memory_order_release);
        return place + 1;
    }
    return 0;
}

/* ---- Mapping ---------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    uint8_t *memory;
    size_t size;
    int writable;
    int guarded; /* 1 + its place among those; 0: none */
} Mapping;

#define HUGE_PAGE ((size_t)2 << 20)

/* As mmap() anywhere, but so that huge pages of the file can be huge pages of the process. */
static void *map_aligned(size_t length, int access, int fd)
{
    length = (length + os_page - 1) & ~(os_page - 1);
    char *room = mmap(NULL, length + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    const size_t before = -(uintptr_t)room & (HUGE_PAGE - 1);
    char *memory = room + before;
    if (mmap(memory, length, access, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int problem = errno;
        munmap(room, length + HUGE_PAGE);
        errno = problem;
        return MAP_FAILED;
    }
    if (before != 0)
        munmap(room, before);
    munmap(memory + length, HUGE_PAGE - before);
    return memory;
}

static int mapping_map(Mapping *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "length", "writable", NULL};
    int fd;
    Py_ssize_t length;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "in|p", names, &fd, &length, &self->writable))
        return -1;
    if (length <= 0) {
        PyErr_SetString(PyExc_ValueError, "length of a mapping must be positive");
        return -1;
    }
    /* No descriptor is kept: a daemon that closes all of them does not reach the mapping. */
    const int access = PROT_READ | (self->writable ? PROT_WRITE : 0);
    void *memory = self->writable && (size_t)length >= HUGE_PAGE
                       ? map_aligned((size_t)length, access, fd)
                       : mmap(NULL, (size_t)length, access, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    self->memory = memory;
    self->size = (size_t)length;
    return 0;
}

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = dl_new_object(type);
    if (self != NULL && mapping_map((Mapping *)self, args, kwargs) != 0) {
        Py_DecRef(self);
        return NULL;
    }
    return self;
}

static PyObject *mapping_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = map_new(type, args, kwargs);
    Mapping *mapping = (Mapping *)self;
    if (self != NULL)
        mapping->guarded = guard(mapping->memory, mapping->size,
                                 PROT_READ | (mapping->writable ? PROT_WRITE : 0));
    return self;
}

static void mapping_dealloc(PyObject *self)
{
    Mapping *mapping = (Mapping *)self;
    if (mapping->memory != NULL) {
        if (mapping->guarded != 0)
            atomic_store_explicit(&guarded[mapping->guarded - 1].start, 0, memory_order_release);
        munmap(mapping->memory, mapping->size);
    }
    dl_free_object(self);
}

static int mapping_buffer(PyObject *self, Py_buffer *view, int flags)
{
    Mapping *mapping = (Mapping *)self;
    return PyBuffer_FillInfo(view, self, mapping->memory, (Py_ssize_t)mapping->size, !mapping->writable,
                             flags);
}

static Py_ssize_t mapping_length(PyObject *self) { return (Py_ssize_t)((Mapping *)self)->size; }

static void *word_at(Mapping *self, Py_ssize_t offset, size_t width, int write)
{
    if (write && !self->writable) {
        PyErr_SetString(PyExc_TypeError, "the mapping is read-only");
        return NULL;
    }
    if (offset < 0 || (size_t)offset % width != 0 || (size_t)offset + width > self->size) {
        PyErr_Format(PyExc_IndexError, "offset %zd is not a word of a mapping of %zu bytes", offset,
                     self->size);
        return NULL;
    }
    return self->memory + offset;
}

static PyObject *mapping_load32(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 0);
    return word == NULL ? NULL : PyLong_FromUnsignedLong(atomic_load(word));
}

static PyObject *mapping_load64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 0);
    return word == NULL ? NULL : PyLong_FromUnsignedLongLong(atomic_load(word));
}

static PyObject *mapping_store32(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned int value;
    if (!PyArg_ParseTuple(args, "nI", &offset, &value))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    atomic_store(word, value);
    Py_RETURN_NONE;
}

static PyObject *mapping_store64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    atomic_store(word, value);
    Py_RETURN_NONE;
}

static PyObject *mapping_maximize64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("store");
    uint64_t found = atomic_load(word);
    while (found < value && !atomic_compare_exchange_weak(word, &found, value)) {
    }
    Py_RETURN_NONE;
}

static PyObject *mapping_add64(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "nK", &offset, &value))
        return NULL;
    _Atomic uint64_t *word = word_at((Mapping *)self, offset, 8, 1);
    return word == NULL ? NULL : PyLong_FromUnsignedLongLong(atomic_fetch_add(word, value));
}

static PyObject *mapping_wait(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    unsigned int expected;
    double seconds;
    if (!PyArg_ParseTuple(args, "nId", &offset, &expected, &seconds))
        return NULL;
    void *word = word_at((Mapping *)self, offset, 4, 0);
    if (word == NULL)
        return NULL;
    int woken = 0;
    if (seconds > 0) {
        Py_BEGIN_ALLOW_THREADS
        woken = futex_wait(word, expected, seconds) == 0 || errno == EAGAIN;
        Py_END_ALLOW_THREADS
    }
    if (PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(woken);
}

/* Count the futex word up and wake all who sleep on it. */
static PyObject *mapping_wait_watching(PyObject *self, PyObject *args)
{
    Py_ssize_t offset, word_offset;
    unsigned int expected;
    unsigned long long seen;
    double seconds, look;
    const char *path;
    if (!PyArg_ParseTuple(args, "nIddnKy", &offset, &expected, &seconds, &look, &word_offset, &seen, &path))
        return NULL;
    void *bell = word_at((Mapping *)self, offset, 4, 0);
    _Atomic uint64_t *word = bell == NULL ? NULL : word_at((Mapping *)self, word_offset, 8, 0);
    if (word == NULL)
        return NULL;
    bool woken = false;
    Py_BEGIN_ALLOW_THREADS
    for (; !woken && seconds > 0; seconds -= look) {
        if (futex_wait(bell, expected, seconds < look ? seconds : look) == 0 || errno == EAGAIN)
            woken = true;
        else if (errno != ETIMEDOUT)
            break;
        else
            woken = atomic_load_explicit(word, memory_order_acquire) != seen || access(path, F_OK) == 0;
    }
    Py_END_ALLOW_THREADS
    if (PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(woken);
}

static PyObject *mapping_ring_bell(PyObject *self, PyObject *args)
{
    Py_ssize_t offset;
    if (!PyArg_ParseTuple(args, "n", &offset))
        return NULL;
    _Atomic uint32_t *word = word_at((Mapping *)self, offset, 4, 1);
    if (word == NULL)
        return NULL;
    DL_POINT("bell");
    atomic_fetch_add(word, 1);
    DL_POINT("bell rung");
    return PyLong_FromLong(futex_wake(word, INT32_MAX));
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static PyObject *mapping_collapse(PyObject *self, PyObject *args)
{
    Mapping *mapping = (Mapping *)self;
    Py_ssize_t offset, length;
    if (!PyArg_ParseTuple(args, "nn", &offset, &length))
        return NULL;
    if (offset < 0 || length < 0 || (size_t)offset > mapping->size
        || (size_t)length > mapping->size - (size_t)offset)
        return PyErr_Format(PyExc_IndexError, "%zd bytes at %zd are not in %zu", length, offset,
                            mapping->size);
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = madvise(mapping->memory + offset, (size_t)length, MADV_COLLAPSE);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(status == 0);
}

static PyMethodDef mapping_methods[] = {
    {"load32", mapping_load32, METH_VARARGS, NULL},
    {"load64", mapping_load64, METH_VARARGS, NULL},
    {"store32", mapping_store32, METH_VARARGS, NULL},
    {"store64", mapping_store64, METH_VARARGS, NULL},
    {"maximize64", mapping_maximize64, METH_VARARGS, NULL},
    {"add64", mapping_add64, METH_VARARGS, NULL},
    {"wait", mapping_wait, METH_VARARGS, NULL},
    {"wait_watching", mapping_wait_watching, METH_VARARGS, NULL},
    {"ring_bell", mapping_ring_bell, METH_VARARGS, NULL},
    {"collapse", mapping_collapse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot mapping_slots[] = {{Py_tp_new, mapping_new},
                                      {Py_tp_dealloc, mapping_dealloc},
                                      {Py_tp_methods, mapping_methods},
                                      {Py_mp_length, mapping_length},
                                      {Py_bf_getbuffer, mapping_buffer},
                                      {0, NULL}};
static PyType_Spec mapping_spec = {"disklog_mp._core.Mapping", sizeof(Mapping), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, mapping_slots};

/* ---- Ring ------------------------------------------------------------------------------------------- */

typedef struct {
    Mapping mapping;
    struct dl_ring ring;
} Ring;

static struct dl_ring *ring_of(PyObject *self) { return &((Ring *)self)->ring; }

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = map_new(type, args, kwargs);
    if (self == NULL)
        return NULL;
    Mapping *mapping = (Mapping *)self;
    const char *problem = mapping->writable
                              ? dl_ring_open(ring_of(self), mapping->memory, mapping->size)
                              : "a ring is used through a writable mapping only";
    if (problem != NULL) {
        PyErr_SetString(PyExc_ValueError, problem);
        Py_DecRef(self);
        return NULL;
    }
    return self;
}

/* Words of the control block by name: closure = offset << 1 | (8 bytes wide). */
#define WORD32(field) (void *)(uintptr_t)(offsetof(struct dl_control, field) << 1)
#define WORD64(field) (void *)(uintptr_t)(offsetof(struct dl_control, field) << 1 | 1u)

static PyObject *ring_get_word(PyObject *self, void *closure)
{
    uint8_t *at = (uint8_t *)ring_of(self)->control + ((uintptr_t)closure >> 1);
    if ((uintptr_t)closure & 1u)
        return PyLong_FromUnsignedLongLong(atomic_load((_Atomic uint64_t *)(void *)at));
    return PyLong_FromUnsignedLong(atomic_load((_Atomic uint32_t *)(void *)at));
}

static int ring_set_word(PyObject *self, PyObject *value, void *closure)
{
    uint8_t *at = (uint8_t *)ring_of(self)->control + ((uintptr_t)closure >> 1);
    if (value == NULL || !((Mapping *)self)->writable) {
        PyErr_SetString(PyExc_AttributeError, "this word cannot be set");
        return -1;
    }
    /* Without its upper bits: a count that somebody scribbled over may stand at its last value. */
    unsigned long long number = PyLong_AsUnsignedLongLongMask(value);
    if (PyErr_Occurred() != NULL)
        return -1;
    DL_POINT("store");
    if ((uintptr_t)closure & 1u)
        atomic_store((_Atomic uint64_t *)(void *)at, number);
    else
        atomic_store((_Atomic uint32_t *)(void *)at, (uint32_t)number);
    return 0;
}

enum constant { CAPACITY, BASE, GENERATION, SALT, RECORD_LIMIT, DATA_OFFSET, BOOT_ID, LOG_ID, NAME, PATH };

static PyObject *ring_get_constant(PyObject *self, void *closure)
{
    struct dl_ring *ring = ring_of(self);
    struct dl_constants *constants = ring->constants;
    switch ((enum constant)(uintptr_t)closure) {
    case CAPACITY:
        return PyLong_FromUnsignedLongLong(ring->capacity);
    case BASE:
        return PyLong_FromUnsignedLongLong(constants->base);
    case GENERATION:
        return PyLong_FromUnsignedLongLong(constants->generation);
    case SALT:
        return PyLong_FromUnsignedLongLong(constants->salt);
    case RECORD_LIMIT:
        return PyLong_FromUnsignedLong(ring->record_limit);
    case DATA_OFFSET:
        return PyLong_FromUnsignedLongLong(dl_data_offset(ring->capacity));
    case BOOT_ID:
        return PyBytes_FromStringAndSize((char *)constants->boot_id, 16);
    case LOG_ID:
        return PyBytes_FromStringAndSize((char *)constants->log_id, 16);
    case NAME:
        return PyUnicode_DecodeFSDefaultAndSize(
            constants->name, (Py_ssize_t)strnlen(constants->name, sizeof constants->name));
    case PATH:
        return PyUnicode_DecodeFSDefaultAndSize(
            constants->path, (Py_ssize_t)strnlen(constants->path, sizeof constants->path));
    }
    Py_RETURN_NONE;
}

#define CONSTANT(name, which) {name, ring_get_constant, NULL, NULL, (void *)(uintptr_t)(which)}
#define CONTROL(name, word) {name, ring_get_word, ring_set_word, NULL, word}
static PyGetSetDef ring_getset[] = {
    CONSTANT("capacity", CAPACITY),
    CONSTANT("base", BASE),
    CONSTANT("generation", GENERATION),
    CONSTANT("salt", SALT),
    CONSTANT("record_limit", RECORD_LIMIT),
    CONSTANT("data_offset", DATA_OFFSET),
    CONSTANT("boot_id", BOOT_ID),
    CONSTANT("log_id", LOG_ID),
    CONSTANT("name", NAME),
    CONSTANT("path", PATH),
    CONTROL("hint", WORD64(hint)),
    CONTROL("released", WORD64(released)),
    CONTROL("written", WORD64(written)),
    CONTROL("durable", WORD64(durable)),
    CONTROL("sync_wanted", WORD64(sync_wanted)),
    CONTROL("roll_wanted", WORD64(roll_wanted)),
    CONTROL("parked", WORD32(parked)),
    CONTROL("bell", WORD32(bell)),
    CONTROL("barrier", WORD32(barrier)),
    CONTROL("heartbeat", WORD64(heartbeat)),
    CONTROL("halted", WORD32(halted)),
    CONTROL("writer_pid", WORD32(writer_pid)),
    CONTROL("writer_start", WORD64(writer_start)),
    CONTROL("writer_namespace", WORD64(writer_namespace)),
    CONTROL("writer_count", WORD64(writer_count)),
    CONTROL("records", WORD64(records)),
    CONTROL("base_records", WORD64(base_records)),
    CONTROL("base_position", WORD64(base_position)),
    CONTROL("abandoned", WORD64(abandoned)),
    CONTROL("abandoning", WORD64(abandoning)),
    CONTROL("page", WORD64(page)),
    CONTROL("first_page", WORD64(first_page)),
    CONTROL("page_bytes", WORD64(page_bytes)),
    CONTROL("sync_failures", WORD64(sync_failures)),
    CONTROL("error_time", WORD64(error_time)),
    CONTROL("error_number", WORD32(error_number)),
    {NULL, NULL, NULL, NULL, NULL}};

static PyObject *ring_drain(PyObject *self, PyObject *args)
{
    unsigned long long from, max_bytes, max_records;
    if (!PyArg_ParseTuple(args, "KKK", &from, &max_bytes, &max_records))
        return NULL;
    struct dl_segment segment;
    Py_BEGIN_ALLOW_THREADS
    dl_drain(ring_of(self), from, max_bytes, max_records, &segment);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(KKKKiI)", segment.end, segment.length, segment.records, segment.last_time,
                         (int)segment.stop, segment.next);
}

static PyObject *ring_abandon(PyObject *self, PyObject *args)
{
    unsigned long long position;
    if (!PyArg_ParseTuple(args, "K", &position))
        return NULL;
    return PyBool_FromLong(dl_abandon(ring_of(self), position));
}

static PyObject *ring_release(PyObject *self, PyObject *args)
{
    unsigned long long from, to;
    if (!PyArg_ParseTuple(args, "KK", &from, &to))
        return NULL;
    struct dl_control *control = ring_of(self)->control;
    dl_release(ring_of(self), from, to);
    /* Dekker's, as in parking: a producer stores its wish, then looks for room. */
    atomic_thread_fence(memory_order_seq_cst);
    DL_POINT("released");
    if (atomic_load(&control->space_wanted) != 0 && atomic_exchange(&control->space_wanted, 0) != 0) {
        DL_POINT("space");
        atomic_fetch_add(&control->space, 1);
        futex_wake(&control->space, INT32_MAX);
    }
    Py_RETURN_NONE;
}

static PyObject *ring_close(PyObject *self, PyObject *args)
{
    unsigned long long position;
    if (!PyArg_ParseTuple(args, "K", &position))
        return NULL;
    return PyBool_FromLong(dl_close(ring_of(self), position));
}

static PyObject *ring_frontier(PyObject *self, PyObject *args)
{
    unsigned long long from;
    if (!PyArg_ParseTuple(args, "K", &from))
        return NULL;
    return PyLong_FromUnsignedLongLong(dl_frontier(ring_of(self), from));
}

static PyObject *ring_is_closed(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_ring *ring = ring_of(self);
    return PyBool_FromLong(dl_is_closed(ring, atomic_load(&ring->control->released)));
}

/* What a sleeping writer looks at besides: paths that lead to files it has open, and processes. */
#define WATCHED 2
struct watched {
    int count;
    struct {
        const char *path;
        unsigned long long device, inode;
    } places[WATCHED];
    struct pollfd *processes;
    nfds_t process_count;
};

static int parse_watched(PyObject *places, const char *pidfds, Py_ssize_t length, struct watched *watched)
{
    watched->count = (int)PyTuple_Size(places);
    watched->process_count = (nfds_t)length / sizeof(int);
    if (watched->count > WATCHED) {
        PyErr_Format(PyExc_ValueError, "%d places to watch are more than %d", watched->count, WATCHED);
        return -1;
    }
    for (int i = 0; i < watched->count; i++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(places, i), "yKK", &watched->places[i].path,
                              &watched->places[i].device, &watched->places[i].inode))
            return -1;
    watched->processes = calloc(watched->process_count + 1, sizeof *watched->processes);
    if (watched->processes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (nfds_t i = 0; i < watched->process_count; i++) {
        memcpy(&watched->processes[i].fd, pidfds + i * sizeof(int), sizeof(int));
        watched->processes[i].events = POLLIN;
    }
    return 0;
}

/* Does a path lead elsewhere now, or has a process ended? */
static bool has_changed(struct watched *watched)
{
    for (int i = 0; i < watched->count; i++) {
        struct stat now;
        if (lstat(watched->places[i].path, &now) != 0 || now.st_dev != watched->places[i].device
            || now.st_ino != watched->places[i].inode)
            return true;
    }
    return watched->process_count != 0 && poll(watched->processes, watched->process_count, 0) > 0;
}

/* Sleep until a producer rings, or what is watched changes (False), or the time is over (True).  `bell` is
 * what it was before the caller looked whether there is anything to do, or is read before `parked` is set: one
 * rung since then is not slept through.  A producer killed between taking `parked` and ringing is noticed at
 * the end of a slice, as what is watched is, and a signal that came just before the sleep. */
static PyObject *ring_park(PyObject *self, PyObject *args)
{
    unsigned long long position;
    double seconds, slice = 0.1;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = atomic_load(&ring->control->bell);
    PyObject *places = NULL;
    const char *pidfds = NULL;
    Py_ssize_t length = 0;
    struct watched watched = {.processes = NULL};
    if (!PyArg_ParseTuple(args, "Kd|dIO!y#", &position, &seconds, &slice, &bell, &PyTuple_Type, &places, &pidfds,
                          &length)
        || (places != NULL && parse_watched(places, pidfds, length, &watched) != 0))
        return NULL;
    bool over = false;
    dl_park(ring);
    if (atomic_load(&ring->control->barrier) != 0)
        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    if (dl_may_sleep(ring, position)) {
        DL_POINT("parked");
        for (bool again = true; again && !over;) {
            Py_BEGIN_ALLOW_THREADS
            again = futex_wait(&ring->control->bell, bell, seconds < slice ? seconds : slice) != 0
                    && errno == ETIMEDOUT && dl_is_parked(ring) && !has_changed(&watched);
            if (again && slice >= 0.1) /* in a test's shorter sleep it counts the rounds of chores */
                atomic_store_explicit(&ring->control->heartbeat, wall_read(), memory_order_relaxed);
            Py_END_ALLOW_THREADS
            seconds -= slice;
            over = again && seconds <= 0;
            again = again && PyErr_CheckSignals() == 0;
        }
        dl_unpark(ring);
    }
    free(watched.processes);
    if (PyErr_Occurred() != NULL || PyErr_CheckSignals() != 0)
        return NULL;
    return PyBool_FromLong(over);
}

/* Sleep so long without asking for the bell: producers do not ring, whoever waits for the writer does. */
static PyObject *ring_doze(PyObject *self, PyObject *args)
{
    double seconds;
    struct dl_ring *ring = ring_of(self);
    unsigned int bell = atomic_load(&ring->control->bell);
    if (!PyArg_ParseTuple(args, "d|I", &seconds, &bell))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    futex_wait(&ring->control->bell, bell, seconds);
    Py_END_ALLOW_THREADS
    if (PyErr_CheckSignals() != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* True if it slept. */
static bool wake_writer(struct dl_ring *ring)
{
    atomic_fetch_add_explicit(&ring->control->bell, 1, memory_order_relaxed);
    return futex_wake(&ring->control->bell, 1) > 0;
}

static PyObject *ring_wake(PyObject *self, PyObject *unused)
{
    (void)unused;
    wake_writer(ring_of(self));
    Py_RETURN_NONE;
}

/* Tell the sleepers in flush and sync that `written` or `durable` moved. */
static PyObject *ring_announce(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    if (atomic_load(&control->done_wanted) != 0 && atomic_exchange(&control->done_wanted, 0) != 0) {
        DL_POINT("done");
        atomic_fetch_add(&control->done, 1);
        futex_wake(&control->done, INT32_MAX);
    }
    Py_RETURN_NONE;
}

static struct dl_slot *slot_at(PyObject *self, unsigned int index)
{
    if (index >= DL_SLOTS) {
        PyErr_Format(PyExc_IndexError, "slot %u of %u", index, DL_SLOTS);
        return NULL;
    }
    return &ring_of(self)->slots[index];
}

static PyObject *ring_slot(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index))
        return NULL;
    struct dl_slot *slot = slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = atomic_load(&slot->word);
    return Py_BuildValue("(IIIIKKKKKKI)", index, (unsigned int)word, (unsigned int)(word >> 32), slot->pid,
                         slot->start, slot->pid_namespace, slot->since, atomic_load(&slot->logged),
                         atomic_load(&slot->dropped), atomic_load(&slot->waited), slot->again);
}

/* Indexes of the slots in a state between two, so many at the most. */
static PyObject *slots_between(PyObject *self, uint32_t lowest, uint32_t highest, unsigned int most)
{
    PyObject *list = PyList_New(0);
    for (unsigned int i = 0, found = 0; list != NULL && i < DL_SLOTS && found < most; i++) {
        /* In the single order: after closing a ring, it is half of Dekker's with those who attach. */
        uint32_t state = (uint32_t)atomic_load(&ring_of(self)->slots[i].word);
        if (state < lowest || state > highest)
            continue;
        PyObject *index = PyLong_FromUnsignedLong(i);
        if (index == NULL || PyList_Append(list, index) != 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(index);
        found++;
    }
    return list;
}

/* Indexes of the slots in that state. */
static PyObject *ring_slots(PyObject *self, PyObject *args)
{
    unsigned int state;
    unsigned int most = DL_SLOTS;
    return PyArg_ParseTuple(args, "I|I", &state, &most) ? slots_between(self, state, state, most) : NULL;
}

/* Indexes of the slots whose state is none that can be. */
static PyObject *ring_odd_slots(PyObject *self, PyObject *unused)
{
    (void)unused;
    return slots_between(self, DL_SLOT_DETACHED + 1u, UINT32_MAX, DL_SLOTS);
}

/* Fill a FREE slot; the caller holds the kernel's lock on its byte. */
static PyObject *ring_attach(PyObject *self, PyObject *args)
{
    unsigned int index, pid;
    unsigned long long start, pid_namespace, since;
    if (!PyArg_ParseTuple(args, "IIKKK", &index, &pid, &start, &pid_namespace, &since))
        return NULL;
    struct dl_slot *slot = slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = atomic_load(&slot->word);
    if ((uint32_t)word != DL_SLOT_FREE)
        Py_RETURN_FALSE;
    DL_POINT("slot locked");
    slot->pid = pid;
    slot->start = start;
    slot->pid_namespace = pid_namespace;
    slot->since = since;
    slot->again = 0;
    atomic_store(&slot->logged, 0);
    atomic_store(&slot->dropped, 0);
    atomic_store(&slot->waited, 0);
    DL_POINT("attaching");
    return PyBool_FromLong(atomic_compare_exchange_strong(&slot->word, &word, word | DL_SLOT_ATTACHED));
}

/* The owner has no claim open and will make no other. */
static PyObject *ring_detach(PyObject *self, PyObject *args)
{
    unsigned int index, incarnation;
    if (!PyArg_ParseTuple(args, "II", &index, &incarnation))
        return NULL;
    struct dl_slot *slot = slot_at(self, index);
    if (slot == NULL)
        return NULL;
    uint64_t word = (uint64_t)incarnation << 32 | DL_SLOT_ATTACHED;
    DL_POINT("detaching");
    return PyBool_FromLong(
        atomic_compare_exchange_strong(&slot->word, &word, (word & ~1ull) | DL_SLOT_DETACHED));
}

static PyObject *ring_retire(PyObject *self, PyObject *args)
{
    unsigned int index;
    if (!PyArg_ParseTuple(args, "I", &index) || slot_at(self, index) == NULL)
        return NULL;
    dl_retire(ring_of(self), index);
    Py_RETURN_NONE;
}

static PyObject *ring_retire_resume(PyObject *self, PyObject *unused)
{
    (void)unused;
    dl_retire_resume(ring_of(self));
    Py_RETURN_NONE;
}

/* logged, dropped, waited of all slots retired so far. */
static PyObject *ring_totals(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_control *control = ring_of(self)->control;
    _Atomic uint64_t *totals = control->totals[atomic_load(&control->retired_count) & 1];
    return Py_BuildValue("(KKK)", atomic_load(&totals[0]), atomic_load(&totals[1]),
                         atomic_load(&totals[2]));
}

static PyMethodDef ring_methods[] = {
    {"drain", ring_drain, METH_VARARGS, NULL},
    {"abandon", ring_abandon, METH_VARARGS, NULL},
    {"release", ring_release, METH_VARARGS, NULL},
    {"close", ring_close, METH_VARARGS, NULL},
    {"frontier", ring_frontier, METH_VARARGS, NULL},
    {"is_closed", ring_is_closed, METH_NOARGS, NULL},
    {"park", ring_park, METH_VARARGS, NULL},
    {"doze", ring_doze, METH_VARARGS, NULL},
    {"wake", ring_wake, METH_NOARGS, NULL},
    {"announce", ring_announce, METH_NOARGS, NULL},
    {"slot", ring_slot, METH_VARARGS, NULL},
    {"slots", ring_slots, METH_VARARGS, NULL},
    {"odd_slots", ring_odd_slots, METH_NOARGS, NULL},
    {"attach", ring_attach, METH_VARARGS, NULL},
    {"detach", ring_detach, METH_VARARGS, NULL},
    {"retire", ring_retire, METH_VARARGS, NULL},
    {"retire_resume", ring_retire_resume, METH_NOARGS, NULL},
    {"totals", ring_totals, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot ring_slots_[] = {{Py_tp_new, ring_new},
                                    {Py_tp_dealloc, mapping_dealloc},
                                    {Py_tp_methods, ring_methods},
                                    {Py_tp_getset, ring_getset},
                                    {0, NULL}};
static PyType_Spec ring_spec = {"disklog_mp._core.Ring", sizeof(Ring), 0, Py_TPFLAGS_DEFAULT, ring_slots_};

static PyObject *core_ring_size(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned long long capacity;
    if (!PyArg_ParseTuple(args, "K", &capacity))
        return NULL;
    return PyLong_FromUnsignedLongLong(dl_ring_size(capacity));
}

static PyObject *core_format_ring(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer memory;
    unsigned long long capacity, base, generation, salt;
    const char *boot_id, *log_id, *name, *path;
    Py_ssize_t boot_length, log_length, name_length, path_length;
    if (!PyArg_ParseTuple(args, "w*KKKKy#y#y#y#", &memory, &capacity, &base, &generation, &salt, &boot_id,
                          &boot_length, &log_id, &log_length, &name, &name_length, &path, &path_length))
        return NULL;
    struct dl_constants constants = {
        .capacity = capacity, .base = base, .generation = generation, .salt = salt};
    int good = capacity >= DL_CAPACITY_MIN && capacity <= DL_CAPACITY_MAX
               && (capacity & (capacity - 1)) == 0 && base % DL_GRANULE == 0 && boot_length == 16
               && log_length == 16 && name_length < (Py_ssize_t)sizeof constants.name
               && path_length < (Py_ssize_t)sizeof constants.path
               && (uint64_t)memory.len == dl_ring_size(capacity);
    if (good) {
        memcpy(constants.boot_id, boot_id, 16);
        memcpy(constants.log_id, log_id, 16);
        memcpy(constants.name, name, (size_t)name_length);
        memcpy(constants.path, path, (size_t)path_length);
        dl_ring_format(memory.buf, &constants);
    } else
        PyErr_SetString(PyExc_ValueError, "these constants do not make a ring");
    PyBuffer_Release(&memory);
    if (!good)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- Producer --------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *ring; /* a Ring, or NULL: not attached */
    struct dl_slot *slot;
    struct dl_claimant claimant;
    _Atomic uint64_t logged_at; /* wall clock, ns: its last record */
    _Atomic uint32_t losses; /* of the frontier, in a row, each right behind a record of its own */
    uint64_t token; /* of the process that may use the slot */
    _Atomic uint64_t end; /* position behind all this object logged: what flush waits for */
    uint64_t looked; /* when a silent writer was last looked at */
    uint64_t window; /* of the ring's bytes, where this object last logged */
    uint64_t windows; /* that may still have to be mapped */
    uint64_t here; /* bytes logged since it came there */
    int watch; /* look at the writer's heartbeat */
    int attention; /* session.py wants to be asked first: drops to report */
    _Atomic int inside; /* appends under way without the GIL: detach waits for them */
    PyObject *former; /* free-threaded: rings another thread may still be in */
} Producer;

/* Who loses the frontier to another waits some microseconds before the next attempt: meanwhile that one logs
 * dozens of records out of its own cache, then has its turn at losing.  Without it each record of both waits
 * several times for lines from the other's cache, and two processes together log a third of what one does.
 *   Two that log without a pause gain nothing by running side by side, and the writer, which could run instead,
 * falls behind: they give way, and have their turns less often. */
#define BACK_OFF 256 /* times the processor's own short pause: some microseconds */
#define INCESSANT_GAP 512u /* ns between two records of one that does nothing else */
#define INCESSANT 2u /* so many losses in a row right behind a record of its own */

static void back_off(struct dl_claimant *claimant, uint64_t time)
{
    Producer *producer = (Producer *)((char *)claimant - offsetof(Producer, claimant));
    int times = BACK_OFF;
    uint32_t losses = 0;
    if (time - atomic_load_explicit(&producer->logged_at, memory_order_relaxed) < INCESSANT_GAP)
        losses = atomic_load_explicit(&producer->losses, memory_order_relaxed) + 1;
    atomic_store_explicit(&producer->losses, losses, memory_order_relaxed);
    if (losses >= INCESSANT) {
        sched_yield();
        times *= 2;
    }
    for (int i = 0; i < times; i++)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory"); /* `yield` takes no time on most of these */
#else
        __asm__ volatile("" ::: "memory");
#endif
}

#define WINDOW (64u << 10) /* bytes of the ring, see enter_window() */

enum { NEEDS_ATTACH = -16, NEEDS_ATTENTION = -17, HALTED = -18 };

static PyObject *producer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    return dl_new_object(type);
}

static void producer_dealloc(PyObject *self)
{
    Producer *producer = (Producer *)self;
    Py_DecRef(producer->ring);
    Py_DecRef(producer->former);
    dl_free_object(self);
}

static PyTypeObject *ring_type, *producer_type; /* set once, at import */

/* In a fork's child: the parent's threads are not there to finish their appends. */
static void forget_parent(Producer *producer)
{
    if (producer->token != 0 && producer->token != atomic_load_explicit(fork_page, memory_order_relaxed))
        atomic_store(&producer->inside, 0);
}

static PyObject *producer_bind(PyObject *self, PyObject *args)
{
    Producer *producer = (Producer *)self;
    PyObject *ring;
    unsigned int slot, pid;
    if (!PyArg_ParseTuple(args, "O!II", ring_type, &ring, &slot, &pid) || slot_at(ring, slot) == NULL)
        return NULL;
    PyObject *old = producer->ring;
#ifdef Py_GIL_DISABLED
    if (producer->former == NULL)
        producer->former = PyList_New(0);
    if (old != NULL && (producer->former == NULL || PyList_Append(producer->former, old) != 0))
        return NULL;
#endif
    Py_IncRef(ring);
    producer->claimant.slot = slot;
    producer->claimant.lost = back_off;
    producer->claimant.pid = pid;
    producer->claimant.light = membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    atomic_store(&producer->claimant.last, 0);
    producer->slot = &ring_of(ring)->slots[slot];
    producer->window = producer->here = 0;
    producer->windows = ring_of(ring)->capacity / WINDOW;
    producer->ring = ring;
    forget_parent(producer);
    producer->token = fork_token();
    Py_DecRef(old);
    Py_RETURN_NONE;
}

/* From here on log() asks session.py; returns how many appends are still on their way. */
static PyObject *producer_unbind(PyObject *self, PyObject *unused)
{
    (void)unused;
    Producer *producer = (Producer *)self;
    forget_parent(producer);
    producer->token = 0;
    return PyLong_FromLong(atomic_load(&producer->inside));
}

/* Status of the checks that cost a load each. */
static int ready(Producer *producer)
{
    if (producer->ring == NULL
        || producer->token != atomic_load_explicit(fork_page, memory_order_relaxed)
        || producer->token == 0)
        return NEEDS_ATTACH;
    switch (atomic_load_explicit(&ring_of(producer->ring)->control->halted, memory_order_relaxed)) {
    case DL_LOG_FULL:
        return HALTED;
    case DL_REPLACED:
        return DL_ENDED;
    }
    return DL_OK;
}

static void count(_Atomic uint64_t *counter, uint64_t by)
{
#ifdef Py_GIL_DISABLED
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
#else
    /* Only this process counts here, and its threads hold the GIL. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
#endif
}

/* The ring's pages are there, but in each process the first touch of each is a fault, several in a hundred
 * calls, as long as it has not gone round once.  So a process that fills a good part of a window has the kernel
 * map the next one, sixteen pages at a fault; to one that logs little the faults come cheaper. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static bool map_ahead(const void *memory, uint64_t length)
{
    uintptr_t start = (uintptr_t)memory & ~(uintptr_t)(DL_OS_PAGE - 1u);
    return madvise((void *)start, length, MADV_POPULATE_READ) == 0;
}

static void enter_window(Producer *producer, const struct dl_ring *ring, uint64_t window)
{
    bool little = producer->here < WINDOW / 16u; /* others have filled it */
    producer->window = window;
    producer->here = 0;
    if (little)
        return;
    uint64_t next = dl_index(ring, (window + 1u) * WINDOW);
    producer->windows--;
    if (!map_ahead(ring->data + next, WINDOW)
        || !map_ahead(&ring->map[next / DL_GRANULE], WINDOW / DL_GRANULE * sizeof *ring->map))
        producer->windows = 0; /* a kernel before 5.14: then it is one fault for each */
}

static void appended(Producer *producer, PyObject *held, uint64_t time, uint64_t bytes, uint64_t end,
                     uint64_t records)
{
    struct dl_ring *ring = ring_of(held);
    atomic_store_explicit(&producer->logged_at, time, memory_order_relaxed);
    if (producer->ring == held && atomic_load_explicit(&producer->end, memory_order_relaxed) < end)
        atomic_store_explicit(&producer->end, end, memory_order_relaxed);
    DL_POINT("committed");
    count(&producer->slot->logged, records);
    DL_POINT("counted");
    if (producer->windows != 0) {
        producer->here += bytes;
        if (end / WINDOW != producer->window && producer->ring == held)
            enter_window(producer, ring, end / WINDOW);
    }
    if (dl_take_bell(ring)) {
        DL_POINT("bell taken");
        if (wake_writer(ring))
            producer->looked = time; /* it is alive: its heartbeat is old because it slept */
    }
}

/* One record, no policy.  DL_OK and the position, or what stands in the way. */
static int append(Producer *producer, const void *bytes, size_t length, const struct dl_frame_header *header,
                  uint64_t *position)
{
    PyObject *held = producer->ring;
    struct dl_ring *ring = ring_of(held);
    uint64_t end;
    int status;
#ifdef Py_GIL_DISABLED
    const int aside = 1;
#else
    const int aside = length > RELEASE_GIL_ABOVE;
#endif
    if (!aside)
        status = dl_append(ring, &producer->claimant, header, bytes, length, position, &end);
    else {
        Py_IncRef(held);
        atomic_fetch_add(&producer->inside, 1);
        if (producer->token == 0) { /* unbound in between, as is possible without a GIL */
            atomic_fetch_sub(&producer->inside, 1);
            Py_DecRef(held);
            return NEEDS_ATTACH;
        }
        Py_BEGIN_ALLOW_THREADS
        status = dl_append(ring, &producer->claimant, header, bytes, length, position, &end);
        Py_END_ALLOW_THREADS
    }
    if (status == DL_OK)
        appended(producer, held, header->time, end - *position, end, 1);
    if (aside) {
        atomic_fetch_sub(&producer->inside, 1); /* counted: now the slot may go */
        Py_DecRef(held);
    }
    return status;
}

static int bad_type(PyObject *data)
{
    if (PyUnicode_Check(data))
        PyErr_SetString(PyExc_TypeError,
                        "a record is bytes, not str: log text.encode(), or use DiskLogHandler");
    else
        PyErr_Format(PyExc_TypeError, "a record is a bytes-like object, not %R", Py_TYPE(data));
    return -1;
}

/* What PyObject_GetBuffer would give, without its cost for plain bytes. */
static int get_bytes(PyObject *data, Py_buffer *view)
{
    if (Py_TYPE(data) == &PyBytes_Type) {
        char *bytes;
        PyBytes_AsStringAndSize(data, &bytes, &view->len); /* they are bytes: it cannot fail */
        view->obj = NULL;
        view->buf = bytes;
        return 0;
    }
    if (PyObject_GetBuffer(data, view, PyBUF_SIMPLE) != 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Clear();
            return bad_type(data);
        }
        return -1;
    }
    return 0;
}

static void done_bytes(Py_buffer *view)
{
    if (view->obj != NULL)
        PyBuffer_Release(view);
}

static int parse_tag(PyObject *value, uint16_t *tag)
{
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred() != NULL)
        return -1;
    if (number < 0 || number > 0xffff) {
        PyErr_Format(PyExc_ValueError, "tag %ld is not in 0 to 65535", number);
        return -1;
    }
    *tag = (uint16_t)number;
    return 0;
}

/* (data, *, tag=0): the arguments of log and _try. */
static int parse_record(PyObject *const *args, Py_ssize_t nargs, PyObject *names, uint16_t *tag)
{
    Py_ssize_t keywords = names == NULL ? 0 : PyTuple_Size(names);
    *tag = 0;
    if (nargs != 1 || keywords > 1) {
        PyErr_SetString(PyExc_TypeError, "log(data, *, tag=0) takes one record");
        return -1;
    }
    if (keywords == 0)
        return 0;
    if (PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "tag") != 0) {
        PyErr_Format(PyExc_TypeError, "log() has no argument %R", PyTuple_GetItem(names, 0));
        return -1;
    }
    return parse_tag(args[1], tag);
}

/* One record, unless something stands in the way: DL_OK and its position, or a status for session.py. */
static int log_record(Producer *producer, const void *bytes, size_t length, uint64_t now, uint16_t tag,
                      uint64_t *position)
{
    int status = ready(producer);
    if (status != DL_OK)
        return status;
    if (producer->attention)
        return NEEDS_ATTENTION;
    struct dl_frame_header header = {.time = now, .kind = DL_RECORD, .tag = tag};
    return append(producer, bytes, length, &header, position);
}

/* After a record of this time: if the writer has been silent, session.py looks at it, once a while. */
static void watch_writer(Producer *producer, uint64_t now)
{
    if (!producer->watch || producer->ring == NULL)
        return;
    uint64_t beat = atomic_load_explicit(&ring_of(producer->ring)->control->heartbeat, memory_order_relaxed);
    /* Either may lie in the other's future, when the clock has been set. */
    if (now - beat + WRITER_SILENCE <= 2 * WRITER_SILENCE || now - producer->looked <= WRITER_SILENCE)
        return;
    producer->looked = now;
    PyObject *looked = PyObject_CallMethod((PyObject *)producer, "_look_at_writer", NULL);
    if (looked == NULL)
        PyErr_Clear(); /* the record is committed; what is wrong shows in flush and stats */
    Py_DecRef(looked);
}

/* session.log(data, *, tag=0): one C call unless the ring is full, the process new, or a drop unreported. */
static PyObject *producer_log(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    Producer *producer = (Producer *)self;
    uint16_t tag;
    uint64_t position = 0;
    Py_buffer view;
    if (parse_record(args, nargs, names, &tag) != 0 || get_bytes(args[0], &view) != 0)
        return NULL;
    uint64_t now = wall_ns();
    int status = log_record(producer, view.buf, (size_t)view.len, now, tag, &position);
    done_bytes(&view);
    if (status == DL_OK) {
        watch_writer(producer, now);
        return PyLong_FromUnsignedLongLong(position);
    }
    return PyObject_CallMethod(self, "_log_slowly", "OIi", args[0], (unsigned int)tag, status);
}

bool dl_log(PyObject *session, const void *bytes, size_t length, uint64_t now, uint16_t tag)
{
    Producer *producer = (Producer *)session;
    uint64_t position;
    if (log_record(producer, bytes, length, now, tag, &position) != DL_OK)
        return false;
    watch_writer(producer, now);
    return true;
}

uint64_t dl_now(void) { return wall_ns(); }

uint64_t dl_process(void) { return fork_token(); }

bool dl_is_session(PyObject *object)
{
    return Py_TYPE(object) == producer_type || PyType_IsSubtype(Py_TYPE(object), producer_type);
}

/* One attempt, for session.py: the position, or the negative status.  A record that is logged again keeps
 * its time and pid (0: now, and our own).
 */
static PyObject *producer_try(PyObject *self, PyObject *args)
{
    Producer *producer = (Producer *)self;
    PyObject *data;
    unsigned int tag, kind = DL_RECORD, pid = 0;
    unsigned long long time = 0;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "OI|IKI", &data, &tag, &kind, &time, &pid) || get_bytes(data, &view) != 0)
        return NULL;
    uint64_t position = 0;
    int status = ready(producer);
    if (status == DL_OK) {
        struct dl_frame_header header = {.time = time != 0 ? time : wall_ns(),
                                         .pid = pid,
                                         .kind = (uint16_t)kind,
                                         .tag = (uint16_t)tag};
        status = append(producer, view.buf, (size_t)view.len, &header, &position);
        if (status == DL_OK && pid != 0 && pid != producer->claimant.pid)
            producer->slot->again++;
    }
    done_bytes(&view);
    return status == DL_OK ? PyLong_FromUnsignedLongLong(position) : PyLong_FromLong(status);
}

enum { RAISED = -100 };

/* One attempt at a group: `records` is a tuple.  A status, or RAISED. */
static int append_group(Producer *producer, PyObject *records, struct dl_frame_header header,
                        uint64_t *position)
{
    Py_ssize_t number = PyTuple_Size(records), got = 0;
    int status = RAISED;
    Py_buffer *views = calloc((size_t)number + 1, sizeof *views);
    struct dl_item *items = calloc((size_t)number + 1, sizeof *items);
    if (views == NULL || items == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (; got < number; got++) {
        if (get_bytes(PyTuple_GetItem(records, got), &views[got]) != 0)
            goto done;
        items[got] = (struct dl_item){views[got].buf, (uint64_t)views[got].len};
    }
    status = number > UINT32_MAX ? DL_TOO_LARGE : ready(producer);
    if (status == DL_OK) {
        PyObject *held = producer->ring;
        uint64_t end;
        if (header.time == 0)
            header.time = wall_ns();
        Py_IncRef(held);
        atomic_fetch_add(&producer->inside, 1);
        status = dl_append_group(ring_of(held), &producer->claimant, &header, items, (uint32_t)number,
                                 position, &end);
        if (status == DL_OK)
            appended(producer, held, header.time, end - *position, end, (uint64_t)number);
        if (status == DL_OK && header.pid != 0 && header.pid != producer->claimant.pid)
            producer->slot->again += (uint32_t)number;
        atomic_fetch_sub(&producer->inside, 1);
        Py_DecRef(held);
    }
done:
    for (Py_ssize_t i = 0; i < got; i++)
        done_bytes(&views[i]);
    free(views);
    free(items);
    return status;
}

static PyObject *producer_try_many(PyObject *self, PyObject *args)
{
    PyObject *records;
    unsigned int tag, pid = 0;
    unsigned long long time = 0;
    uint64_t position;
    if (!PyArg_ParseTuple(args, "O!I|KI", &PyTuple_Type, &records, &tag, &time, &pid))
        return NULL;
    struct dl_frame_header header = {.time = time, .pid = pid, .tag = (uint16_t)tag};
    int status = append_group((Producer *)self, records, header, &position);
    if (status == RAISED)
        return NULL;
    return status == DL_OK ? PyLong_FromUnsignedLongLong(position) : PyLong_FromLong(status);
}

/* session.log_many(records, *, tag=0) */
static PyObject *producer_log_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"records", "tag", NULL};
    PyObject *given, *value = NULL, *result = NULL;
    uint16_t tag = 0;
    uint64_t position;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O", names, &given, &value)
        || (value != NULL && parse_tag(value, &tag) != 0))
        return NULL;
    if (Py_TYPE(given) == &PyBytes_Type || PyUnicode_Check(given)) {
        PyErr_Format(PyExc_TypeError, "log_many takes several records, not one %R: use log()",
                     Py_TYPE(given));
        return NULL;
    }
    PyObject *records = PySequence_Tuple(given);
    if (records == NULL)
        return NULL;
    int status = NEEDS_ATTENTION;
    if (PyTuple_Size(records) == 0)
        result = PyLong_FromLong(-1);
    else {
        if (!((Producer *)self)->attention)
            status = append_group((Producer *)self, records, (struct dl_frame_header){.tag = tag}, &position);
        if (status == DL_OK)
            result = PyLong_FromUnsignedLongLong(position);
        else if (status != RAISED)
            result = PyObject_CallMethod(self, "_log_many_slowly", "OIi", records, (unsigned int)tag,
                                         status);
    }
    Py_DecRef(records);
    return result;
}

/* Counts of this process's slot: (dropped, waited) to add. */
static PyObject *producer_count(PyObject *self, PyObject *args)
{
    Producer *producer = (Producer *)self;
    unsigned long long dropped, waited;
    if (!PyArg_ParseTuple(args, "KK", &dropped, &waited))
        return NULL;
    if (producer->slot != NULL && producer->token != 0) {
        atomic_fetch_add_explicit(&producer->slot->dropped, dropped, memory_order_relaxed);
        atomic_fetch_add_explicit(&producer->slot->waited, waited, memory_order_relaxed);
    }
    Py_RETURN_NONE;
}

enum producer_field { RING_FIELD, END_FIELD, BOUND_FIELD, ATTENTION_FIELD, WATCH_FIELD };

static PyObject *producer_get(PyObject *self, void *closure)
{
    Producer *producer = (Producer *)self;
    switch ((enum producer_field)(uintptr_t)closure) {
    case RING_FIELD:
        if (producer->ring == NULL)
            Py_RETURN_NONE;
        Py_IncRef(producer->ring);
        return producer->ring;
    case END_FIELD:
        return PyLong_FromUnsignedLongLong(atomic_load(&producer->end));
    case BOUND_FIELD:
        return PyBool_FromLong(producer->token != 0 && producer->token == atomic_load(fork_page));
    case ATTENTION_FIELD:
        return PyBool_FromLong(producer->attention);
    case WATCH_FIELD:
        return PyBool_FromLong(producer->watch);
    }
    Py_RETURN_NONE;
}

static int producer_set_end(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    unsigned long long end = value == NULL ? 0 : PyLong_AsUnsignedLongLong(value);
    if (PyErr_Occurred() != NULL)
        return -1;
    atomic_store(&((Producer *)self)->end, end);
    return 0;
}

static int producer_set(PyObject *self, PyObject *value, void *closure)
{
    Producer *producer = (Producer *)self;
    int truth = value == NULL ? -1 : PyObject_IsTrue(value);
    if (truth < 0)
        return -1;
    if ((enum producer_field)(uintptr_t)closure == WATCH_FIELD)
        producer->watch = truth;
    else
        producer->attention = truth;
    return 0;
}

#define FIELD(name, which, set) {name, producer_get, set, NULL, (void *)(uintptr_t)(which)}
static PyGetSetDef producer_getset[] = {FIELD("_ring", RING_FIELD, NULL),
                                        FIELD("_end", END_FIELD, producer_set_end),
                                        FIELD("_bound", BOUND_FIELD, NULL),
                                        FIELD("_attention", ATTENTION_FIELD, producer_set),
                                        FIELD("_watch", WATCH_FIELD, producer_set),
                                        {NULL, NULL, NULL, NULL, NULL}};

PyDoc_STRVAR(log_doc,
             "log($self, data, /, *, tag=0)\n--\n\n"
             "Log one record and return its position.\n\n"
             "`data` is any bytes-like object, `tag` a number from 0 to 65535 kept beside it.  When this\n"
             "returns the record is committed: it survives the death of any process.  It does no I/O.\n"
             "With on_full=\"drop\" a record that was dropped returns -1.\n\n"
             "Raises TypeError for anything but bytes, RecordTooLargeError, RingFullError,\n"
             "LogFullError, SessionClosedError, LogNotFoundError.");
PyDoc_STRVAR(log_many_doc,
             "log_many($self, records, /, *, tag=0)\n--\n\n"
             "Log several records as one group and return the position of the first.\n\n"
             "All become visible together and stand next to each other, or none is logged.  Together\n"
             "they may take a quarter of the ring.  An empty iterable logs nothing and returns -1.\n\n"
             "Raises what log raises.");

static PyMethodDef producer_methods[] = {
    {"log", (PyCFunction)(void (*)(void))producer_log, METH_FASTCALL | METH_KEYWORDS, log_doc},
    {"log_many", (PyCFunction)(void (*)(void))producer_log_many, METH_VARARGS | METH_KEYWORDS,
     log_many_doc},
    {"_try", producer_try, METH_VARARGS, NULL},
    {"_try_many", producer_try_many, METH_VARARGS, NULL},
    {"_bind", producer_bind, METH_VARARGS, NULL},
    {"_unbind", producer_unbind, METH_NOARGS, NULL},
    {"_count", producer_count, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot producer_slots[] = {{Py_tp_new, producer_new},
                                       {Py_tp_dealloc, producer_dealloc},
                                       {Py_tp_methods, producer_methods},
                                       {Py_tp_getset, producer_getset},
                                       {0, NULL}};
static PyType_Spec producer_spec = {"disklog_mp._core.Producer", sizeof(Producer), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, producer_slots};

/* ---- Record ----------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *owner; /* keeps the memory: a Mapping, or bytes */
    const uint8_t *header;
    uint32_t length; /* as it was when checked: the memory itself is not trusted twice */
    uint16_t kind;
    uint16_t tag;
    uint64_t position;
    uint64_t number;
} Record;

static PyTypeObject *record_type;

static PyObject *make_record(PyTypeObject *type, PyObject *owner, const uint8_t *at,
                             const struct dl_frame_header *header, uint64_t position, uint64_t number)
{
    Record *record = (Record *)dl_new_object(type);
    if (record == NULL)
        return NULL;
    Py_IncRef(owner);
    record->owner = owner;
    record->header = at;
    record->length = header->length;
    record->kind = header->kind;
    record->tag = header->tag;
    record->position = position;
    record->number = number;
    return (PyObject *)record;
}

/* Record(data, *, position, number, timestamp, pid, tag, gap): for pickle, and for tests. */
static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "position", "number", "timestamp", "pid", "tag", "gap", NULL};
    Py_buffer data;
    unsigned long long position = 0, number = 0, timestamp = 0;
    unsigned int pid = 0;
    unsigned short tag = 0;
    int gap = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|KKKIHp", names, &data, &position, &number,
                                     &timestamp, &pid, &tag, &gap))
        return NULL;
    struct dl_frame_header header = {.length = (uint32_t)data.len,
                                     .time = timestamp,
                                     .pid = pid,
                                     .kind = gap ? DL_GAP : DL_RECORD,
                                     .tag = tag};
    PyObject *record = NULL, *owner = PyBytes_FromStringAndSize(NULL, data.len + DL_FRAME_HEADER);
    if (owner != NULL) {
        char *to = PyBytes_AsString(owner);
        memcpy(to, &header, DL_FRAME_HEADER);
        memcpy(to + DL_FRAME_HEADER, data.buf, (size_t)data.len);
        record = make_record(type, owner, (const uint8_t *)to, &header, position, number);
        Py_DecRef(owner);
    }
    PyBuffer_Release(&data);
    return record;
}

static void record_dealloc(PyObject *self)
{
    Py_DecRef(((Record *)self)->owner);
    dl_free_object(self);
}

enum record_field { DATA, VIEW, POSITION, NUMBER, TIMESTAMP, PID, TAG, GAP };

static PyObject *record_get(PyObject *self, void *closure)
{
    Record *record = (Record *)self;
    struct dl_frame_header header;
    switch ((enum record_field)(uintptr_t)closure) {
    case DATA:
        return PyBytes_FromStringAndSize((const char *)record->header + DL_FRAME_HEADER, record->length);
    case VIEW: {
        /* A view of the whole owner, cut down: so it keeps the mapping alive by itself. */
        PyObject *whole = PyMemoryView_FromObject(record->owner), *part = NULL;
        Py_buffer buffer;
        if (whole == NULL)
            return NULL;
        if (PyObject_GetBuffer(record->owner, &buffer, PyBUF_SIMPLE) == 0) {
            Py_ssize_t from = (Py_ssize_t)(record->header + DL_FRAME_HEADER - (uint8_t *)buffer.buf);
            PyBuffer_Release(&buffer);
            PyObject *start = PyLong_FromSsize_t(from);
            PyObject *stop = PyLong_FromSsize_t(from + (Py_ssize_t)record->length);
            PyObject *slice = start != NULL && stop != NULL ? PySlice_New(start, stop, NULL) : NULL;
            part = slice != NULL ? PyObject_GetItem(whole, slice) : NULL;
            Py_DecRef(slice);
            Py_DecRef(start);
            Py_DecRef(stop);
        }
        Py_DecRef(whole);
        return part;
    }
    case POSITION:
        return PyLong_FromUnsignedLongLong(record->position);
    case NUMBER:
        return PyLong_FromUnsignedLongLong(record->number);
    case TIMESTAMP:
        memcpy(&header, record->header, DL_FRAME_HEADER);
        return PyLong_FromUnsignedLongLong(header.time);
    case PID:
        memcpy(&header, record->header, DL_FRAME_HEADER);
        return PyLong_FromUnsignedLong(header.pid);
    case TAG:
        return PyLong_FromUnsignedLong(record->tag);
    case GAP:
        return PyBool_FromLong(record->kind == DL_GAP);
    }
    Py_RETURN_NONE;
}

static PyObject *record_tuple(PyObject *self)
{
    PyObject *values = PyTuple_New(7);
    for (Py_ssize_t i = 0, at = 0; values != NULL && at < 7; i++) {
        if (i == VIEW)
            continue;
        PyObject *value = record_get(self, (void *)(uintptr_t)i);
        if (value == NULL) {
            Py_DecRef(values);
            return NULL;
        }
        PyTuple_SetItem(values, at++, value);
    }
    return values;
}

static PyObject *record_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *values = record_tuple(self);
    return values == NULL ? NULL : Py_BuildValue("(ON)", record_type, values);
}

static PyObject *record_repr(PyObject *self)
{
    PyObject *values = record_tuple(self), *text = NULL;
    if (values != NULL)
        text = PyUnicode_FromFormat("%s(%R, position=%S, number=%S, timestamp=%S, pid=%S, tag=%S, gap=%S)",
                                    "Record", PyTuple_GetItem(values, 0), PyTuple_GetItem(values, 1),
                                    PyTuple_GetItem(values, 2), PyTuple_GetItem(values, 3),
                                    PyTuple_GetItem(values, 4), PyTuple_GetItem(values, 5),
                                    PyTuple_GetItem(values, 6));
    Py_DecRef(values);
    return text;
}

static PyObject *record_compare(PyObject *self, PyObject *other, int operation)
{
    if (Py_TYPE(other) != record_type || (operation != Py_EQ && operation != Py_NE))
        Py_RETURN_NOTIMPLEMENTED;
    PyObject *left = record_tuple(self), *right = record_tuple(other), *result = NULL;
    if (left != NULL && right != NULL)
        result = PyObject_RichCompare(left, right, operation);
    Py_DecRef(left);
    Py_DecRef(right);
    return result;
}

static Py_hash_t record_hash(PyObject *self) { return (Py_hash_t)(((Record *)self)->position >> 3); }

#define ATTRIBUTE(name, which, text) {name, record_get, NULL, text, (void *)(uintptr_t)(which)}
static PyGetSetDef record_getset[] = {
    ATTRIBUTE("data", DATA, "The record's bytes, a copy."),
    ATTRIBUTE("view", VIEW, "The record's bytes where they are, a memoryview of the mapped page."),
    ATTRIBUTE("position", POSITION, "Its place in the log's total order, in bytes since the log began."),
    ATTRIBUTE("number", NUMBER, "Its ordinal in the log, from 0."),
    ATTRIBUTE("timestamp", TIMESTAMP, "When it was logged, ns since the epoch on the producer's clock."),
    ATTRIBUTE("pid", PID, "The producer's process id, in the producer's pid namespace."),
    ATTRIBUTE("tag", TAG, "The user's number from 0 to 65535; the logging handler puts the level here."),
    ATTRIBUTE("gap", GAP,
              "True if it stands for records that were dropped; data is then JSON with how many and since."),
    {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef record_methods[] = {{"__reduce__", record_reduce, METH_NOARGS, NULL},
                                       {NULL, NULL, 0, NULL}};

PyDoc_STRVAR(record_doc, "One record as read back from a page.  Immutable; pickles by value.");
static PyType_Slot record_slots[] = {{Py_tp_new, record_new},
                                     {Py_tp_dealloc, record_dealloc},
                                     {Py_tp_getset, record_getset},
                                     {Py_tp_methods, record_methods},
                                     {Py_tp_repr, record_repr},
                                     {Py_tp_richcompare, record_compare},
                                     {Py_tp_hash, record_hash},
                                     {Py_tp_doc, (void *)record_doc},
                                     {0, NULL}};
static PyType_Spec record_spec = {RECORD_NAME, sizeof(Record), 0, Py_TPFLAGS_DEFAULT, record_slots};

/* ---- Frames ----------------------------------------------------------------------------------------- */

/* An iterator over the records of a page, from an offset to an end that may be moved on.  What it cannot
 * read it notes in `damage` and goes on at the next valid frame. */
typedef struct {
    PyObject_HEAD
    PyObject *mapping;
    uint64_t offset; /* of the next frame */
    uint64_t end;
    uint64_t origin; /* position - offset, the same for the whole page */
    uint64_t number; /* of the next record */
    uint64_t records; /* number behind the page's last record, ~0: not known yet */
    uint32_t seed;
    int payloads; /* give bytes, not Records */
    PyObject *damage; /* list of (offset, length, found, expected) */
    /* inside a group */
    uint64_t group_offset, group_length; /* next inner frame; 0 length: not inside */
    const uint8_t *group;
    uint64_t group_position;
} Frames;

static PyTypeObject *mapping_type;

static PyObject *frames_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"mapping", "offset", "end", "position", "number",
                            "salt",    "records", "payloads", NULL};
    PyObject *mapping;
    unsigned long long offset, end, position, number, salt, records = ~0ull;
    int payloads = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!KKKKK|Kp", names, mapping_type, &mapping, &offset,
                                     &end, &position, &number, &salt, &records, &payloads))
        return NULL;
    if (offset > end || end > ((Mapping *)mapping)->size || offset % DL_GRANULE != 0) {
        PyErr_Format(PyExc_ValueError, "frames from %llu to %llu are not inside a mapping of %zu bytes",
                     offset, end, ((Mapping *)mapping)->size);
        return NULL;
    }
    Frames *frames = (Frames *)dl_new_object(type);
    if (frames == NULL)
        return NULL;
    Py_IncRef(mapping);
    frames->mapping = mapping;
    frames->offset = offset;
    frames->end = end;
    frames->origin = position - offset;
    frames->number = number;
    frames->records = records;
    frames->seed = dl_frame_seed(salt);
    frames->payloads = payloads;
    frames->damage = PyList_New(0);
    if (frames->damage == NULL) {
        Py_DecRef((PyObject *)frames);
        return NULL;
    }
    return (PyObject *)frames;
}

static void frames_dealloc(PyObject *self)
{
    Py_DecRef(((Frames *)self)->mapping);
    Py_DecRef(((Frames *)self)->damage);
    dl_free_object(self);
}

/* How many records stood in a damaged range: exact if the page is sealed and the rest of it is whole, or
 * if the damaged frame's header still leads to the next valid one; else 1 at the least.  What is behind
 * the range is read up to the next damage only, or many damages would cost their square. */
static uint64_t records_lost(const Frames *frames, const uint8_t *at, const struct dl_frame *frame,
                             uint64_t distance)
{
    if (frames->records != ~0ull) {
        struct dl_frame next;
        uint64_t offset = distance, room = frames->end - frames->offset, records = 0;
        uint64_t position = frames->origin + frames->offset;
        while (offset < room
               && dl_frame_check(at + offset, room - offset, position + offset, frames->seed, &next)
                      == DL_FRAME_VALID) {
            records += dl_frame_records(&next);
            offset += next.span;
        }
        if (offset >= room && frames->records >= frames->number + records)
            return frames->records - frames->number - records;
    }
    if (frame->span == distance && frame->header.kind == DL_GROUP
        && frame->header.length <= distance - DL_FRAME_HEADER) {
        uint32_t inner = dl_group_count(frame->bytes, frame->header.length);
        return inner != 0 ? inner : 1;
    }
    return frame->span == distance && dl_frame_records(frame) == 0 ? 0 : 1;
}

/* The next valid frame at or behind the offset.  1 found, 0 the end, -1 an exception. */
static int next_frame(Frames *frames, struct dl_frame *frame)
{
    const Mapping *mapping = (Mapping *)frames->mapping;
    while (frames->offset < frames->end && frames->end <= mapping->size) {
        const uint8_t *at = mapping->memory + frames->offset;
        uint64_t room = frames->end - frames->offset, position = frames->origin + frames->offset;
        if (dl_frame_check(at, room, position, frames->seed, frame) == DL_FRAME_VALID)
            return 1;
        uint64_t distance = dl_frame_find(at, room, position, frames->seed);
        uint64_t lost = distance < room ? records_lost(frames, at, frame, distance)
                        : frames->records != ~0ull && frames->records > frames->number
                            ? frames->records - frames->number
                            : 0;
        PyObject *range = Py_BuildValue("(KKIIK)", frames->offset, distance, frame->found, frame->expected,
                                        lost);
        if (range == NULL || PyList_Append(frames->damage, range) != 0) {
            Py_DecRef(range);
            return -1;
        }
        Py_DecRef(range);
        frames->number += lost;
        frames->offset += distance;
    }
    return 0;
}

static PyObject *give(Frames *frames, const struct dl_frame *frame, uint64_t position)
{
    uint64_t number = frames->number++;
    if (frames->payloads)
        return PyBytes_FromStringAndSize((const char *)frame->bytes, frame->header.length);
    return make_record(record_type, frames->mapping, frame->bytes - DL_FRAME_HEADER, &frame->header,
                       position, number);
}

static PyObject *frames_next(PyObject *self)
{
    Frames *frames = (Frames *)self;
    struct dl_frame frame;
    for (;;) {
        if (frames->group_length != 0) {
            uint64_t at = frames->group_offset;
            if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame))
                return give(frames, &frame, frames->group_position + DL_FRAME_HEADER + at);
            frames->group_length = 0;
        }
        if (next_frame(frames, &frame) <= 0)
            return NULL;
        uint64_t position = frames->origin + frames->offset;
        frames->offset += frame.span;
        if (frame.header.kind == DL_RECORD || frame.header.kind == DL_GAP)
            return give(frames, &frame, position);
        if (frame.header.kind == DL_GROUP) {
            frames->group = frame.bytes;
            frames->group_length = frame.header.length;
            frames->group_offset = DL_GROUP_HEADER;
            frames->group_position = position;
        }
    }
}

static PyObject *frames_self(PyObject *self)
{
    Py_IncRef(self);
    return self;
}

/* Go on to the frame that holds the record of that number, or of that position; records before it inside
 * a group are passed over too. */
static PyObject *frames_seek(PyObject *self, PyObject *args)
{
    Frames *frames = (Frames *)self;
    unsigned long long number, position = 0;
    struct dl_frame frame;
    if (!PyArg_ParseTuple(args, "K|K", &number, &position))
        return NULL;
    for (;;) {
        if (frames->group_length != 0) {
            uint64_t at = frames->group_offset;
            if (frames->number >= number
                && frames->group_position + DL_FRAME_HEADER + at >= position)
                break;
            if (dl_group_next(frames->group, frames->group_length, &frames->group_offset, &frame)) {
                frames->number++;
                continue;
            }
            frames->group_length = 0;
        }
        int found = next_frame(frames, &frame);
        if (found < 0)
            return NULL;
        if (found == 0)
            break;
        uint32_t records = dl_frame_records(&frame);
        uint64_t here = frames->origin + frames->offset;
        if (here + frame.span <= position || frames->number + records < number
            || (records != 0 && frames->number + records <= number)) {
            frames->number += records;
            frames->offset += frame.span;
            continue;
        }
        if (frame.header.kind != DL_GROUP)
            break;
        frames->offset += frame.span;
        frames->group = frame.bytes;
        frames->group_length = frame.header.length;
        frames->group_offset = DL_GROUP_HEADER;
        frames->group_position = here;
    }
    Py_RETURN_NONE;
}

/* Go on to a later end (of the same mapping, or of a longer one of the same page). */
static PyObject *frames_extend(PyObject *self, PyObject *args)
{
    Frames *frames = (Frames *)self;
    unsigned long long end;
    PyObject *mapping = NULL;
    if (!PyArg_ParseTuple(args, "K|O!", &end, mapping_type, &mapping))
        return NULL;
    if (mapping == NULL)
        mapping = frames->mapping;
    if (end < frames->end || end > ((Mapping *)mapping)->size) {
        PyErr_Format(PyExc_ValueError, "an end of %llu is not inside a mapping of %zu bytes", end,
                     ((Mapping *)mapping)->size);
        return NULL;
    }
    if (mapping != frames->mapping) {
        if (frames->group_length != 0)
            frames->group = ((Mapping *)mapping)->memory
                            + (frames->group - ((Mapping *)frames->mapping)->memory);
        PyObject *old = frames->mapping;
        Py_IncRef(mapping);
        frames->mapping = mapping;
        Py_DecRef(old);
    }
    frames->end = end;
    Py_RETURN_NONE;
}

enum frames_field { AT_OFFSET, AT_END, AT_NUMBER, AT_POSITION, AT_DAMAGE, AT_INSIDE };

static PyObject *frames_get(PyObject *self, void *closure)
{
    Frames *frames = (Frames *)self;
    switch ((enum frames_field)(uintptr_t)closure) {
    case AT_OFFSET:
        return PyLong_FromUnsignedLongLong(frames->offset);
    case AT_END:
        return PyLong_FromUnsignedLongLong(frames->end);
    case AT_NUMBER:
        return PyLong_FromUnsignedLongLong(frames->number);
    case AT_POSITION: {
        uint64_t position = frames->origin + frames->offset, at = frames->group_offset;
        struct dl_frame inner;
        if (frames->group_length != 0 && dl_group_next(frames->group, frames->group_length, &at, &inner))
            position = frames->group_position + DL_FRAME_HEADER + frames->group_offset;
        return PyLong_FromUnsignedLongLong(position);
    }
    case AT_DAMAGE:
        Py_IncRef(frames->damage);
        return frames->damage;
    case AT_INSIDE:
        return PyBool_FromLong(frames->group_length != 0);
    }
    Py_RETURN_NONE;
}

#define PLACE(name, which) {name, frames_get, NULL, NULL, (void *)(uintptr_t)(which)}
static PyGetSetDef frames_getset[] = {PLACE("offset", AT_OFFSET),
                                      PLACE("end", AT_END),
                                      PLACE("number", AT_NUMBER),
                                      PLACE("position", AT_POSITION),
                                      PLACE("damage", AT_DAMAGE),
                                      PLACE("inside", AT_INSIDE),
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyMethodDef frames_methods[] = {{"seek", frames_seek, METH_VARARGS, NULL},
                                       {"extend", frames_extend, METH_VARARGS, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyType_Slot frames_slots[] = {{Py_tp_new, frames_new},
                                     {Py_tp_dealloc, frames_dealloc},
                                     {Py_tp_iter, frames_self},
                                     {Py_tp_iternext, frames_next},
                                     {Py_tp_getset, frames_getset},
                                     {Py_tp_methods, frames_methods},
                                     {0, NULL}};
static PyType_Spec frames_spec = {"disklog_mp._core.Frames", sizeof(Frames), 0, Py_TPFLAGS_DEFAULT,
                                  frames_slots};

/* census(buffer, offset, end, position, salt, crc=0xffffffff): all frames between two offsets, checked. */
static PyObject *core_census(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    unsigned long long offset, end, position, salt;
    unsigned int crc = 0xffffffffu;
    if (!PyArg_ParseTuple(args, "y*KKKK|I", &buffer, &offset, &end, &position, &salt, &crc))
        return NULL;
    PyObject *result = NULL;
    if (offset > end || end > (uint64_t)buffer.len)
        PyErr_Format(PyExc_ValueError, "frames from %llu to %llu are not inside %zd bytes", offset, end,
                     buffer.len);
    else {
        struct dl_census census;
        Py_BEGIN_ALLOW_THREADS
        dl_census((const uint8_t *)buffer.buf + offset, end - offset, position, dl_frame_seed(salt), crc,
                  &census);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("(KKKKKKKI)", census.records, census.frames, census.abandoned,
                               census.corrupt_ranges, census.corrupt_bytes, offset + census.end,
                               census.last_time, census.data_crc);
    }
    PyBuffer_Release(&buffer);
    return result;
}

/* True if this process can run the barrier of all who are registered, see PARKING in ring.h. */
static PyObject *core_has_barrier(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
}

static PyObject *core_all_zero(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    if (!PyArg_ParseTuple(args, "y*", &buffer))
        return NULL;
    bool zero = dl_all_zero(buffer.buf, (uint64_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyBool_FromLong(zero);
}

/* crc32c(data): the standard checksum.  crc32c_update(data, register): pieces, raw register. */
static PyObject *core_crc32c(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    if (!PyArg_ParseTuple(args, "y*", &buffer))
        return NULL;
    uint32_t crc = dl_crc32c(buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *core_crc32c_update(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    unsigned int crc;
    if (!PyArg_ParseTuple(args, "y*I", &buffer, &crc))
        return NULL;
    crc = dl_crc32c_update(crc, buffer.buf, (size_t)buffer.len);
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *core_crc32c_name(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(dl_crc32c_name());
}

/* ---- module ----------------------------------------------------------------------------------------- */

/* The interpreter calls a method at once if the method's type is the object's; else it looks first whether that
 * is among the bases, which takes as long as half of an append.  So a subclass of one of our types gets methods of
 * its own: the same functions, unless a class in between has others. */
static PyObject *core_with_own_methods(PyObject *module, PyObject *given)
{
    (void)module;
    if (!PyType_Check(given)) {
        PyErr_Format(PyExc_TypeError, "%R is no type", given);
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)given, *base = type;
    PyMethodDef *method = NULL;
    while (base != NULL && (method = PyType_GetSlot(base, Py_tp_methods)) == NULL)
        base = PyType_GetSlot(base, Py_tp_base);
    for (; method != NULL && method->ml_name != NULL; method++) {
        PyObject *found = PyObject_GetAttrString(given, method->ml_name);
        PyObject *inherited = PyObject_GetAttrString((PyObject *)base, method->ml_name);
        PyObject *own = found != NULL && found == inherited ? PyDescr_NewMethod(type, method) : NULL;
        int failed = found == NULL || inherited == NULL
                     || (found == inherited
                         && (own == NULL || PyObject_SetAttrString(given, method->ml_name, own) != 0));
        Py_DecRef(found);
        Py_DecRef(inherited);
        Py_DecRef(own);
        if (failed)
            return NULL;
    }
    Py_IncRef(given);
    return given;
}

static PyMethodDef core_methods[] = {
    {"ring_size", core_ring_size, METH_VARARGS, NULL},
    {"format_ring", core_format_ring, METH_VARARGS, NULL},
    {"forked", core_forked, METH_NOARGS, NULL},
    {"has_barrier", core_has_barrier, METH_NOARGS, NULL},
    {"census", core_census, METH_VARARGS, NULL},
    {"all_zero", core_all_zero, METH_VARARGS, NULL},
    {"crc32c", core_crc32c, METH_VARARGS, NULL},
    {"crc32c_update", core_crc32c_update, METH_VARARGS, NULL},
    {"crc32c_name", core_crc32c_name, METH_NOARGS, NULL},
    {"with_own_methods", core_with_own_methods, METH_O, NULL},
    {NULL, NULL, 0, NULL}};

static const struct {
    const char *name;
    long value;
} core_numbers[] = {
    {"FULL", DL_FULL},
    {"TOO_LARGE", DL_TOO_LARGE},
    {"ENDED", DL_ENDED},
    {"DAMAGED", DL_DAMAGED},
    {"NEEDS_ATTACH", NEEDS_ATTACH},
    {"NEEDS_ATTENTION", NEEDS_ATTENTION},
    {"HALTED", HALTED},
    {"STOP_EMPTY", DL_STOP_EMPTY},
    {"STOP_CLAIMED", DL_STOP_CLAIMED},
    {"STOP_LIMIT", DL_STOP_LIMIT},
    {"STOP_WRAP", DL_STOP_WRAP},
    {"STOP_CLOSED", DL_STOP_CLOSED},
    {"STOP_DAMAGED", DL_STOP_DAMAGED},
    {"LOG_FULL", DL_LOG_FULL},
    {"REPLACED", DL_REPLACED},
    {"SLOT_FREE", DL_SLOT_FREE},
    {"SLOT_ATTACHED", DL_SLOT_ATTACHED},
    {"SLOT_DETACHED", DL_SLOT_DETACHED},
    {"KIND_RECORD", DL_RECORD},
    {"KIND_GAP", DL_GAP},
    {"GRANULE", DL_GRANULE},
    {"FRAME_HEADER", DL_FRAME_HEADER},
    {"SLOTS", DL_SLOTS},
    {"SLOTS_OFFSET", DL_SLOTS_OFFSET},
    {"WRITER_LOCK", DL_WRITER_LOCK},
    {"RING_VERSION", DL_RING_VERSION},
    {"PAGE_VERSION", DL_PAGE_VERSION},
    {"CAPACITY_MIN", DL_CAPACITY_MIN},
    {"CAPACITY_MAX", DL_CAPACITY_MAX},
    {"HINT", DL_CONTROL_OFFSET + offsetof(struct dl_control, hint)},
    {"SPACE_WANTED", DL_CONTROL_OFFSET + offsetof(struct dl_control, space_wanted)},
    {"SPACE", DL_CONTROL_OFFSET + offsetof(struct dl_control, space)},
    {"DONE_WANTED", DL_CONTROL_OFFSET + offsetof(struct dl_control, done_wanted)},
    {"DONE", DL_CONTROL_OFFSET + offsetof(struct dl_control, done)},
    {"SYNC_WANTED", DL_CONTROL_OFFSET + offsetof(struct dl_control, sync_wanted)},
    {"ROLL_WANTED", DL_CONTROL_OFFSET + offsetof(struct dl_control, roll_wanted)},
    {"TOTALS", DL_CONTROL_OFFSET + offsetof(struct dl_control, totals)},
    {"WRITER_COUNT", DL_CONTROL_OFFSET + offsetof(struct dl_control, writer_count)},
    {"REPAIR", DL_CONTROL_OFFSET + offsetof(struct dl_control, repair)},
    {"ERROR_TEXT", DL_CONTROL_OFFSET + offsetof(struct dl_control, error_text)},
    {"ERROR_TEXT_LENGTH", sizeof(((struct dl_control *)0)->error_text)},
    {"OPTIONS", DL_CONTROL_OFFSET + offsetof(struct dl_control, options)},
    {"OPTIONS_LENGTH", sizeof(((struct dl_control *)0)->options)},
};

PyTypeObject *dl_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    if (type == NULL)
        return NULL;
    if (PyModule_AddObjectRef(module, name, type) != 0) {
        Py_DecRef(type);
        return NULL;
    }
    return (PyTypeObject *)type; /* this reference stays: the core is never unloaded */
}

static int core_exec(PyObject *module)
{
    if (mapping_type != NULL) {
        PyErr_SetString(PyExc_ImportError,
                        "disklog_mp._core is loaded once per process: no second interpreter, no reload");
        return -1;
    }
    dl_crc32c_init();
    /* Here, where a process has one thread as a rule: with more it takes the kernel milliseconds. */
    membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    os_page = (uintptr_t)sysconf(_SC_PAGESIZE);
    wall_begin();
    if (make_fork_page() != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    for (size_t i = 0; i < sizeof core_numbers / sizeof *core_numbers; i++)
        if (PyModule_AddIntConstant(module, core_numbers[i].name, core_numbers[i].value) != 0)
            return -1;
    mapping_type = dl_add_type(module, "Mapping", &mapping_spec, NULL);
    if (mapping_type == NULL)
        return -1;
    ring_type = dl_add_type(module, "Ring", &ring_spec, (PyObject *)mapping_type);
    record_type = dl_add_type(module, "Record", &record_spec, NULL);
    producer_type = dl_add_type(module, "Producer", &producer_spec, NULL);
    if (ring_type == NULL || record_type == NULL || producer_type == NULL
        || dl_add_type(module, "Frames", &frames_spec, NULL) == NULL || dl_add_event_types(module) != 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT, "_core", NULL, 0, core_methods, core_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&core_module); }
