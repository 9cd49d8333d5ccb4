/* EventLogger, for the module that adds the type. */
#ifndef DL_EVENT_LOGGER_H
#define DL_EVENT_LOGGER_H

#include "binding.h"

int dl_add_event_logger_type(PyObject *module); /* 0, or -1 with an exception */

#endif
