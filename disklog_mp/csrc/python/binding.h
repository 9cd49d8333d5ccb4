/* What the files that know Python have in common: how they come to its API, and what they need of one another.
 * Each of them adds its types and functions to the module; the types of rings are in objects.h.
 *
 * Limited API of CPython 3.11: one abi3 wheel.  A free-threaded build has no limited API yet; there it is
 * compiled against the full one and says it needs no GIL.
 */
#ifndef DL_BINDING_H
#define DL_BINDING_H

#if defined(__has_include) && !defined(DL_NO_PYTHON_H)
#if !__has_include(<Python.h>)
#define DL_NO_PYTHON_H /* on the command line, to test the other */
#endif
#endif

#ifdef DL_NO_PYTHON_H
#include "stable_abi.h"
#else
#include <pyconfig.h>
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#endif

#include <stdbool.h>
#include <stdint.h>

static inline void dl_free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DecRef((PyObject *)type);
}

static inline PyObject *dl_new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

/* ---- module.c ---------------------------------------------------------------------------------------- */

/* Make a type, once and for good. */
PyTypeObject *dl_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base);

/* ---- what the others add to the module, in this order: 0, or -1 with an exception --------------------- */

int dl_add_mapping_type(PyObject *module);
int dl_add_ring_type(PyObject *module);
int dl_add_record_types(PyObject *module);
int dl_add_producer_type(PyObject *module);
int dl_add_event_types(PyObject *module);

/* ---- producer.c -------------------------------------------------------------------------------------- */

bool dl_is_session(PyObject *object);

/* Log a record of that time, if nothing stands in the way; if something does, session.log says what. */
bool dl_log(PyObject *session, const void *bytes, size_t length, uint64_t now, uint16_t tag);

/* ns since the epoch */
uint64_t dl_now(void);

/* A number that no other process of those forked from one another has. */
uint64_t dl_process(void);

#endif
