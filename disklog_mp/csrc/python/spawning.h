/* What spawning.c adds to the module: 0, or -1 with an exception. */
#ifndef DL_SPAWNING_H
#define DL_SPAWNING_H

#include "binding.h"

int dl_add_spawning(PyObject *module);

#endif
