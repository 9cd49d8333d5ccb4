/* How the files of this folder come to Python's API, and the helpers that all of them use.  The only file
 * that includes Python.h, or stable_abi.h where there is none.  It must not know any of the others.
 *
 * Limited API of CPython 3.11: one abi3 wheel for all later versions.  A free-threaded build of Python has
 * no limited API yet: there the core is compiled against the full one, and says that it needs no GIL.
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

/* The end of a type's tp_dealloc: its members have been released. */
static inline void dl_free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DecRef((PyObject *)type);
}

/* An object of that type, all zeros. */
static inline PyObject *dl_new_object(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0);
}

/* tp_new of types whose Python subclass has the __init__: takes any arguments. */
PyObject *dl_plain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

/* A type of named tuples of numbers, with the module's name before its own; NULL with an exception. */
PyTypeObject *dl_add_result(PyObject *module, PyStructSequence_Desc *description);
PyObject *dl_make_result(PyTypeObject *type, const uint64_t *values, int count);

/* Make a type and add it to the module; NULL with an exception.  The reference stays: the core is never
 * unloaded. */
PyTypeObject *dl_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base);

#endif
