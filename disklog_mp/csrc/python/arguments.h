/* The arguments of log and log_many: a record's bytes, its tag. */
#ifndef DL_ARGUMENTS_H
#define DL_ARGUMENTS_H

#include "binding.h"

/* Any bytes-like object: 0, or -1 with an exception. */
int dl_get_buffer(PyObject *data, Py_buffer *view);

/* As dl_get_buffer, without its cost for plain bytes. */
static inline int dl_get_bytes(PyObject *data, Py_buffer *view)
{
    if (Py_TYPE(data) == &PyBytes_Type) {
        char *bytes;
        PyBytes_AsStringAndSize(data, &bytes, &view->len); /* they are bytes: it cannot fail */
        view->obj = NULL;
        view->buf = bytes;
        return 0;
    }
    return dl_get_buffer(data, view);
}

static inline void dl_done_bytes(Py_buffer *view)
{
    if (view->obj != NULL)
        PyBuffer_Release(view);
}

/* A number from 0 to 65535: 0, or -1 with an exception. */
int dl_parse_tag(PyObject *value, uint16_t *tag);

/* (data, *, tag=0): 0, or -1 with an exception.  `args[0]` is the data. */
int dl_parse_record(PyObject *const *args, Py_ssize_t nargs, PyObject *names, uint16_t *tag);

#endif
