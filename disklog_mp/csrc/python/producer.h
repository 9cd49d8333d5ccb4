/* Producer, for loggers in C and for the module that adds the type. */
#ifndef DL_PRODUCER_H
#define DL_PRODUCER_H

#include "binding.h"

/* True if it is a Producer, or of a subclass. */
bool dl_is_session(PyObject *object);

/* Log a record of that time; false if something is in the way: then session.log says what. */
bool dl_log(PyObject *session, const void *bytes, size_t length, uint64_t now, uint16_t tag);

/* The process that it is bound for. */
uint32_t dl_pid_of(PyObject *session);
/* log and log_many of a Producer, as the interpreter calls them. */
PyObject *dl_producer_log(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
PyObject *dl_producer_log_many(PyObject *self, PyObject *args, PyObject *kwargs);

int dl_add_producer_type(PyObject *module); /* 0, or -1 with an exception */

#endif
