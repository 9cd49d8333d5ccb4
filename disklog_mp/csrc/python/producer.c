/* Producer: one process's way into a ring.  What a status means for a caller (wait, drop, raise, re-attach) is
 * decided in session.py, which log() calls only off the fast path.
 */
#include "objects.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "../core/frames.h"
#include "../os/wall_clock.h"

#define RELEASE_GIL_ABOVE 16384u /* bytes: below it the copy is shorter than giving the GIL back */
#define WRITER_SILENCE 1000000000ull /* ns without a heartbeat before a producer looks closer */

/* ---- fork ------------------------------------------------------------------------------------------- */

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

static PyTypeObject *producer_type; /* set once, at import */

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
    if (!PyArg_ParseTuple(args, "O!II", dl_ring_type, &ring, &slot, &pid) || dl_slot_at(ring, slot) == NULL)
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

/* (data, *, tag=0): the arguments of log and try_record. */
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
static PyGetSetDef producer_getset[] = {FIELD("ring", RING_FIELD, NULL),
                                        FIELD("end", END_FIELD, producer_set_end),
                                        FIELD("is_bound", BOUND_FIELD, NULL),
                                        FIELD("needs_attention", ATTENTION_FIELD, producer_set),
                                        FIELD("watches_writer", WATCH_FIELD, producer_set),
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
    {"try_record", producer_try, METH_VARARGS, NULL},
    {"try_group", producer_try_many, METH_VARARGS, NULL},
    {"bind", producer_bind, METH_VARARGS, NULL},
    {"unbind", producer_unbind, METH_NOARGS, NULL},
    {"count", producer_count, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot producer_slots[] = {{Py_tp_new, producer_new},
                                       {Py_tp_dealloc, producer_dealloc},
                                       {Py_tp_methods, producer_methods},
                                       {Py_tp_getset, producer_getset},
                                       {0, NULL}};
static PyType_Spec producer_spec = {"disklog_mp._core.Producer", sizeof(Producer), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, producer_slots};

static PyMethodDef producer_functions[] = {{"forked", core_forked, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

int dl_add_producer_type(PyObject *module)
{
    wall_begin();
    if (make_fork_page() != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    producer_type = dl_add_type(module, "Producer", &producer_spec, NULL);
    return producer_type == NULL ? -1 : PyModule_AddFunctions(module, producer_functions);
}
