/* Ring: the constants and control words of a ring by name, and the writer's steps, as methods.  How processes wait is
 * in ring_wait.c, the producer table in ring_slots.c.  It must not know policy: what to do with an answer is Python's.
 */
#include "ring_object.h"

#include <string.h>

#include "../os/kernel.h"
#include "objects.h"
#include "ring_slots.h"
#include "ring_wait.h"

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

static PyMethodDef ring_methods[] = {
    {"drain", ring_drain, METH_VARARGS, NULL},
    {"abandon", ring_abandon, METH_VARARGS, NULL},
    {"release", dl_ring_release, METH_VARARGS, NULL},
    {"close", ring_close, METH_VARARGS, NULL},
    {"frontier", ring_frontier, METH_VARARGS, NULL},
    {"is_closed", ring_is_closed, METH_NOARGS, NULL},
    {"park", dl_ring_park, METH_VARARGS, NULL},
    {"doze", dl_ring_doze, METH_VARARGS, NULL},
    {"wake", dl_ring_wake, METH_NOARGS, NULL},
    {"announce", dl_ring_announce, METH_NOARGS, NULL},
    {"slot", dl_ring_slot, METH_VARARGS, NULL},
    {"slots", dl_ring_slots, METH_VARARGS, NULL},
    {"odd_slots", dl_ring_odd_slots, METH_NOARGS, NULL},
    {"attach", dl_ring_attach, METH_VARARGS, NULL},
    {"detach", dl_ring_detach, METH_VARARGS, NULL},
    {"retire", dl_ring_retire, METH_VARARGS, NULL},
    {"retire_resume", dl_ring_retire_resume, METH_NOARGS, NULL},
    {"totals", dl_ring_totals, METH_NOARGS, NULL},
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
