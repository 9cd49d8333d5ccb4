/* Producer: one process's way into a ring.  What a status means for a caller (wait, drop, raise, attach
 * again) is decided in Python, which log() calls only off the fast path.
 */
#include "producer.h"

#include <stdlib.h>
#include <string.h>

#include "../core/frames.h"
#include "../os/fork.h"
#include "../os/kernel.h"
#include "../os/wall_clock.h"
#include "arguments.h"
#include "log_docs.h"
#include "objects.h"
#include "producer_tuning.h"
#include "ring_slots.h"
#include "ring_wait.h"
#include "seat.h"

/* Bytes: below it the copy is shorter than giving the GIL back (bench: length). */
#define RELEASE_GIL_ABOVE 16384u
/* ns without a heartbeat before a producer looks closer; untuned: a session that logs is to replace a dead
 * writer within a second, and a writer that has just come to rest shows itself five times as often. */
#define WRITER_SILENCE 500000000ull

static PyObject *core_forked(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    dl_leave_seats_to_parent();
    dl_forked();
    Py_RETURN_NONE;
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
    if (producer->token != 0 && producer->token != dl_fork_now())
        DL_LABEL(inside:C, atomic_store(&producer->inside, 0));
}

/* Take over the writer's answer which index our label has; false if there is none yet. */
static bool learn_label(Producer *producer)
{
    const struct dl_label *label = &ring_of(producer->ring)->labels[producer->claimant.slot];
    uint32_t index = DL_LABEL(label:A, atomic_load_explicit(&label->index, memory_order_acquire));
    if (index == 0)
        return false;
    if (index <= DL_LABEL_MAX) /* or there is none to be had, or another process scribbled there */
        DL_LABEL(mark:A, atomic_store_explicit(&producer->kind, DL_RECORD | index << DL_LABEL_SHIFT,
                                               memory_order_relaxed));
    DL_LABEL(ask:B, atomic_fetch_and(&producer->attention, ~ATTENTION_LABEL));
    return true;
}

static int attention_of(Producer *producer)
{
    return DL_LABEL(ask:A, atomic_load_explicit(&producer->attention, memory_order_relaxed));
}

/* True if session.py wants to be asked first.  The answer about the label is taken over by the way. */
static bool needs_session(Producer *producer, int attention)
{
    if (attention & ATTENTION_LABEL)
        learn_label(producer);
    return attention & ATTENTION_SESSION;
}

static uint16_t record_kind(Producer *producer)
{
    return (uint16_t)DL_LABEL(mark:A, atomic_load_explicit(&producer->kind, memory_order_relaxed));
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
    producer->claimant.lost = dl_back_off;
    producer->claimant.pid = pid;
    producer->claimant.light = membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    DL_LABEL(own:C, atomic_store(&producer->claimant.last, 0));
    producer->slot = &ring_of(ring)->slots[slot];
    DL_LABEL(mark:A, atomic_store_explicit(&producer->kind, DL_RECORD, memory_order_relaxed));
    producer->window = producer->here = 0;
    producer->windows = ring_of(ring)->capacity / DL_WINDOW;
    producer->ring = ring;
    forget_parent(producer);
    producer->token = dl_fork_token();
    DL_LABEL(ask:B, atomic_fetch_and(&producer->attention, ~ATTENTION_LABEL));
    if (ring_of(ring)->labels[slot].length != 0) {
        DL_LABEL(ask:B, atomic_fetch_or(&producer->attention, ATTENTION_LABEL));
        learn_label(producer);
    }
    Py_DecRef(old);
    Py_RETURN_NONE;
}

/* From here on log() asks the session; returns how many appends are still on their way. */
static PyObject *producer_unbind(PyObject *self, PyObject *unused)
{
    (void)unused;
    Producer *producer = (Producer *)self;
    forget_parent(producer);
    producer->token = 0;
    return PyLong_FromLong(DL_LABEL(inside:B, atomic_load(&producer->inside)));
}

/* Status of the checks that cost a load each. */
static int ready(Producer *producer)
{
    if (producer->ring == NULL
        || producer->token != dl_fork_now()
        || producer->token == 0)
        return NEEDS_ATTACH;
    struct dl_control *control = ring_of(producer->ring)->control;
    switch (DL_LABEL(halt:A, atomic_load_explicit(&control->halted, memory_order_relaxed))) {
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
    DL_LABEL(count:A, atomic_fetch_add_explicit(counter, by, memory_order_relaxed));
#else
    /* Only this process counts here, and its threads hold the GIL. */
    uint64_t before = DL_LABEL(count:A, atomic_load_explicit(counter, memory_order_relaxed));
    DL_LABEL(count:A, atomic_store_explicit(counter, before + by, memory_order_relaxed));
#endif
}

static void appended(Producer *producer, PyObject *held, uint64_t time, uint64_t bytes, uint64_t end,
                     uint64_t records)
{
    struct dl_ring *ring = ring_of(held);
    DL_LABEL(pace:A, atomic_store_explicit(&producer->logged_at, time, memory_order_relaxed));
    if (producer->ring == held
        && DL_LABEL(end:A, atomic_load_explicit(&producer->end, memory_order_relaxed)) < end)
        DL_LABEL(end:A, atomic_store_explicit(&producer->end, end, memory_order_relaxed));
    DL_POINT("committed");
    count(&producer->slot->logged, records);
    DL_POINT("counted");
    if (producer->windows != 0) {
        producer->here += bytes;
        if (end / DL_WINDOW != producer->window && producer->ring == held)
            dl_enter_window(producer, ring, end / DL_WINDOW);
    }
    if (dl_take_bell(ring)) {
        DL_POINT("bell taken");
        if (dl_wake_writer(ring))
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
        DL_LABEL(inside:A, atomic_fetch_add(&producer->inside, 1));
        if (producer->token == 0) { /* unbound in between, as is possible without a GIL */
            DL_LABEL(inside:A, atomic_fetch_sub(&producer->inside, 1));
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
        DL_LABEL(inside:A, atomic_fetch_sub(&producer->inside, 1)); /* counted: now the slot may go */
        Py_DecRef(held);
    }
    return status;
}

/* One record, unless something stands in the way: DL_OK and its position, or a status for the session. */
static int log_record(Producer *producer, const void *bytes, size_t length, uint64_t now, uint16_t tag,
                      uint64_t *position)
{
    int status = ready(producer);
    if (status != DL_OK)
        return status;
    int attention = attention_of(producer);
    if (attention != 0 && needs_session(producer, attention))
        return NEEDS_ATTENTION;
    struct dl_frame_header header = {.time = now, .kind = record_kind(producer), .tag = tag};
    return append(producer, bytes, length, &header, position);
}

/* After a record of this time: if the writer has been silent, the session looks at it, once in a while. */
static void watch_writer(Producer *producer, uint64_t now)
{
    if (!producer->watch || producer->ring == NULL)
        return;
    struct dl_control *control = ring_of(producer->ring)->control;
    uint64_t beat = DL_LABEL(beat:B, atomic_load_explicit(&control->heartbeat, memory_order_relaxed));
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
PyObject *dl_producer_log(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    Producer *producer = (Producer *)self;
    uint16_t tag;
    uint64_t position = 0;
    Py_buffer view;
    if (dl_parse_record(args, nargs, names, &tag) != 0 || dl_get_bytes(args[0], &view) != 0)
        return NULL;
    uint64_t now = dl_wall_ns();
    int status = log_record(producer, view.buf, (size_t)view.len, now, tag, &position);
    dl_done_bytes(&view);
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

uint32_t dl_pid_of(PyObject *session) { return ((Producer *)session)->claimant.pid; }

bool dl_is_session(PyObject *object)
{
    return Py_TYPE(object) == producer_type || PyType_IsSubtype(Py_TYPE(object), producer_type);
}

/* The kind of a frame: a record that is logged again keeps its label, any other gets ours. */
static uint16_t kind_of(Producer *producer, unsigned int kind, unsigned int pid, unsigned int label)
{
    uint16_t mark = pid != 0 ? (uint16_t)(label << DL_LABEL_SHIFT) : record_kind(producer);
    return (uint16_t)((kind & DL_KIND_MASK) | (mark & (uint16_t)~DL_KIND_MASK));
}

/* One attempt, for the session: the position, or the negative status.  A record that is logged again keeps
 * its time, pid and label (pid 0: now, and our own).
 */
static PyObject *producer_try(PyObject *self, PyObject *args)
{
    Producer *producer = (Producer *)self;
    PyObject *data;
    unsigned int tag, kind = DL_RECORD, pid = 0, label = 0;
    unsigned long long time = 0;
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "OI|IKII", &data, &tag, &kind, &time, &pid, &label)
        || dl_get_bytes(data, &view) != 0)
        return NULL;
    uint64_t position = 0;
    int status = ready(producer);
    if (status == DL_OK) {
        struct dl_frame_header header = {.time = time != 0 ? time : dl_wall_ns(),
                                         .pid = pid,
                                         .kind = kind_of(producer, kind, pid, label),
                                         .tag = (uint16_t)tag};
        status = append(producer, view.buf, (size_t)view.len, &header, &position);
        if (status == DL_OK && pid != 0 && pid != producer->claimant.pid)
            producer->slot->again++;
    }
    dl_done_bytes(&view);
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
        if (dl_get_bytes(PyTuple_GetItem(records, got), &views[got]) != 0)
            goto done;
        items[got] = (struct dl_item){views[got].buf, (uint64_t)views[got].len};
    }
    status = number > UINT32_MAX ? DL_TOO_LARGE : ready(producer);
    if (status == DL_OK) {
        PyObject *held = producer->ring;
        uint64_t end;
        if (header.pid == 0)
            header.kind = record_kind(producer);
        if (header.time == 0)
            header.time = dl_wall_ns();
        Py_IncRef(held);
        DL_LABEL(inside:A, atomic_fetch_add(&producer->inside, 1));
        status = dl_append_group(ring_of(held), &producer->claimant, &header, items, (uint32_t)number,
                                 position, &end);
        if (status == DL_OK)
            appended(producer, held, header.time, end - *position, end, (uint64_t)number);
        if (status == DL_OK && header.pid != 0 && header.pid != producer->claimant.pid)
            producer->slot->again += (uint32_t)number;
        DL_LABEL(inside:A, atomic_fetch_sub(&producer->inside, 1));
        Py_DecRef(held);
    }
done:
    for (Py_ssize_t i = 0; i < got; i++)
        dl_done_bytes(&views[i]);
    free(views);
    free(items);
    return status;
}

static PyObject *producer_try_many(PyObject *self, PyObject *args)
{
    PyObject *records;
    unsigned int tag, pid = 0, label = 0;
    unsigned long long time = 0;
    uint64_t position;
    if (!PyArg_ParseTuple(args, "O!I|KII", &PyTuple_Type, &records, &tag, &time, &pid, &label))
        return NULL;
    struct dl_frame_header header = {
        .time = time, .pid = pid, .kind = (uint16_t)(label << DL_LABEL_SHIFT), .tag = (uint16_t)tag};
    int status = append_group((Producer *)self, records, header, &position);
    if (status == RAISED)
        return NULL;
    return status == DL_OK ? PyLong_FromUnsignedLongLong(position) : PyLong_FromLong(status);
}

/* session.log_many(records, *, tag=0) */
PyObject *dl_producer_log_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"records", "tag", NULL};
    PyObject *given, *value = NULL, *result = NULL;
    uint16_t tag = 0;
    uint64_t position;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$O", names, &given, &value)
        || (value != NULL && dl_parse_tag(value, &tag) != 0))
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
        int attention = attention_of((Producer *)self);
        if (attention == 0 || !needs_session((Producer *)self, attention))
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

static void note_policy(Producer *producer, uint16_t policy)
{
    _Atomic uint16_t *policies = &ring_of(producer->ring)->labels[producer->claimant.slot].policies;
    uint16_t before = DL_LABEL(count:A, atomic_load_explicit(policies, memory_order_relaxed));
    if ((before & policy) != policy)
        DL_LABEL(count:A, atomic_store_explicit(policies, before | policy, memory_order_relaxed));
}

/* Counts of this process's slot: (dropped, waited) to add; a bit for the policy by which records were
 * dropped.  Of two policies that two threads note at the same moment one may be left: the next drop of the
 * other notes it. */
static PyObject *producer_count(PyObject *self, PyObject *args)
{
    Producer *producer = (Producer *)self;
    unsigned long long dropped, waited;
    unsigned int policy = 0;
    if (!PyArg_ParseTuple(args, "KK|I", &dropped, &waited, &policy))
        return NULL;
    if (producer->slot != NULL && producer->token != 0) {
        DL_LABEL(count:A, atomic_fetch_add_explicit(&producer->slot->dropped, dropped, memory_order_relaxed));
        DL_LABEL(count:A, atomic_fetch_add_explicit(&producer->slot->waited, waited, memory_order_relaxed));
        if (policy != 0)
            note_policy(producer, (uint16_t)policy);
    }
    Py_RETURN_NONE;
}

enum producer_field { RING_FIELD, END_FIELD, BOUND_FIELD, ATTENTION_FIELD, WATCH_FIELD, LABEL_FIELD };

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
        return PyLong_FromUnsignedLongLong(DL_LABEL(end:B, atomic_load(&producer->end)));
    case BOUND_FIELD:
        return PyBool_FromLong(producer->token != 0 && producer->token == dl_fork_now());
    case ATTENTION_FIELD:
        return PyBool_FromLong(attention_of(producer) & ATTENTION_SESSION);
    case WATCH_FIELD:
        return PyBool_FromLong(producer->watch);
    case LABEL_FIELD:
        return PyBool_FromLong(producer->token != 0 && (attention_of(producer) & ATTENTION_LABEL)
                               && !learn_label(producer));
    }
    Py_RETURN_NONE;
}

static int producer_set_end(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    unsigned long long end = value == NULL ? 0 : PyLong_AsUnsignedLongLong(value);
    if (PyErr_Occurred() != NULL)
        return -1;
    DL_LABEL(end:B, atomic_store(&((Producer *)self)->end, end));
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
    else if (truth)
        DL_LABEL(ask:B, atomic_fetch_or(&producer->attention, ATTENTION_SESSION));
    else
        DL_LABEL(ask:B, atomic_fetch_and(&producer->attention, ~ATTENTION_SESSION));
    return 0;
}

#define FIELD(name, which, set) {name, producer_get, set, NULL, (void *)(uintptr_t)(which)}
static PyGetSetDef producer_getset[] = {FIELD("ring", RING_FIELD, NULL),
                                        FIELD("end", END_FIELD, producer_set_end),
                                        FIELD("is_bound", BOUND_FIELD, NULL),
                                        FIELD("needs_attention", ATTENTION_FIELD, producer_set),
                                        FIELD("watches_writer", WATCH_FIELD, producer_set),
                                        FIELD("awaits_label", LABEL_FIELD, NULL),
                                        {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef producer_methods[] = {
    {"log", (PyCFunction)(void (*)(void))dl_producer_log, METH_FASTCALL | METH_KEYWORDS, log_doc},
    {"log_many", (PyCFunction)(void (*)(void))dl_producer_log_many, METH_VARARGS | METH_KEYWORDS,
     log_many_doc},
    {"try_record", producer_try, METH_VARARGS, NULL},
    {"try_group", producer_try_many, METH_VARARGS, NULL},
    {"bind", producer_bind, METH_VARARGS, NULL},
    {"unbind", producer_unbind, METH_NOARGS, NULL},
    {"count", producer_count, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot producer_slots[] = {{Py_tp_new, dl_plain_new},
                                       {Py_tp_dealloc, producer_dealloc},
                                       {Py_tp_methods, producer_methods},
                                       {Py_tp_getset, producer_getset},
                                       {0, NULL}};
static PyType_Spec producer_spec = {"disklog_mp._core.Producer", sizeof(Producer), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, producer_slots};

static PyMethodDef producer_functions[] = {{"forked", core_forked, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

int dl_add_producer_type(PyObject *module)
{
#ifdef Py_GIL_DISABLED
    dl_wall_begin(false);
#else
    dl_wall_begin(true);
#endif
    if (dl_fork_begin() != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    producer_type = dl_add_type(module, "Producer", &producer_spec, NULL);
    return producer_type == NULL ? -1 : PyModule_AddFunctions(module, producer_functions);
}
