/* Why this file exists: on a machine without python3-dev, two commands do all the set-up.  `pip install` from
 * source needs a C compiler and nothing else.  Debian and its relatives ship python3 without its headers;
 * these are a package of their own, which takes an administrator to install.  So this file declares what we
 * use of CPython's stable ABI.  It is used only where Python.h is missing: binding.h chooses.
 *
 * Why that is sound: an extension built for the limited API calls only what the stable ABI lists (the chapter
 * "C API and ABI Stability" of Python's manual).  The few names here that begin with an underscore are what
 * its macros expand to; they stand in the same list, Misc/stable_abi.toml.  CPython promises that these
 * names, signatures, numbers and struct members stay: one abi3 wheel serves all versions from 3.11 up.  This
 * file is written from that list and the manual.  tests/rules/test_stable_abi.py compares every size, offset,
 * number and prototype with the real headers', where they are installed, and runs the core built both ways.
 *
 * Limits: 64-bit Linux, the default ABI.  A free-threaded build of Python has no stable ABI and needs its
 * own headers.
 */
#ifndef DL_STABLE_ABI_H
#define DL_STABLE_ABI_H

#if !defined(__linux__) || !defined(__LP64__)
#error "disklog-mp needs 64-bit Linux; to compile it elsewhere, install Python's headers (python3-dev)"
#endif

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* as Python.h does: system headers included later declare pipe2 and the like */
#endif

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef ssize_t Py_ssize_t;
typedef Py_ssize_t Py_hash_t;

/* ---- objects ----------------------------------------------------------------------------------------- */

typedef struct _typeobject PyTypeObject; /* opaque, but for its first member */
typedef struct _ts PyThreadState; /* opaque */

typedef struct _object {
    Py_ssize_t ob_refcnt;
    PyTypeObject *ob_type;
} PyObject;

#define PyObject_HEAD PyObject ob_base;
#define Py_TYPE(object) (((PyObject *)(object))->ob_type)

void Py_IncRef(PyObject *object);
void Py_DecRef(PyObject *object);

extern PyObject _Py_NoneStruct, _Py_NotImplementedStruct, _Py_FalseStruct, _Py_TrueStruct;
#define Py_None (&_Py_NoneStruct)
#define Py_False (&_Py_FalseStruct)
#define Py_True (&_Py_TrueStruct)

static inline PyObject *dl_new_reference(PyObject *object)
{
    Py_IncRef(object);
    return object;
}
#define Py_RETURN_NONE return dl_new_reference(&_Py_NoneStruct)
#define Py_RETURN_FALSE return dl_new_reference(&_Py_FalseStruct)
#define Py_RETURN_NOTIMPLEMENTED return dl_new_reference(&_Py_NotImplementedStruct)

#define Py_EQ 2
#define Py_NE 3
PyObject *PyObject_RichCompare(PyObject *left, PyObject *right, int operation);
int PyObject_IsTrue(PyObject *object);
PyObject *PyObject_GetItem(PyObject *object, PyObject *key);
PyObject *PyObject_GetAttr(PyObject *object, PyObject *name);
PyObject *PyObject_GetAttrString(PyObject *object, const char *name);
int PyObject_SetAttrString(PyObject *object, const char *name, PyObject *value);
PyObject *PyObject_GenericGetDict(PyObject *object, void *closure);
PyObject *PyObject_Str(PyObject *object);
typedef struct {
    const char *name, *doc;
} PyStructSequence_Field;
typedef struct {
    const char *name, *doc;
    PyStructSequence_Field *fields;
    int n_in_sequence;
} PyStructSequence_Desc;
PyTypeObject *PyStructSequence_NewType(PyStructSequence_Desc *description);
PyObject *PyStructSequence_New(PyTypeObject *type);
void PyStructSequence_SetItem(PyObject *result, Py_ssize_t index, PyObject *value);

int PyCallable_Check(PyObject *object);
PyObject *PyObject_CallNoArgs(PyObject *callable);
PyObject *PyObject_CallFunctionObjArgs(PyObject *callable, ...);

/* ---- types and modules ------------------------------------------------------------------------------- */

typedef PyObject *(*PyCFunction)(PyObject *self, PyObject *args);
typedef PyObject *(*getter)(PyObject *self, void *closure);
typedef int (*setter)(PyObject *self, PyObject *value, void *closure);
typedef PyObject *(*allocfunc)(PyTypeObject *type, Py_ssize_t items);
typedef void (*freefunc)(void *object);

typedef struct {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

#define METH_VARARGS 0x0001
#define METH_KEYWORDS 0x0002
#define METH_NOARGS 0x0004
#define METH_O 0x0008
#define METH_FASTCALL 0x0080

typedef struct {
    const char *name;
    getter get;
    setter set;
    const char *doc;
    void *closure;
} PyGetSetDef;

typedef struct {
    int slot;
    void *pfunc;
} PyType_Slot;

typedef struct {
    const char *name;
    int basicsize;
    int itemsize;
    unsigned int flags;
    PyType_Slot *slots;
} PyType_Spec;

#define Py_TPFLAGS_DEFAULT 0ul
#define Py_TPFLAGS_BASETYPE (1ul << 10)
#define Py_TPFLAGS_UNICODE_SUBCLASS (1ul << 28)
#define Py_TPFLAGS_TYPE_SUBCLASS (1ul << 31)

#define Py_bf_getbuffer 1
#define Py_mp_length 4
#define Py_tp_alloc 47
#define Py_tp_base 48
#define Py_tp_dealloc 52
#define Py_tp_doc 56
#define Py_tp_hash 59
#define Py_tp_iter 62
#define Py_tp_iternext 63
#define Py_tp_methods 64
#define Py_tp_new 65
#define Py_tp_repr 66
#define Py_tp_richcompare 67
#define Py_tp_getset 73
#define Py_tp_free 74

PyObject *PyType_FromModuleAndSpec(PyObject *module, PyType_Spec *spec, PyObject *bases);
void *PyType_GetSlot(PyTypeObject *type, int slot);
unsigned long PyType_GetFlags(PyTypeObject *type);
int PyType_IsSubtype(PyTypeObject *type, PyTypeObject *base);
#define PyObject_TypeCheck(object, type) (Py_TYPE(object) == (type) || PyType_IsSubtype(Py_TYPE(object), (type)))
PyObject *PyDescr_NewMethod(PyTypeObject *type, PyMethodDef *method);

typedef struct {
    int slot;
    void *value;
} PyModuleDef_Slot;
#define Py_mod_exec 2

typedef struct {
    PyObject_HEAD
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
} PyModuleDef_Base;

typedef struct PyModuleDef {
    PyModuleDef_Base m_base;
    const char *m_name;
    const char *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    PyModuleDef_Slot *m_slots;
    int (*m_traverse)(PyObject *module, int (*visit)(PyObject *object, void *argument), void *argument);
    int (*m_clear)(PyObject *module);
    freefunc m_free;
} PyModuleDef;

#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

PyObject *PyModuleDef_Init(PyModuleDef *definition);
int PyModule_AddFunctions(PyObject *module, PyMethodDef *functions);
int PyModule_AddIntConstant(PyObject *module, const char *name, long value);
int PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value);
PyObject *PyImport_ImportModule(const char *name);
PyObject *PyImport_GetModuleDict(void);

#define PyDoc_STRVAR(name, text) static const char name[] = text

/* ---- arguments and results --------------------------------------------------------------------------- */

/* Since 3.13 lengths (#) are Py_ssize_t in all of these; before, only in the ones with this ending. */
#define PyArg_ParseTuple _PyArg_ParseTuple_SizeT
#define PyArg_ParseTupleAndKeywords _PyArg_ParseTupleAndKeywords_SizeT
#define Py_BuildValue _Py_BuildValue_SizeT
#define PyObject_CallMethod _PyObject_CallMethod_SizeT

int PyArg_ParseTuple(PyObject *args, const char *format, ...);
int PyArg_ParseTupleAndKeywords(PyObject *args, PyObject *kwargs, const char *format, char **names, ...);
PyObject *Py_BuildValue(const char *format, ...);
PyObject *PyObject_CallMethod(PyObject *object, const char *name, const char *format, ...);

/* ---- numbers, text, bytes, containers ----------------------------------------------------------------- */

extern PyTypeObject PyBytes_Type, PyFloat_Type, PyFrozenSet_Type, PyList_Type, PyLong_Type, PyTuple_Type;
extern PyTypeObject PyUnicode_Type;

PyObject *PyBool_FromLong(long value);
PyObject *PyLong_FromLong(long value);
PyObject *PyLong_FromSsize_t(Py_ssize_t value);
PyObject *PyLong_FromUnsignedLong(unsigned long value);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long value);
long PyLong_AsLong(PyObject *number);
unsigned long long PyLong_AsUnsignedLongLong(PyObject *number);
unsigned long long PyLong_AsUnsignedLongLongMask(PyObject *number);
long long PyLong_AsLongLongAndOverflow(PyObject *number, int *overflow);

#define Py_DTSF_ADD_DOT_0 0x02
double PyFloat_AsDouble(PyObject *number);
double PyOS_string_to_double(const char *text, char **end, PyObject *overflow);
char *PyOS_double_to_string(double number, char format, int precision, int flags, int *kind);
void PyMem_Free(void *memory);

#define PyType_Check(object) ((PyType_GetFlags(Py_TYPE(object)) & Py_TPFLAGS_TYPE_SUBCLASS) != 0)
#define PyUnicode_Check(object) ((PyType_GetFlags(Py_TYPE(object)) & Py_TPFLAGS_UNICODE_SUBCLASS) != 0)
PyObject *PyUnicode_FromString(const char *text);
PyObject *PyUnicode_FromFormat(const char *format, ...);
PyObject *PyUnicode_DecodeFSDefaultAndSize(const char *text, Py_ssize_t length);
PyObject *PyUnicode_DecodeUTF8(const char *text, Py_ssize_t length, const char *errors);
PyObject *PyUnicode_InternFromString(const char *text);
PyObject *PyUnicode_Format(PyObject *format, PyObject *arguments);
PyObject *PyUnicode_AsEncodedString(PyObject *text, const char *encoding, const char *errors);
const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *length);
int PyUnicode_CompareWithASCIIString(PyObject *text, const char *ascii);

PyObject *PyBytes_FromStringAndSize(const char *bytes, Py_ssize_t length);
char *PyBytes_AsString(PyObject *bytes);
Py_ssize_t PyBytes_Size(PyObject *bytes);
int PyBytes_AsStringAndSize(PyObject *bytes, char **string, Py_ssize_t *length);

PyObject *PyList_New(Py_ssize_t length);
int PyList_Append(PyObject *list, PyObject *item);
PyObject *PyList_GetItem(PyObject *list, Py_ssize_t index);
Py_ssize_t PyList_Size(PyObject *list);
PyObject *PyTuple_New(Py_ssize_t length);
Py_ssize_t PyTuple_Size(PyObject *tuple);
PyObject *PyTuple_GetItem(PyObject *tuple, Py_ssize_t index);
int PyTuple_SetItem(PyObject *tuple, Py_ssize_t index, PyObject *item);
PyObject *PySequence_Tuple(PyObject *items);
PyObject *PyDict_New(void);
int PyDict_SetItem(PyObject *dict, PyObject *key, PyObject *value);
PyObject *PyDict_GetItemWithError(PyObject *dict, PyObject *key);
Py_ssize_t PyDict_Size(PyObject *dict);
int PyDict_Next(PyObject *dict, Py_ssize_t *at, PyObject **key, PyObject **value);
int PySet_Contains(PyObject *set, PyObject *item);
Py_ssize_t PySet_Size(PyObject *set);
PyObject *PySlice_New(PyObject *start, PyObject *stop, PyObject *step);

/* ---- buffers ------------------------------------------------------------------------------------------ */

typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len;
    Py_ssize_t itemsize;
    int readonly;
    int ndim;
    char *format;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    Py_ssize_t *suboffsets;
    void *internal;
} Py_buffer;
#define PyBUF_SIMPLE 0

int PyObject_GetBuffer(PyObject *object, Py_buffer *view, int flags);
int PyBuffer_FillInfo(Py_buffer *view, PyObject *object, void *bytes, Py_ssize_t length, int readonly,
                      int flags);
void PyBuffer_Release(Py_buffer *view);
PyObject *PyMemoryView_FromObject(PyObject *object);

/* ---- errors and threads ------------------------------------------------------------------------------- */

extern PyObject *PyExc_AttributeError, *PyExc_BufferError, *PyExc_Exception, *PyExc_ImportError;
extern PyObject *PyExc_IndexError, *PyExc_OSError, *PyExc_RuntimeError, *PyExc_TypeError, *PyExc_ValueError;

void PyErr_SetString(PyObject *type, const char *message);
PyObject *PyErr_Format(PyObject *type, const char *format, ...);
PyObject *PyErr_SetFromErrno(PyObject *type);
PyObject *PyErr_NoMemory(void);
PyObject *PyErr_Occurred(void);
int PyErr_ExceptionMatches(PyObject *type);
void PyErr_Clear(void);
void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback);
void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback);
int PyErr_CheckSignals(void);

PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *state);
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *dl_saved = PyEval_SaveThread();
#define Py_END_ALLOW_THREADS PyEval_RestoreThread(dl_saved); }

#endif
