/* _core: the module, put together of what the other files add to it, of numbers, and of functions on
 * bytes. */
#include <stddef.h>

#include "../core/crc32c.h"
#include "../core/frames.h"
#include "columns.h"
#include "event_logger.h"
#include "filter.h"
#include "groups.h"
#include "handle.h"
#include "json_values.h"
#include "mapping.h"
#include "objects.h"
#include "outlet.h"
#include "producer.h"
#include "records.h"
#include "render.h"
#include "seat.h"
#include "ring_object.h"
#include "spawning.h"

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

/* The interpreter calls a method at once if the method's type is the object's; else it looks first whether
 * that is among the bases, which takes as long as half of an append.  So a subclass of one of our types
 * gets methods of its own: the same functions, unless a class in between has others. */
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
        PyObject *found = PyObject_GetAttrString(given, method->ml_name), *own = NULL;
        PyObject *inherited = NULL;
        if (found != NULL)
            inherited = PyObject_GetAttrString((PyObject *)base, method->ml_name);
        int failed = inherited == NULL;
        if (!failed && found == inherited) {
            own = PyDescr_NewMethod(type, method);
            failed = own == NULL || PyObject_SetAttrString(given, method->ml_name, own) != 0;
        }
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
    {"CLAIMED", DL_CLAIMED},
    {"COMMITTED", DL_COMMITTED},
    {"ABANDONED", DL_ABANDONED},
    {"COMMITTED_GROUP", DL_COMMITTED_GROUP},
    {"KIND_RECORD", DL_RECORD},
    {"KIND_GAP", DL_GAP},
    {"GRANULE", DL_GRANULE},
    {"FRAME_HEADER", DL_FRAME_HEADER},
    {"SLOTS", DL_SLOTS},
    {"LABEL_LENGTH", DL_LABEL_LENGTH},
    {"LABEL_MAX", DL_LABEL_MAX},
    {"NO_LABEL", DL_NO_LABEL},
    {"HUGE_PAGE", HUGE_PAGE},
    {"WRITER_LOCK", DL_WRITER_LOCK},
    {"RING_VERSION", DL_RING_VERSION},
    {"PAGE_VERSION", DL_PAGE_VERSION},
    {"PAGE_LABELLED", DL_PAGE_LABELLED},
    {"TERM_BYTES", DL_TERM_BYTES},
    {"TERM_KEY", DL_TERM_KEY},
    {"TERM_EQUALS", DL_TERM_EQUALS},
    {"TERM_BELOW", DL_TERM_BELOW},
    {"CAPACITY_MIN", DL_CAPACITY_MIN},
    {"CAPACITY_MAX", DL_CAPACITY_MAX},
    {"SPACE", DL_CONTROL_OFFSET + offsetof(struct dl_control, space)},
    {"DONE", DL_CONTROL_OFFSET + offsetof(struct dl_control, done)},
    {"ERROR_TEXT_LENGTH", sizeof(((struct dl_control *)0)->error_text)},
    {"START_ERROR_LENGTH", sizeof(((struct dl_control *)0)->start_error)},
    {"PATH_LENGTH", sizeof(((struct dl_constants *)0)->path)},
    {"OPTIONS_LENGTH", sizeof(((struct dl_control *)0)->options)},
};

static int core_exec(PyObject *module)
{
    if (dl_mapping_type != NULL) {
        PyErr_SetString(PyExc_ImportError,
                        "disklog_mp._core is loaded once per process: no second interpreter, no reload");
        return -1;
    }
    dl_crc32c_init();
    for (size_t i = 0; i < sizeof core_numbers / sizeof *core_numbers; i++)
        if (PyModule_AddIntConstant(module, core_numbers[i].name, core_numbers[i].value) != 0)
            return -1;
    if (dl_add_mapping_type(module) != 0 || dl_add_ring_type(module) != 0 || dl_add_filter_type(module) != 0
        || dl_add_record_types(module) != 0 || dl_add_producer_type(module) != 0 || dl_add_handle_type(module) != 0
        || dl_add_encoders(module) != 0 || dl_add_outlet_type(module) != 0
        || dl_add_renderer_type(module) != 0 || dl_add_columns_type(module) != 0
        || dl_add_groups_type(module) != 0 || dl_add_spawning(module) != 0 || dl_add_seat_type(module) != 0)
        return -1;
    return dl_add_event_logger_type(module);
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
