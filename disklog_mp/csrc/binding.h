/* What module.c and events.c, the two files that know Python, have in common: how they come to its API, and
 * what events.c needs of sessions.
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

/* ---- module.c ----------------------------------------------------------------------------------------- */

PyObject *dl_new_object(PyTypeObject *type);
void dl_free_object(PyObject *self);

bool dl_is_session(PyObject *object);

/* Log a record of that time, if nothing stands in the way; if something does, session.log says what. */
bool dl_log(PyObject *session, const void *bytes, size_t length, uint64_t now, uint16_t tag);

/* ns since the epoch */
uint64_t dl_now(void);

/* A number that no other process of those forked from one another has. */
uint64_t dl_process(void);

/* Make a type, once and for good. */
PyTypeObject *dl_add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject *base);

/* ---- events.c ----------------------------------------------------------------------------------------- */

int dl_add_event_types(PyObject *module);

#endif
