/* The arguments of log and log_many, see arguments.h.  Errors name what a caller should do instead. */
#include "arguments.h"

static int bad_type(PyObject *data)
{
    if (PyUnicode_Check(data))
        PyErr_SetString(PyExc_TypeError,
                        "a record is bytes, not str: log text.encode(), or use DiskLogHandler");
    else
        PyErr_Format(PyExc_TypeError, "a record is a bytes-like object, not %R", Py_TYPE(data));
    return -1;
}

int dl_get_buffer(PyObject *data, Py_buffer *view)
{
    if (PyObject_GetBuffer(data, view, PyBUF_SIMPLE) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_BufferError))
        return -1;
    PyErr_Clear();
    return bad_type(data);
}

int dl_parse_tag(PyObject *value, uint16_t *tag)
{
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred() != NULL)
        return -1;
    if (number < 0 || number > 0xffff) {
        PyErr_Format(PyExc_ValueError, "tag %ld is not in 0 to 65535", number);
        return -1;
    }
    *tag = (uint16_t)number;
    return 0;
}

int dl_parse_record(PyObject *const *args, Py_ssize_t nargs, PyObject *names, uint16_t *tag)
{
    Py_ssize_t keywords = names == NULL ? 0 : PyTuple_Size(names);
    *tag = 0;
    if (nargs != 1 || keywords > 1) {
        PyErr_SetString(PyExc_TypeError, "log(data, *, tag=0) takes one record");
        return -1;
    }
    if (keywords == 0)
        return 0;
    if (PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "tag") != 0) {
        PyErr_Format(PyExc_TypeError, "log() has no argument %R", PyTuple_GetItem(names, 0));
        return -1;
    }
    return dl_parse_tag(args[1], tag);
}
