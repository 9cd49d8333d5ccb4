/* Record and RecordIterator, for the module that adds the types. */
#ifndef DL_RECORDS_H
#define DL_RECORDS_H

#include "binding.h"

int dl_add_record_types(PyObject *module); /* 0, or -1 with an exception */

#endif
