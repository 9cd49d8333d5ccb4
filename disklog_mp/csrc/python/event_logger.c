/* EventLogger: a logger's call becomes a structured record in the ring, without a Python frame.
 *
 * The form of a record is described in _loggers/structured.py.  Most calls are handled here: a message,
 * and fields.  A call with arguments for its message, an exception, a stack or the caller's place is
 * handed over as a whole (Logger._whole).  A record that the ring does not take at once goes to the
 * outlet, which decides what to do (Outlet._take).
 */
#include "event_logger.h"

#include <string.h>

#include "../os/wall_clock.h"
#include "json_values.h"
#include "objects.h"
#include "outlet.h"
#include "producer.h"

typedef struct {
    PyObject_HEAD
    PyObject *outlet;
    PyObject *opening; /* bytes: ,"logger":"its name","message": */
    PyObject *bound; /* bytes: "bound":"fields","in":"JSON" */
    PyObject *keys; /* a frozenset of their names, or NULL */
    int level; /* -1: the outlet's */
    int in_full; /* every call is handed over as a whole */
} EventLogger;

struct level {
    int number;
    const char *part;
    size_t length;
};
#define LEVEL(number, name) {number, ",\"level\":\"" name "\"", sizeof ",\"level\":\"" name "\"" - 1}
enum { DEBUG, INFO, WARNING, ERROR, CRITICAL, LEVELS };
static const struct level levels[LEVELS] = {LEVEL(10, "DEBUG"), LEVEL(20, "INFO"), LEVEL(30, "WARNING"),
                                            LEVEL(40, "ERROR"), LEVEL(50, "CRITICAL")};

static void logger_dealloc(PyObject *self)
{
    EventLogger *logger = (EventLogger *)self;
    Py_DecRef(logger->outlet);
    Py_DecRef(logger->opening);
    Py_DecRef(logger->bound);
    Py_DecRef(logger->keys);
    dl_free_object(self);
}

/* _set_up(outlet, opening, bound, keys, level, in_full): once, before the first call. */
static PyObject *logger_set_up(PyObject *self, PyObject *args)
{
    EventLogger *logger = (EventLogger *)self;
    PyObject *outlet, *opening, *bound, *keys;
    int level, in_full;
    if (!PyArg_ParseTuple(args, "O!O!O!Oip", dl_outlet_type, &outlet, &PyBytes_Type, &opening, &PyBytes_Type,
                          &bound, &keys, &level, &in_full))
        return NULL;
    if (logger->outlet != NULL) {
        PyErr_SetString(PyExc_TypeError, "a logger is set up once");
        return NULL;
    }
    Py_IncRef(opening);
    logger->opening = opening;
    Py_IncRef(bound);
    logger->bound = bound;
    if (keys != Py_None) {
        Py_IncRef(keys);
        logger->keys = keys;
    }
    logger->level = level;
    logger->in_full = in_full;
    Py_IncRef(outlet);
    logger->outlet = outlet;
    Py_RETURN_NONE;
}

static inline bool is_enabled(const EventLogger *logger, long level)
{
    if (logger->outlet == NULL)
        return false;
    return level >= (logger->level >= 0 ? logger->level : ((Outlet *)logger->outlet)->level);
}

static void put_bytes(struct dl_text *text, PyObject *bytes)
{
    char *start;
    Py_ssize_t length;
    PyBytes_AsStringAndSize(bytes, &start, &length); /* they are bytes: it cannot fail */
    dl_put(text, start, (size_t)length);
}

enum outcome { DONE, IN_FULL, RAISED };

static bool is_named(const char *bytes, Py_ssize_t length, const char *name)
{
    return (size_t)length == strlen(name) && memcmp(bytes, name, (size_t)length) == 0;
}

/* The call's fields behind those that are bound.  A name that stands for something else, or is bound already,
 * is left to Python. */
static enum outcome put_fields(struct dl_text *text, const EventLogger *logger, PyObject *const *values,
                               PyObject *names)
{
    Py_ssize_t count = names == NULL ? 0 : PyTuple_Size(names);
    if (count == 0 && logger->keys == NULL)
        return DONE;
    DL_PUT(text, ",\"fields\":{");
    put_bytes(text, logger->bound);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        Py_ssize_t length;
        const char *bytes = PyUnicode_AsUTF8AndSize(name, &length);
        if (bytes == NULL) {
            PyErr_Clear();
            return IN_FULL;
        }
        if (is_named(bytes, length, "exc_info") || is_named(bytes, length, "stack_info"))
            return IN_FULL;
        if (logger->keys != NULL) {
            int is_bound = PySet_Contains(logger->keys, name);
            if (is_bound < 0)
                return dl_forget_error() ? IN_FULL : RAISED;
            if (is_bound)
                return IN_FULL;
        }
        if (i > 0 || logger->keys != NULL)
            DL_PUT(text, ",");
        dl_put_quoted(text, bytes, (size_t)length);
        DL_PUT(text, ":");
        if (!dl_put_value(text, values[i]))
            return RAISED;
    }
    DL_PUT(text, "}");
    return DONE;
}

static enum outcome put_event(struct dl_text *text, const EventLogger *logger, const struct level *level,
                              uint64_t now, PyObject *message, PyObject *const *values, PyObject *names)
{
    DL_PUT(text, "{\"time\":");
    dl_put_number(text, now, false);
    dl_put(text, level->part, level->length);
    put_bytes(text, logger->opening);
    if (!dl_put_text(text, message) || !dl_put_process(text) || !dl_put_thread(text) || !dl_put_task(text))
        return RAISED;
    enum outcome outcome = put_fields(text, logger, values, names);
    DL_PUT(text, "}");
    return text->failed && outcome == DONE ? IN_FULL : outcome;
}

/* Logger._whole(level, message, arguments, fields): what is not for C. */
static PyObject *hand_over(PyObject *self, int level, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names)
{
    PyObject *result = NULL, *rest = PyTuple_New(nargs - 1), *fields = PyDict_New();
    if (rest == NULL || fields == NULL)
        goto done;
    for (Py_ssize_t i = 1; i < nargs; i++) {
        Py_IncRef(args[i]);
        PyTuple_SetItem(rest, i - 1, args[i]);
    }
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_Size(names); i++)
        if (PyDict_SetItem(fields, PyTuple_GetItem(names, i), args[nargs + i]) != 0)
            goto done;
    result = PyObject_CallMethod(self, "_whole", "iOOO", level, args[0], rest, fields);
done:
    Py_DecRef(rest);
    Py_DecRef(fields);
    return result;
}

static PyObject *log_event(PyObject *self, const struct level *level, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *names)
{
    EventLogger *logger = (EventLogger *)self;
    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "an event needs a message");
        return NULL;
    }
    if (!is_enabled(logger, level->number))
        Py_RETURN_NONE;
    if (nargs != 1 || logger->in_full || Py_TYPE(args[0]) != &PyUnicode_Type)
        return hand_over(self, level->number, args, nargs, names);

    struct dl_text text;
    dl_text_begin(&text);
    PyObject *result = NULL;
    uint64_t now = dl_wall_ns();
    enum outcome outcome = put_event(&text, logger, level, now, args[0], args + 1, names);
    if (outcome == IN_FULL)
        result = hand_over(self, level->number, args, nargs, names);
    else if (outcome == DONE) {
        PyObject *session = ((Outlet *)logger->outlet)->session;
        Py_IncRef(session);
        bool is_logged = session != NULL
                         && dl_log(session, text.start, text.length, now, (uint16_t)level->number);
        Py_DecRef(session);
        if (is_logged) {
            Py_IncRef(Py_None);
            result = Py_None;
        } else
            result = PyObject_CallMethod(logger->outlet, "_take", "y#i", text.start,
                                         (Py_ssize_t)text.length, level->number);
    }
    dl_text_end(&text);
    return result;
}

#define METHOD(name, which) \
    static PyObject *logger_##name(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) \
    { \
        return log_event(self, &levels[which], args, nargs, names); \
    }
METHOD(debug, DEBUG)
METHOD(info, INFO)
METHOD(warning, WARNING)
METHOD(error, ERROR)
METHOD(critical, CRITICAL)

/* A level's number; Logger._number knows names. */
static int parse_level(PyObject *self, PyObject *given, int *number)
{
    if (Py_TYPE(given) == &PyLong_Type)
        return dl_get_level(given, number);
    PyObject *value = PyObject_CallMethod(self, "_number", "(O)", given);
    int status = value == NULL ? -1 : dl_get_level(value, number);
    Py_DecRef(value);
    return status;
}

/* log(level, message, ...) */
static PyObject *logger_log(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    int number;
    if (nargs < 2) {
        PyErr_SetString(PyExc_TypeError, "log(level, message, ...) needs both");
        return NULL;
    }
    if (parse_level(self, args[0], &number) != 0)
        return NULL;
    for (int i = 0; i < LEVELS; i++)
        if (levels[i].number == number)
            return log_event(self, &levels[i], args + 1, nargs - 1, names);
    if (!is_enabled((EventLogger *)self, number))
        Py_RETURN_NONE;
    return hand_over(self, number, args + 1, nargs - 1, names);
}

static PyObject *logger_is_enabled(PyObject *self, PyObject *level)
{
    int number;
    if (parse_level(self, level, &number) != 0)
        return NULL;
    return PyBool_FromLong(is_enabled((EventLogger *)self, number));
}

static PyObject *logger_get_level(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLong(((EventLogger *)self)->level);
}

static int logger_set_level(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    return dl_get_level(value, &((EventLogger *)self)->level);
}

#define EVENT(name) \
    PyDoc_STRVAR(name##_doc, #name "($self, message, /, *args, **fields)\n--\n\n" \
                                   "Log an event of that level, with fields of any names and values.")
EVENT(debug);
EVENT(info);
EVENT(warning);
EVENT(error);
EVENT(critical);
PyDoc_STRVAR(event_log_doc, "log($self, level, message, /, *args, **fields)\n--\n\n"
                            "Log an event of any level, by number or name.");
PyDoc_STRVAR(enabled_doc, "isEnabledFor($self, level, /)\n--\n\n"
                          "Return True if an event of that level is logged.");

#define CALL(name, doc) \
    {#name, (PyCFunction)(void (*)(void))logger_##name, METH_FASTCALL | METH_KEYWORDS, doc}
static PyMethodDef logger_methods[] = {CALL(debug, debug_doc),
                                       CALL(info, info_doc),
                                       CALL(warning, warning_doc),
                                       CALL(error, error_doc),
                                       CALL(critical, critical_doc),
                                       CALL(log, event_log_doc),
                                       {"isEnabledFor", logger_is_enabled, METH_O, enabled_doc},
                                       {"_set_up", logger_set_up, METH_VARARGS, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyGetSetDef logger_getset[] = {{"_level", logger_get_level, logger_set_level, NULL, NULL},
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot logger_slots[] = {{Py_tp_new, dl_plain_new},
                                     {Py_tp_dealloc, logger_dealloc},
                                     {Py_tp_methods, logger_methods},
                                     {Py_tp_getset, logger_getset},
                                     {0, NULL}};
static PyType_Spec logger_spec = {"disklog_mp._core.EventLogger", sizeof(EventLogger), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, logger_slots};

int dl_add_event_logger_type(PyObject *module)
{
    return dl_add_type(module, "EventLogger", &logger_spec, NULL) == NULL ? -1 : 0;
}
