/* Groups, for the module that adds the type. */
#ifndef DL_GROUPS_H
#define DL_GROUPS_H

#include "binding.h"

int dl_add_groups_type(PyObject *module); /* 0, or -1 with an exception */

#endif
