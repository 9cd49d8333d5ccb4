/* LogRecords of Python's logging, for the type Outlet. */
#ifndef DL_LOG_RECORD_H
#define DL_LOG_RECORD_H

#include "binding.h"

/* Methods of Outlet: log the message alone, or all of the record as a structured one.  True, or False if
 * the handler has to do it, from the beginning. */
PyObject *dl_outlet_log_text(PyObject *self, PyObject *record);
PyObject *dl_outlet_log_record(PyObject *self, PyObject *record);

/* Call once, before the others: 0, or -1 with an exception. */
int dl_begin_log_records(void);

#endif
