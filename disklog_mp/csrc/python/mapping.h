/* Mapping, for the module that adds the type. */
#ifndef DL_MAPPING_H
#define DL_MAPPING_H

#include "binding.h"

int dl_add_mapping_type(PyObject *module); /* 0, or -1 with an exception */

#endif
