/* Ring: the constants and control words of a ring by name, and the writer's steps, as methods.  How
 * processes wait is in ring_wait.c, the producer table in ring_slots.c.  It must not know policy: what to
 * do with an answer is Python's.
 */
#include "ring_object.h"

#include <string.h>

#include "../os/kernel.h"
#include "objects.h"
#include "ring_slots.h"
#include "ring_wait.h"

PyTypeObject *dl_ring_type;

static PyStructSequence_Field segment_fields[] = {
    {"end", NULL}, {"length", NULL}, {"records", NULL}, {"last_time", NULL}, {"stop", NULL}, {"next", NULL},
    {NULL, NULL}};
static PyStructSequence_Desc segment_description = {"disklog_mp._core.Segment", NULL, segment_fields, 6};
static PyStructSequence_Field claim_fields[] = {
    {"position", NULL}, {"span", NULL}, {"state", NULL},   {"owner", NULL},
    {"offset", NULL},   {"pid", NULL},  {"records", NULL}, {NULL, NULL}};
static PyStructSequence_Desc claim_description = {"disklog_mp._core.Claim", NULL, claim_fields, 7};
static PyTypeObject *segment_type, *claim_type; /* set once, when the module is imported */

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
        return PyLong_FromUnsignedLongLong(DL_LABEL(word:A, atomic_load((_Atomic uint64_t *)(void *)at)));
    return PyLong_FromUnsignedLong(DL_LABEL(word:A, atomic_load((_Atomic uint32_t *)(void *)at)));
}

static int ring_set_word(PyObject *self, PyObject *value, void *closure)
{
    uint8_t *at = (uint8_t *)ring_of(self)->control + ((uintptr_t)closure >> 1);
    if (value == NULL || !((Mapping *)self)->writable) {
        PyErr_SetString(PyExc_AttributeError, "this word cannot be set");
        return -1;
    }
    /* Without its upper bits: a count that was scribbled over may stand at its last value. */
    unsigned long long number = PyLong_AsUnsignedLongLongMask(value);
    if (PyErr_Occurred() != NULL)
        return -1;
    DL_POINT("store");
    if ((uintptr_t)closure & 1u)
        DL_LABEL(word:B, atomic_store((_Atomic uint64_t *)(void *)at, number));
    else
        DL_LABEL(word:B, atomic_store((_Atomic uint32_t *)(void *)at, (uint32_t)number));
    return 0;
}

/* Text of the control block: bytes up to a NUL.  closure = offset << 16 | room, with the NUL. */
#define TEXT(field) \
    (void *)(uintptr_t)(offsetof(struct dl_control, field) << 16 | sizeof(((struct dl_control *)0)->field))

static PyObject *ring_get_text(PyObject *self, void *closure)
{
    const char *at = (char *)ring_of(self)->control + ((uintptr_t)closure >> 16);
    return PyBytes_FromStringAndSize(at, (Py_ssize_t)strnlen(at, (uintptr_t)closure & 0xffffu));
}

static int ring_set_text(PyObject *self, PyObject *value, void *closure)
{
    char *at = (char *)ring_of(self)->control + ((uintptr_t)closure >> 16), *bytes;
    const size_t room = (uintptr_t)closure & 0xffffu;
    Py_ssize_t length;
    if (value == NULL || PyBytes_AsStringAndSize(value, &bytes, &length) != 0)
        return -1;
    if ((size_t)length >= room) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are too long: a ring has room for %zu bytes", length,
                     room - 1);
        return -1;
    }
    memcpy(at, bytes, (size_t)length);
    memset(at + length, 0, room - (size_t)length);
    return 0;
}

/* The numbers of the last repair, the time first. */
#define REPAIR_COUNTS 9

static PyObject *ring_get_repair(PyObject *self, void *closure)
{
    (void)closure;
    struct dl_control *control = ring_of(self)->control;
    PyObject *counts = PyTuple_New(REPAIR_COUNTS);
    for (int i = 0; counts != NULL && i < REPAIR_COUNTS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(DL_LABEL(word:A, atomic_load(&control->repair[i])));
        if (count == NULL) {
            Py_DecRef(counts);
            return NULL;
        }
        PyTuple_SetItem(counts, i, count);
    }
    return counts;
}

static int ring_set_repair(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    struct dl_control *control = ring_of(self)->control;
    unsigned long long counts[REPAIR_COUNTS];
    if (value == NULL
        || !PyArg_ParseTuple(value, "KKKKKKKKK", &counts[0], &counts[1], &counts[2], &counts[3], &counts[4],
                             &counts[5], &counts[6], &counts[7], &counts[8]))
        return -1;
    for (int i = REPAIR_COUNTS; i-- > 0;) { /* the time last: 0 there means none */
        DL_POINT("store");
        DL_LABEL(word:B, atomic_store(&control->repair[i], counts[i]));
    }
    return 0;
}

/* fixed_copy(): the bytes that no process changes while a writer serves: the constants, then the options. */
static PyObject *ring_fixed_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_ring *ring = ring_of(self);
    char fixed[sizeof *ring->constants + sizeof ring->control->options];
    memcpy(fixed, ring->constants, sizeof *ring->constants);
    memcpy(fixed + sizeof *ring->constants, ring->control->options, sizeof ring->control->options);
    return PyBytes_FromStringAndSize(fixed, sizeof fixed);
}

/* books_copy(): the bytes that only a retirement changes, from retired_count to base_records. */
static PyObject *ring_books_copy(PyObject *self, PyObject *unused)
{
    (void)unused;
    const size_t start = offsetof(struct dl_control, retired_count);
    const size_t end = offsetof(struct dl_control, base_position);
    return PyBytes_FromStringAndSize((char *)ring_of(self)->control + start, (Py_ssize_t)(end - start));
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
    CONTROL("labels_wanted", WORD32(labels_wanted)),
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
    {"error_text", ring_get_text, ring_set_text, NULL, TEXT(error_text)},
    CONTROL("start_turn", WORD64(start_turn)),
    {"start_error", ring_get_text, ring_set_text, NULL, TEXT(start_error)},
    {"options", ring_get_text, ring_set_text, NULL, TEXT(options)},
    {"repair", ring_get_repair, ring_set_repair, NULL, NULL},
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
    const uint64_t values[] = {segment.end,       segment.length, segment.records,
                               segment.last_time, segment.stop,   segment.next};
    return dl_make_result(segment_type, values, 6);
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

/* offset_of(position): where its byte is in the ring object. */
static PyObject *ring_offset_of(PyObject *self, PyObject *args)
{
    unsigned long long position;
    if (!PyArg_ParseTuple(args, "K", &position))
        return NULL;
    struct dl_ring *ring = ring_of(self);
    return PyLong_FromUnsignedLongLong(dl_data_offset(ring->capacity) + dl_index(ring, position));
}

/* claim_at(position): the claim that begins there, or None.  Not for a drain: it only looks. */
static PyObject *ring_claim_at(PyObject *self, PyObject *args)
{
    unsigned long long position;
    if (!PyArg_ParseTuple(args, "K", &position))
        return NULL;
    struct dl_ring *ring = ring_of(self);
    if (position % DL_GRANULE != 0)
        Py_RETURN_NONE;
    const uint64_t index = dl_index(ring, position);
    const uint64_t word = DL_LABEL(
        look:A, atomic_load_explicit(&ring->map[dl_granule(ring, position)], memory_order_acquire));
    const uint32_t state = dl_word_state(word);
    const uint64_t span = (uint64_t)dl_word_granules(word) * DL_GRANULE;
    if (dl_word_tag(word) != dl_tag(position, ring->capacity) || state == DL_CLOSED || span == 0
        || span > ring->capacity - index)
        Py_RETURN_NONE;
    struct dl_frame_header header;
    uint32_t records = state == DL_COMMITTED;
    memcpy(&header, dl_at(ring, position), DL_FRAME_HEADER);
    if (state == DL_COMMITTED_GROUP)
        memcpy(&records, dl_at(ring, position) + DL_FRAME_HEADER, sizeof records);
    const uint64_t offset = dl_data_offset(ring->capacity) + index;
    const uint64_t values[] = {position, span, state, dl_word_owner(word), offset, header.pid, records};
    return dl_make_result(claim_type, values, 7);
}

static PyObject *ring_is_closed(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct dl_ring *ring = ring_of(self);
    return PyBool_FromLong(dl_is_closed(ring, DL_LABEL(word:G, atomic_load(&ring->control->released))));
}

static PyMethodDef ring_methods[] = {
    {"drain", ring_drain, METH_VARARGS, NULL},
    {"claim_at", ring_claim_at, METH_VARARGS, NULL},
    {"offset_of", ring_offset_of, METH_VARARGS, NULL},
    {"fixed_copy", ring_fixed_copy, METH_NOARGS, NULL},
    {"books_copy", ring_books_copy, METH_NOARGS, NULL},
    {"want", dl_ring_want, METH_VARARGS, NULL},
    {"wait_for", dl_ring_wait_for, METH_VARARGS, NULL},
    {"wake_all", dl_ring_wake_all, METH_NOARGS, NULL},
    {"ask_sync", dl_ring_ask_sync, METH_VARARGS, NULL},
    {"ask_roll", dl_ring_ask_roll, METH_NOARGS, NULL},
    {"take_start_turn", dl_ring_take_start_turn, METH_VARARGS, NULL},
    {"raise_hint", dl_ring_raise_hint, METH_VARARGS, NULL},
    {"begin_totals", dl_ring_begin_totals, METH_VARARGS, NULL},
    {"retirement", dl_ring_retirement, METH_NOARGS, NULL},
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
    {"slot_word", dl_ring_slot_word, METH_VARARGS, NULL},
    {"slots", dl_ring_slots, METH_VARARGS, NULL},
    {"odd_slots", dl_ring_odd_slots, METH_NOARGS, NULL},
    {"attach", dl_ring_attach, METH_VARARGS, NULL},
    {"label", dl_ring_label, METH_VARARGS, NULL},
    {"unlabelled", dl_ring_unlabelled, METH_NOARGS, NULL},
    {"answer_label", dl_ring_answer_label, METH_VARARGS, NULL},
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

/* True if this process can run the barrier of all registered processes, see PARKING in ring.h. */
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
    /* At import, when a process usually has one thread: with more it takes the kernel milliseconds. */
    membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
    segment_type = dl_add_result(module, &segment_description);
    claim_type = dl_add_result(module, &claim_description);
    if (segment_type == NULL || claim_type == NULL || dl_add_slot_types(module) != 0)
        return -1;
    dl_ring_type = dl_add_type(module, "Ring", &ring_spec, (PyObject *)dl_mapping_type);
    return dl_ring_type == NULL ? -1 : PyModule_AddFunctions(module, ring_functions);
}
