/* Ring: what the writer, and who looks on, does with a ring, as methods; and how the writer sleeps. */
#include "objects.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../os/wall_clock.h"

PyTypeObject *dl_ring_type;


static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = dl_map_new(type, args, kwargs);
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
                    && errno == ETIMEDOUT && dl_is_parked(ring) && dl_frontier(ring, position) == position
                    && !has_changed(&watched);
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

struct dl_slot *dl_slot_at(PyObject *self, unsigned int index)
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
    struct dl_slot *slot = dl_slot_at(self, index);
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
    struct dl_slot *slot = dl_slot_at(self, index);
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
    struct dl_slot *slot = dl_slot_at(self, index);
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
    if (!PyArg_ParseTuple(args, "I", &index) || dl_slot_at(self, index) == NULL)
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
                                    {Py_tp_dealloc, dl_mapping_dealloc},
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

/* True if this process can run the barrier of all who are registered, see PARKING in ring.h. */
static PyObject *core_has_barrier(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
}

static PyMethodDef ring_functions[] = {
    {"ring_size", core_ring_size, METH_VARARGS, NULL},
    {"format_ring", core_format_ring, METH_VARARGS, NULL},
    {"has_barrier", core_has_barrier, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

int dl_add_ring_type(PyObject *module)
{
    /* Here, where a process has one thread as a rule: with more it takes the kernel milliseconds. */
    membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    dl_ring_type = dl_add_type(module, "Ring", &ring_spec, (PyObject *)dl_mapping_type);
    return dl_ring_type == NULL ? -1 : PyModule_AddFunctions(module, ring_functions);
}
