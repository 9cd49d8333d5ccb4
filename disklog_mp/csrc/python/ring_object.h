/* Ring, for the module that adds the type. */
#ifndef DL_RING_OBJECT_H
#define DL_RING_OBJECT_H

#include "binding.h"

int dl_add_ring_type(PyObject *module); /* 0, or -1 with an exception */

#endif
