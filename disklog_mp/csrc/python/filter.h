/* Filter: the conditions of a search, as the core looks at them. */
#ifndef DL_FILTER_H
#define DL_FILTER_H

#include "binding.h"

#include "../core/search.h"

extern PyTypeObject *dl_filter_type; /* set once, when the module is imported */

/* The conditions of a Filter; they stay as long as the object does. */
const struct dl_filter *dl_filter_of(PyObject *filter);

int dl_add_filter_type(PyObject *module); /* 0, or -1 with an exception */

#endif
