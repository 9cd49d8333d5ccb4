/* Outlet: the way to a log, as far as loggers in C follow it. */
#ifndef DL_OUTLET_H
#define DL_OUTLET_H

#include "binding.h"

typedef struct {
    PyObject_HEAD
    PyObject *session; /* or NULL: none yet */
    PyObject *former; /* free-threaded: sessions another thread may still be in */
    int level; /* of loggers that have none of their own */
} Outlet;

extern PyTypeObject *dl_outlet_type; /* set once, when the module is imported */

/* A logger's level: 0, or -1 with an exception. */
int dl_get_level(PyObject *value, int *level);

int dl_add_outlet_type(PyObject *module); /* 0, or -1 with an exception */

#endif
