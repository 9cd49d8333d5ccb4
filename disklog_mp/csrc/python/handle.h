/* The type Handle. */
#ifndef DL_HANDLE_H
#define DL_HANDLE_H

#include "binding.h"

int dl_add_handle_type(PyObject *module); /* 0, or -1 with an exception */

#endif
