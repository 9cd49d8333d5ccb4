/* DiskLogHandler's short cut: LogRecords of Python's logging, logged without a Python frame.  The form of
 * a structured record is described in _loggers/structured.py; the bytes are the same as those made there.
 */
#include "log_record.h"

#include <string.h>

#include "../os/wall_clock.h"
#include "json_values.h"
#include "objects.h"
#include "producer.h"

/* DiskLogHandler's short cut: most records need nothing that takes a Python frame.  Each answers whether it
 * logged the record; what it did not is the handler's, from the beginning. */

enum attribute {
    MSG, ARGS, LEVELNO, EXC_INFO, EXC_TEXT, STACK_INFO, CREATED, LEVELNAME, NAME, PROCESS_NAME, THREAD_NAME,
    TASK_NAME, FILENAME, LINENO, FUNC_NAME, GET_MESSAGE, PROCESS, ATTRIBUTES
};
static const char *const attribute_names[ATTRIBUTES] = {
    "msg", "args", "levelno", "exc_info", "exc_text", "stack_info", "created", "levelname", "name",
    "processName", "threadName", "taskName", "filename", "lineno", "funcName", "getMessage", "process"};
static PyObject *attributes[ATTRIBUTES]; /* as interned text */

static PyObject *log_record_type, *own_get_message; /* logging.LogRecord, and its way to make a message */

int dl_begin_log_records(void)
{
    for (int i = 0; i < ATTRIBUTES; i++)
        if (attributes[i] == NULL && (attributes[i] = PyUnicode_InternFromString(attribute_names[i])) == NULL)
            return -1;
    return 0;
}

static PyObject *get(PyObject *object, enum attribute which)
{
    return PyObject_GetAttr(object, attributes[which]);
}

/* True if it is a LogRecord, and neither its class nor its getMessage was replaced. */
static bool is_usual(PyObject *record)
{
    if (log_record_type == NULL) {
        PyObject *logging = PyImport_ImportModule("logging");
        PyObject *type = logging == NULL ? NULL : PyObject_GetAttrString(logging, "LogRecord");
        PyObject *method = type == NULL ? NULL : get(type, GET_MESSAGE);
        PyObject *module = method == NULL ? NULL : PyObject_GetAttrString(method, "__module__");
        Py_DecRef(logging);
        if (module == NULL || !PyUnicode_Check(module)
            || PyUnicode_CompareWithASCIIString(module, "logging") != 0) {
            Py_DecRef(type);
            Py_DecRef(method);
            Py_DecRef(module);
            return false;
        }
        Py_DecRef(module);
        own_get_message = method;
        log_record_type = type;
    }
    if ((PyObject *)Py_TYPE(record) != log_record_type)
        return false;
    PyObject *method = get(log_record_type, GET_MESSAGE);
    Py_DecRef(method);
    return method == own_get_message;
}

/* True if an attribute is there and is None, or false otherwise. */
static bool is_empty(PyObject *record, enum attribute which)
{
    PyObject *value = get(record, which);
    bool empty = value == Py_None || (value != NULL && PyObject_IsTrue(value) == 0);
    Py_DecRef(value);
    return empty;
}

static bool has_no_more(PyObject *record)
{
    return is_empty(record, EXC_INFO) && is_empty(record, EXC_TEXT) && is_empty(record, STACK_INFO);
}

/* What getMessage() returns.  With `is_text_only` NULL for a message that is no text: a dict becomes fields,
 * which is done in Python. */
static PyObject *message_of(PyObject *record, bool is_text_only)
{
    PyObject *message = get(record, MSG), *args = NULL;
    if (message != NULL && Py_TYPE(message) != &PyUnicode_Type) {
        if (is_text_only) {
            Py_DecRef(message);
            return NULL;
        }
        PyObject *text = PyObject_Str(message);
        Py_DecRef(message);
        message = text;
    }
    if (message == NULL || (args = get(record, ARGS)) == NULL) {
        Py_DecRef(message);
        return NULL;
    }
    int any = args == Py_None ? 0 : PyObject_IsTrue(args);
    if (any != 0) {
        PyObject *text = any < 0 ? NULL : PyUnicode_Format(message, args);
        Py_DecRef(message);
        message = text;
    }
    Py_DecRef(args);
    return message;
}

/* True if the record was made in this process, or does not say where: else Python logs it with that pid. */
static bool is_own(PyObject *record, PyObject *session)
{
    PyObject *process = get(record, PROCESS);
    bool own = process == Py_None;
    if (process != NULL && Py_TYPE(process) == &PyLong_Type) {
        int overflow;
        long long pid = PyLong_AsLongLongAndOverflow(process, &overflow);
        own = overflow == 0 && (pid == 0 || pid == (long long)dl_pid_of(session));
    }
    Py_DecRef(process);
    return own;
}

static bool log_bytes(Outlet *outlet, PyObject *record, const char *bytes, size_t length)
{
    PyObject *session = outlet->session, *number = get(record, LEVELNO);
    long level = number == NULL || Py_TYPE(number) != &PyLong_Type ? -1 : PyLong_AsLong(number);
    Py_DecRef(number);
    if (level < 0 || level > 0xffff || session == NULL)
        return false;
    Py_IncRef(session);
    bool is_logged = is_own(record, session)
                     && dl_log(session, bytes, length, dl_wall_ns(), (uint16_t)level);
    Py_DecRef(session);
    return is_logged;
}

static PyObject *answer(bool is_logged)
{
    return is_logged ? PyBool_FromLong(1) : dl_forget_error() ? PyBool_FromLong(0) : NULL;
}

/* The message alone, as text. */
PyObject *dl_outlet_log_text(PyObject *self, PyObject *record)
{
    Outlet *outlet = (Outlet *)self;
    if (outlet->session == NULL || !is_usual(record) || !has_no_more(record))
        return answer(false);
    PyObject *message = message_of(record, false);
    Py_ssize_t length;
    const char *bytes = message == NULL ? NULL : PyUnicode_AsUTF8AndSize(message, &length);
    bool is_logged = bytes != NULL && log_bytes(outlet, record, bytes, (size_t)length);
    Py_DecRef(message);
    return answer(is_logged);
}

/* Put a text attribute, escaped; false if it is no text, or not all of it is. */
static bool put_attribute(struct dl_text *text, PyObject *record, enum attribute which)
{
    PyObject *value = get(record, which);
    Py_ssize_t length;
    const char *bytes = NULL;
    if (value != NULL && Py_TYPE(value) == &PyUnicode_Type)
        bytes = PyUnicode_AsUTF8AndSize(value, &length);
    if (bytes != NULL)
        dl_put_escaped(text, bytes, (size_t)length);
    Py_DecRef(value);
    return bytes != NULL;
}

/* Put a name behind its key, unless it is missing or the one that is left out. */
static bool put_name(struct dl_text *text, PyObject *record, enum attribute which, const char *key,
                     const char *left_out)
{
    PyObject *value = get(record, which);
    bool is_good = value != NULL && (value == Py_None || Py_TYPE(value) == &PyUnicode_Type);
    if (is_good && value != Py_None && PyUnicode_CompareWithASCIIString(value, "") != 0
        && PyUnicode_CompareWithASCIIString(value, left_out) != 0) {
        dl_put(text, key, strlen(key));
        is_good = dl_put_text(text, value);
    }
    Py_DecRef(value);
    return is_good;
}

static bool put_created(struct dl_text *text, PyObject *record)
{
    PyObject *created = get(record, CREATED);
    double microseconds = -1;
    if (created != NULL && Py_TYPE(created) == &PyFloat_Type)
        microseconds = PyFloat_AsDouble(created) * 1e6;
    Py_DecRef(created);
    if (!(microseconds >= 0 && microseconds < 9e15))
        return false;
    uint64_t whole = (uint64_t)microseconds;
    double rest = microseconds - (double)whole;
    whole += rest > 0.5 || (rest == 0.5 && (whole & 1)); /* as Python rounds */
    dl_put_number(text, whole * 1000, false);
    return true;
}

static bool put_caller(struct dl_text *text, PyObject *record)
{
    PyObject *line = get(record, LINENO);
    long long number = -1;
    if (line != NULL && Py_TYPE(line) == &PyLong_Type) {
        int overflow;
        number = PyLong_AsLongLongAndOverflow(line, &overflow);
    }
    Py_DecRef(line);
    if (number <= 0)
        return number == 0;
    DL_PUT(text, ",\"caller\":\"");
    bool is_good = put_attribute(text, record, FILENAME);
    DL_PUT(text, ":");
    dl_put_number(text, (uint64_t)number, false);
    DL_PUT(text, " ");
    is_good = is_good && put_attribute(text, record, FUNC_NAME);
    DL_PUT(text, "\"");
    return is_good;
}

/* What came with extra=. */
static bool put_extra(struct dl_text *text, PyObject *values)
{
    PyObject *standard = dl_standard_attributes();
    if (standard == NULL)
        return false;
    if (PyDict_Size(values) + 3 <= PySet_Size(standard)) /* without asctime, message, taskName */
        return true;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    bool any = false, is_good = true;
    while (is_good && PyDict_Next(values, &at, &key, &value)) {
        int is_standard = Py_TYPE(key) == &PyUnicode_Type ? PySet_Contains(standard, key) : -1;
        if (is_standard > 0)
            continue;
        if (is_standard < 0)
            return false;
        Py_IncRef(key);
        Py_IncRef(value); /* its repr may throw it out */
        if (any)
            DL_PUT(text, ",");
        else
            DL_PUT(text, ",\"fields\":{");
        any = true;
        is_good = dl_put_text(text, key);
        DL_PUT(text, ":");
        is_good = is_good && dl_put_value(text, value);
        Py_DecRef(key);
        Py_DecRef(value);
    }
    if (any)
        DL_PUT(text, "}");
    return is_good;
}

static bool put_record(struct dl_text *text, PyObject *record)
{
    PyObject *message = message_of(record, true), *values = NULL;
    if (message == NULL)
        return false;
    DL_PUT(text, "{\"time\":");
    bool is_good = put_created(text, record);
    DL_PUT(text, ",\"level\":\"");
    is_good = is_good && put_attribute(text, record, LEVELNAME);
    DL_PUT(text, "\",\"logger\":\"");
    is_good = is_good && put_attribute(text, record, NAME);
    DL_PUT(text, "\",\"message\":");
    is_good = is_good && dl_put_text(text, message);
    is_good = is_good && put_name(text, record, PROCESS_NAME, ",\"process\":", "MainProcess");
    is_good = is_good && put_name(text, record, THREAD_NAME, ",\"thread\":", "MainThread");
    if (is_good && (values = PyObject_GenericGetDict(record, NULL)) != NULL) {
        if (PyDict_GetItemWithError(values, attributes[TASK_NAME]) != NULL)
            is_good = put_name(text, record, TASK_NAME, ",\"task\":", "");
        else
            is_good = dl_put_task(text);
    }
    is_good = is_good && values != NULL && put_caller(text, record) && put_extra(text, values);
    DL_PUT(text, "}");
    Py_DecRef(message);
    Py_DecRef(values);
    return is_good && !text->failed;
}

/* All of it, as a structured record: the bytes that _loggers/log_records.py makes. */
PyObject *dl_outlet_log_record(PyObject *self, PyObject *record)
{
    Outlet *outlet = (Outlet *)self;
    if (outlet->session == NULL || !is_usual(record) || !has_no_more(record))
        return answer(false);
    struct dl_text text;
    dl_text_begin(&text);
    bool is_logged = put_record(&text, record) && log_bytes(outlet, record, text.start, text.length);
    dl_text_end(&text);
    return answer(is_logged);
}
