/* Outlet: the way to a log, as far as loggers in C follow it. */
#ifndef DL_OUTLET_H
#define DL_OUTLET_H

#include "binding.h"

/* A logger's level: 0, or -1 with an exception. */
int dl_get_level(PyObject *value, int *level);

int dl_add_outlet_type(PyObject *module); /* 0, or -1 with an exception */

#endif
