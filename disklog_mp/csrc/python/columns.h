/* Columns, for the module that adds the type. */
#ifndef DL_COLUMNS_H
#define DL_COLUMNS_H

#include "binding.h"

int dl_add_columns_type(PyObject *module); /* 0, or -1 with an exception */

#endif
