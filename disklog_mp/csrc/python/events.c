/* Events: a logger's call becomes a structured record in the ring, with no Python frame on the way.  And
 * DiskLogHandler's records, likewise.
 *
 * The record's form, and what becomes of each value, is described in _structured.py; the bytes are the same
 * whoever made them.  Here is what most calls have: a message, and fields that are text, numbers, true, false
 * or null.  Any other value is encoded there, one by one; a call with arguments for its message, an exception,
 * a stack or the caller's place is handed over as a whole (Logger._whole).  What the ring does not take at
 * once goes through the outlet, which knows what to do about it (Outlet._take).
 */
#include "binding.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- text under construction ------------------------------------------------------------------------ */

#define FIXED 1024 /* bytes on the stack; what is longer goes to the heap */

struct text {
    char *start;
    size_t length, room;
    bool failed; /* no memory */
    char fixed[FIXED];
};

static void text_begin(struct text *text)
{
    text->start = text->fixed;
    text->length = 0;
    text->room = FIXED;
    text->failed = false;
}

static void text_end(struct text *text)
{
    if (text->start != text->fixed)
        free(text->start);
}

static __attribute__((noinline)) bool grow(struct text *text, size_t more)
{
    size_t room = 2 * (text->length + more);
    char *longer = text->failed ? NULL : malloc(room);
    if (longer == NULL) {
        text->failed = true;
        return false;
    }
    memcpy(longer, text->start, text->length);
    text_end(text);
    text->start = longer;
    text->room = room;
    return true;
}

static inline void put(struct text *text, const char *bytes, size_t length)
{
    if (text->room - text->length < length && !grow(text, length))
        return;
    memcpy(text->start + text->length, bytes, length);
    text->length += length;
}

#define PUT(text, literal) put(text, literal, sizeof literal - 1)

static void put_number(struct text *text, uint64_t number, bool negative)
{
    char digits[21];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    if (negative)
        digits[--at] = '-';
    put(text, digits + at, sizeof digits - at);
}

/* True if one of eight bytes has to be escaped: below a blank, a quote, a backslash. */
static inline bool any_special(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash))
           & high;
}

static void put_escape(struct text *text, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    bool is_short = byte >= 0x20 || letters[byte] != 0;
    if (is_short)
        escape[1] = byte >= 0x20 ? (char)byte : letters[byte];
    put(text, escape, is_short ? 2 : 6);
}

static void put_escaped(struct text *text, const char *bytes, size_t length)
{
    size_t done = 0, at = 0;
    while (at < length) {
        if (length - at >= 8 && !any_special(bytes + at)) {
            at += 8;
            continue;
        }
        unsigned char byte = (unsigned char)bytes[at];
        if (byte < 0x20 || byte == '"' || byte == '\\') {
            put(text, bytes + done, at - done);
            put_escape(text, byte);
            done = at + 1;
        }
        at++;
    }
    put(text, bytes + done, length - done);
}

static void put_quoted(struct text *text, const char *bytes, size_t length)
{
    PUT(text, "\"");
    put_escaped(text, bytes, length);
    PUT(text, "\"");
}

/* ---- Python's values -------------------------------------------------------------------------------- */

static PyObject *structured; /* the module _structured, once it was needed */

static bool find_structured(void)
{
    if (structured == NULL)
        structured = PyImport_ImportModule("disklog_mp._loggers.structured");
    return structured != NULL;
}

static PyObject *ask(const char *function, PyObject *argument)
{
    if (!find_structured())
        return NULL;
    return argument == NULL ? PyObject_CallMethod(structured, function, NULL)
                            : PyObject_CallMethod(structured, function, "(O)", argument);
}

/* False if an exception is set that is the program's: a KeyboardInterrupt in some value's repr.  What is
 * an error is forgotten. */
static bool forgiven(void)
{
    if (PyErr_Occurred() != NULL && !PyErr_ExceptionMatches(PyExc_Exception))
        return false;
    PyErr_Clear();
    return true;
}

static bool put_text(struct text *text, PyObject *string)
{
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(string, &length);
    if (bytes != NULL) {
        put_quoted(text, bytes, (size_t)length);
        return true;
    }
    PyErr_Clear(); /* a lone surrogate */
    char *escaped;
    PyObject *encoded = PyUnicode_AsEncodedString(string, "utf-8", "backslashreplace");
    if (encoded == NULL || PyBytes_AsStringAndSize(encoded, &escaped, &length) != 0) {
        Py_DecRef(encoded);
        PUT(text, "\"\"");
        return forgiven();
    }
    put_quoted(text, escaped, (size_t)length);
    Py_DecRef(encoded);
    return true;
}

/* What a function of _structured makes of an argument: JSON, or a part of it. */
static bool put_answer(struct text *text, const char *function, PyObject *argument, const char *otherwise)
{
    Py_ssize_t length;
    PyObject *answer = ask(function, argument);
    const char *bytes = answer == NULL ? NULL : PyUnicode_AsUTF8AndSize(answer, &length);
    if (bytes != NULL)
        put(text, bytes, (size_t)length);
    else
        put(text, otherwise, strlen(otherwise));
    Py_DecRef(answer);
    return bytes != NULL || forgiven();
}

static bool put_float(struct text *text, double number)
{
    char *digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL) {
        PUT(text, "null");
        return forgiven();
    }
    bool is_finite = number - number == 0;
    if (!is_finite)
        PUT(text, "\"");
    put(text, digits, strlen(digits));
    if (!is_finite)
        PUT(text, "\"");
    PyMem_Free(digits);
    return true;
}

static bool put_value(struct text *text, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type)
        return put_text(text, value);
    if (type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow == 0) {
            put_number(text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0);
            return true;
        }
    } else if (type == &PyFloat_Type)
        return put_float(text, PyFloat_AsDouble(value));
    else if (value == Py_None) {
        PUT(text, "null");
        return true;
    } else if (value == Py_True) {
        PUT(text, "true");
        return true;
    } else if (value == Py_False) {
        PUT(text, "false");
        return true;
    }
    return put_answer(text, "encode_value", value, "\"<a value without a repr>\"");
}

/* ---- where an event comes from ---------------------------------------------------------------------- */

#define PART 200 /* bytes of a name that is kept */

/* Of this process, and of each thread: asked for once.  Too long a name is asked for each time. */
static struct {
    _Atomic uint64_t process;
    size_t length;
    char bytes[PART];
} home;
static __thread struct {
    bool known;
    size_t length;
    char bytes[PART];
} here;

/* Put an answer, and keep it; false in `kept` if it is too long. */
static bool put_kept(struct text *text, const char *function, char *bytes, size_t *length, bool *kept)
{
    size_t before = text->length;
    if (!put_answer(text, function, NULL, ""))
        return false;
    *kept = !text->failed && text->length - before <= PART;
    if (*kept) {
        *length = text->length - before;
        memcpy(bytes, text->start + before, *length);
    }
    return true;
}

static bool put_process(struct text *text)
{
    uint64_t process = dl_process();
    if (atomic_load_explicit(&home.process, memory_order_acquire) == process) {
        put(text, home.bytes, home.length);
        return true;
    }
    bool kept;
    if (!put_kept(text, "process_part", home.bytes, &home.length, &kept))
        return false;
    if (kept)
        atomic_store_explicit(&home.process, process, memory_order_release);
    return true;
}

static bool put_thread(struct text *text)
{
    if (!here.known)
        return put_kept(text, "thread_part", here.bytes, &here.length, &here.known);
    put(text, here.bytes, here.length);
    return true;
}

/* Whoever never imported asyncio pays for a look into sys.modules. */
static bool put_task(struct text *text)
{
    static PyObject *name, *get_running_loop;
    if (name == NULL && (name = PyUnicode_InternFromString("asyncio")) == NULL)
        return forgiven();
    PyObject *asyncio = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
    if (asyncio == NULL)
        return forgiven();
    if (get_running_loop == NULL) {
        get_running_loop = PyObject_GetAttrString(asyncio, "_get_running_loop");
        if (get_running_loop == NULL) /* half imported */
            return forgiven();
    }
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    bool is_running = loop != NULL && loop != Py_None;
    Py_DecRef(loop);
    return is_running ? put_answer(text, "task_part", NULL, "") : forgiven();
}

/* ---- Outlet ----------------------------------------------------------------------------------------- */

/* What there is of the way to a log that C has to see; the rest is in _delivery.py. */
typedef struct {
    PyObject_HEAD
    PyObject *session; /* or NULL: none yet */
    PyObject *former; /* free-threaded: sessions another thread may still be in */
    int level; /* of loggers that have none of their own */
} Outlet;

static PyTypeObject *outlet_type;

static PyObject *plain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    return dl_new_object(type);
}

static void outlet_dealloc(PyObject *self)
{
    Outlet *outlet = (Outlet *)self;
    Py_DecRef(outlet->session);
    Py_DecRef(outlet->former);
    dl_free_object(self);
}

static PyObject *outlet_get_session(PyObject *self, void *closure)
{
    (void)closure;
    PyObject *session = ((Outlet *)self)->session;
    if (session == NULL)
        Py_RETURN_NONE;
    Py_IncRef(session);
    return session;
}

static int outlet_set_session(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    Outlet *outlet = (Outlet *)self;
    PyObject *old = outlet->session;
    if (value == Py_None)
        value = NULL;
    if (value != NULL && !dl_is_session(value)) {
        PyErr_Format(PyExc_TypeError, "%R is not a session", value);
        return -1;
    }
#ifdef Py_GIL_DISABLED
    if (outlet->former == NULL)
        outlet->former = PyList_New(0);
    if (old != NULL && (outlet->former == NULL || PyList_Append(outlet->former, old) != 0))
        return -1;
#endif
    Py_IncRef(value);
    outlet->session = value;
    Py_DecRef(old);
    return 0;
}

static int get_level(PyObject *value, int *level)
{
    long number = value == NULL ? -1 : PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred() != NULL)
        return -1;
    *level = number > INT32_MAX ? INT32_MAX : number < 0 ? -1 : (int)number;
    return 0;
}

static PyObject *outlet_get_level(PyObject *self, void *closure)
{
    (void)closure;
    return PyLong_FromLong(((Outlet *)self)->level);
}

static int outlet_set_level(PyObject *self, PyObject *value, void *closure)
{
    (void)closure;
    return get_level(value, &((Outlet *)self)->level);
}

/* ---- LogRecords of Python's logging ------------------------------------------------------------------ */

/* DiskLogHandler's short cut: most records need nothing that takes a Python frame.  Each answers whether it
 * logged the record; what it did not is the handler's, from the beginning. */

enum attribute {
    MSG, ARGS, LEVELNO, EXC_INFO, EXC_TEXT, STACK_INFO, CREATED, LEVELNAME, NAME, PROCESS_NAME, THREAD_NAME,
    TASK_NAME, FILENAME, LINENO, FUNC_NAME, GET_MESSAGE, ATTRIBUTES
};
static const char *const attribute_names[ATTRIBUTES] = {
    "msg", "args", "levelno", "exc_info", "exc_text", "stack_info", "created", "levelname", "name",
    "processName", "threadName", "taskName", "filename", "lineno", "funcName", "getMessage"};
static PyObject *attributes[ATTRIBUTES]; /* as interned text */

static PyObject *log_record_type, *own_get_message; /* logging.LogRecord, and its way to make a message */

static int begin_attributes(void)
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

/* True if it is a LogRecord and nobody changed what that is. */
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

/* What getMessage() returns. */
static PyObject *message_of(PyObject *record)
{
    PyObject *message = get(record, MSG), *args = NULL;
    if (message != NULL && Py_TYPE(message) != &PyUnicode_Type) {
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

static bool log_bytes(Outlet *outlet, PyObject *record, const char *bytes, size_t length)
{
    PyObject *session = outlet->session, *number = get(record, LEVELNO);
    long level = number == NULL || Py_TYPE(number) != &PyLong_Type ? -1 : PyLong_AsLong(number);
    Py_DecRef(number);
    if (level < 0 || level > 0xffff || session == NULL)
        return false;
    Py_IncRef(session);
    bool is_logged = dl_log(session, bytes, length, dl_now(), (uint16_t)level);
    Py_DecRef(session);
    return is_logged;
}

static PyObject *answer(bool is_logged)
{
    return is_logged ? PyBool_FromLong(1) : forgiven() ? PyBool_FromLong(0) : NULL;
}

/* The message alone, as text. */
static PyObject *outlet_log_text(PyObject *self, PyObject *record)
{
    Outlet *outlet = (Outlet *)self;
    if (outlet->session == NULL || !is_usual(record) || !has_no_more(record))
        return answer(false);
    PyObject *message = message_of(record);
    Py_ssize_t length;
    const char *bytes = message == NULL ? NULL : PyUnicode_AsUTF8AndSize(message, &length);
    bool is_logged = bytes != NULL && log_bytes(outlet, record, bytes, (size_t)length);
    Py_DecRef(message);
    return answer(is_logged);
}

/* Put a text attribute, escaped; false if it is no text, or not all of it is. */
static bool put_attribute(struct text *text, PyObject *record, enum attribute which)
{
    PyObject *value = get(record, which);
    Py_ssize_t length;
    const char *bytes = NULL;
    if (value != NULL && Py_TYPE(value) == &PyUnicode_Type)
        bytes = PyUnicode_AsUTF8AndSize(value, &length);
    if (bytes != NULL)
        put_escaped(text, bytes, (size_t)length);
    Py_DecRef(value);
    return bytes != NULL;
}

/* Put a name behind its key, unless it is missing or the one that is left out. */
static bool put_name(struct text *text, PyObject *record, enum attribute which, const char *key,
                     const char *left_out)
{
    PyObject *value = get(record, which);
    bool is_good = value != NULL && (value == Py_None || Py_TYPE(value) == &PyUnicode_Type);
    if (is_good && value != Py_None && PyUnicode_CompareWithASCIIString(value, "") != 0
        && PyUnicode_CompareWithASCIIString(value, left_out) != 0) {
        put(text, key, strlen(key));
        is_good = put_text(text, value);
    }
    Py_DecRef(value);
    return is_good;
}

static bool put_created(struct text *text, PyObject *record)
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
    put_number(text, whole * 1000, false);
    return true;
}

static bool put_caller(struct text *text, PyObject *record)
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
    PUT(text, ",\"caller\":\"");
    bool is_good = put_attribute(text, record, FILENAME);
    PUT(text, ":");
    put_number(text, (uint64_t)number, false);
    PUT(text, " ");
    is_good = is_good && put_attribute(text, record, FUNC_NAME);
    PUT(text, "\"");
    return is_good;
}

/* What came with extra=. */
static bool put_extra(struct text *text, PyObject *values)
{
    static PyObject *standard;
    if (standard == NULL && find_structured())
        standard = PyObject_GetAttrString(structured, "STANDARD");
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
            PUT(text, ",");
        else
            PUT(text, ",\"fields\":{");
        any = true;
        is_good = put_text(text, key);
        PUT(text, ":");
        is_good = is_good && put_value(text, value);
        Py_DecRef(key);
        Py_DecRef(value);
    }
    if (any)
        PUT(text, "}");
    return is_good;
}

static bool put_record(struct text *text, PyObject *record)
{
    PyObject *message = message_of(record), *values = NULL;
    if (message == NULL)
        return false;
    PUT(text, "{\"time\":");
    bool is_good = put_created(text, record);
    PUT(text, ",\"level\":\"");
    is_good = is_good && put_attribute(text, record, LEVELNAME);
    PUT(text, "\",\"logger\":\"");
    is_good = is_good && put_attribute(text, record, NAME);
    PUT(text, "\",\"message\":");
    is_good = is_good && put_text(text, message);
    is_good = is_good && put_name(text, record, PROCESS_NAME, ",\"process\":", "MainProcess");
    is_good = is_good && put_name(text, record, THREAD_NAME, ",\"thread\":", "MainThread");
    if (is_good && (values = PyObject_GenericGetDict(record, NULL)) != NULL) {
        if (PyDict_GetItemWithError(values, attributes[TASK_NAME]) != NULL)
            is_good = put_name(text, record, TASK_NAME, ",\"task\":", "");
        else
            is_good = put_task(text);
    }
    is_good = is_good && values != NULL && put_caller(text, record) && put_extra(text, values);
    PUT(text, "}");
    Py_DecRef(message);
    Py_DecRef(values);
    return is_good && !text->failed;
}

/* All of it, as a structured record: the bytes that _structured.encode_record makes. */
static PyObject *outlet_log_record(PyObject *self, PyObject *record)
{
    Outlet *outlet = (Outlet *)self;
    if (outlet->session == NULL || !is_usual(record) || !has_no_more(record))
        return answer(false);
    struct text text;
    text_begin(&text);
    bool is_logged = put_record(&text, record) && log_bytes(outlet, record, text.start, text.length);
    text_end(&text);
    return answer(is_logged);
}

static PyMethodDef outlet_methods[] = {{"_log_text", outlet_log_text, METH_O, NULL},
                                       {"_log_record", outlet_log_record, METH_O, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyGetSetDef outlet_getset[] = {{"_session", outlet_get_session, outlet_set_session, NULL, NULL},
                                      {"_threshold", outlet_get_level, outlet_set_level, NULL, NULL},
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot outlet_slots[] = {{Py_tp_new, plain_new},
                                     {Py_tp_dealloc, outlet_dealloc},
                                     {Py_tp_methods, outlet_methods},
                                     {Py_tp_getset, outlet_getset},
                                     {0, NULL}};
static PyType_Spec outlet_spec = {"disklog_mp._core.Outlet", sizeof(Outlet), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, outlet_slots};

/* ---- EventLogger ------------------------------------------------------------------------------------ */

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
    if (!PyArg_ParseTuple(args, "O!O!O!Oip", outlet_type, &outlet, &PyBytes_Type, &opening, &PyBytes_Type,
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

static void put_bytes(struct text *text, PyObject *bytes)
{
    char *start;
    Py_ssize_t length;
    PyBytes_AsStringAndSize(bytes, &start, &length); /* they are bytes: it cannot fail */
    put(text, start, (size_t)length);
}

enum outcome { DONE, IN_FULL, RAISED };

static bool is_named(const char *bytes, Py_ssize_t length, const char *name)
{
    return (size_t)length == strlen(name) && memcmp(bytes, name, (size_t)length) == 0;
}

/* The call's fields behind those that are bound.  A name that stands for something else, or is bound already,
 * is left to Python. */
static enum outcome put_fields(struct text *text, const EventLogger *logger, PyObject *const *values,
                               PyObject *names)
{
    Py_ssize_t count = names == NULL ? 0 : PyTuple_Size(names);
    if (count == 0 && logger->keys == NULL)
        return DONE;
    PUT(text, ",\"fields\":{");
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
                return forgiven() ? IN_FULL : RAISED;
            if (is_bound)
                return IN_FULL;
        }
        if (i > 0 || logger->keys != NULL)
            PUT(text, ",");
        put_quoted(text, bytes, (size_t)length);
        PUT(text, ":");
        if (!put_value(text, values[i]))
            return RAISED;
    }
    PUT(text, "}");
    return DONE;
}

static enum outcome put_event(struct text *text, const EventLogger *logger, const struct level *level,
                              uint64_t now, PyObject *message, PyObject *const *values, PyObject *names)
{
    PUT(text, "{\"time\":");
    put_number(text, now, false);
    put(text, level->part, level->length);
    put_bytes(text, logger->opening);
    if (!put_text(text, message) || !put_process(text) || !put_thread(text) || !put_task(text))
        return RAISED;
    enum outcome outcome = put_fields(text, logger, values, names);
    PUT(text, "}");
    return text->failed && outcome == DONE ? IN_FULL : outcome;
}

/* Logger._whole(level, message, arguments, fields): what is not for C. */
static PyObject *hand_over(PyObject *self, int level, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
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

    struct text text;
    text_begin(&text);
    PyObject *result = NULL;
    uint64_t now = dl_now();
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
    text_end(&text);
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
        return get_level(given, number);
    PyObject *value = PyObject_CallMethod(self, "_number", "(O)", given);
    int status = value == NULL ? -1 : get_level(value, number);
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
    return get_level(value, &((EventLogger *)self)->level);
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

#define CALL(name, doc) {#name, (PyCFunction)(void (*)(void))logger_##name, METH_FASTCALL | METH_KEYWORDS, doc}
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
static PyType_Slot logger_slots[] = {{Py_tp_new, plain_new},
                                     {Py_tp_dealloc, logger_dealloc},
                                     {Py_tp_methods, logger_methods},
                                     {Py_tp_getset, logger_getset},
                                     {0, NULL}};
static PyType_Spec logger_spec = {"disklog_mp._core.EventLogger", sizeof(EventLogger), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, logger_slots};

int dl_add_event_types(PyObject *module)
{
    if (begin_attributes() != 0)
        return -1;
    outlet_type = dl_add_type(module, "Outlet", &outlet_spec, NULL);
    return outlet_type == NULL || dl_add_type(module, "EventLogger", &logger_spec, NULL) == NULL ? -1 : 0;
}
