/* Python's values as JSON text, and where an event comes from.
 *
 * The usual values are encoded here: text, numbers, true, false and null.  Every other value is encoded by
 * Python functions, which are handed in at start (use_encoders); this file imports nothing of ours.
 */
#include "json_values.h"

#include <stdatomic.h>
#include <string.h>

#include "../core/labels.h"
#include "../os/fork.h"

/* ---- what Python hands in ----------------------------------------------------------------------------- */

enum encoder { ENCODE_VALUE, PROCESS_PART, THREAD_PART, TASK_PART, ENCODERS };
static char *encoder_names[] = {"encode_value", "process_part", "thread_part", "task_part", "standard", NULL};
static PyObject *encoders[ENCODERS]; /* NULL: not handed in yet */
static PyObject *standard;

/* use_encoders(*, encode_value, process_part, thread_part, task_part, standard): four functions that
 * return text, and the names of a LogRecord's own attributes. */
static PyObject *core_use_encoders(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    PyObject *given[ENCODERS], *names;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOOO!", encoder_names, &given[0], &given[1], &given[2],
                                     &given[3], &PyFrozenSet_Type, &names))
        return NULL;
    for (int i = 0; i < ENCODERS; i++)
        if (!PyCallable_Check(given[i]))
            return PyErr_Format(PyExc_TypeError, "%s=%R is not callable", encoder_names[i], given[i]);
    for (int i = 0; i < ENCODERS; i++) {
        PyObject *former = encoders[i];
        Py_IncRef(given[i]);
        encoders[i] = given[i];
        Py_DecRef(former);
    }
    PyObject *former = standard;
    Py_IncRef(names);
    standard = names;
    Py_DecRef(former);
    Py_RETURN_NONE;
}

/* use_parser(parse): a function that makes an Event of the bytes of a structured record, None of others. */
static PyObject *parser;

static PyObject *core_use_parser(PyObject *module, PyObject *parse)
{
    (void)module;
    if (!PyCallable_Check(parse))
        return PyErr_Format(PyExc_TypeError, "parse=%R is not callable", parse);
    PyObject *former = parser;
    Py_IncRef(parse);
    parser = parse;
    Py_DecRef(former);
    Py_RETURN_NONE;
}

PyObject *dl_parse_event(const void *bytes, size_t length)
{
    static const char beginning[] = "{\"time\":";
    if (parser == NULL || length < sizeof beginning || memcmp(bytes, beginning, sizeof beginning - 1) != 0)
        Py_RETURN_NONE;
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)length), *event = NULL;
    if (data != NULL)
        event = PyObject_CallFunctionObjArgs(parser, data, NULL);
    Py_DecRef(data);
    return event;
}

static PyObject *not_handed_in(void)
{
    PyErr_SetString(PyExc_RuntimeError, "use_encoders() has not been called");
    return NULL;
}

static PyObject *ask(enum encoder which, PyObject *argument)
{
    if (encoders[which] == NULL)
        return not_handed_in();
    return argument == NULL ? PyObject_CallNoArgs(encoders[which])
                            : PyObject_CallFunctionObjArgs(encoders[which], argument, NULL);
}

PyObject *dl_standard_attributes(void) { return standard != NULL ? standard : not_handed_in(); }

/* ---- values ------------------------------------------------------------------------------------------- */

/* False if an exception is set that is the program's: a KeyboardInterrupt in some value's repr.  What is
 * an error is forgotten. */
bool dl_forget_error(void)
{
    if (PyErr_Occurred() != NULL && !PyErr_ExceptionMatches(PyExc_Exception))
        return false;
    PyErr_Clear();
    return true;
}

bool dl_put_text(struct dl_text *text, PyObject *string)
{
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(string, &length);
    if (bytes != NULL) {
        dl_put_quoted(text, bytes, (size_t)length);
        return true;
    }
    PyErr_Clear(); /* a lone surrogate */
    char *escaped;
    PyObject *encoded = PyUnicode_AsEncodedString(string, "utf-8", "backslashreplace");
    if (encoded == NULL || PyBytes_AsStringAndSize(encoded, &escaped, &length) != 0) {
        Py_DecRef(encoded);
        DL_PUT(text, "\"\"");
        return dl_forget_error();
    }
    dl_put_quoted(text, escaped, (size_t)length);
    Py_DecRef(encoded);
    return true;
}

/* Put what an encoder makes of an argument: JSON, or a part of it. */
static bool put_answer(struct dl_text *text, enum encoder which, PyObject *argument, const char *otherwise)
{
    Py_ssize_t length;
    PyObject *answer = ask(which, argument);
    const char *bytes = answer == NULL ? NULL : PyUnicode_AsUTF8AndSize(answer, &length);
    if (bytes != NULL)
        dl_put(text, bytes, (size_t)length);
    else
        dl_put(text, otherwise, strlen(otherwise));
    Py_DecRef(answer);
    return bytes != NULL || dl_forget_error();
}

static bool put_float(struct dl_text *text, double number)
{
    char *digits = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL) {
        DL_PUT(text, "null");
        return dl_forget_error();
    }
    bool is_finite = number - number == 0;
    if (!is_finite)
        DL_PUT(text, "\"");
    dl_put(text, digits, strlen(digits));
    if (!is_finite)
        DL_PUT(text, "\"");
    PyMem_Free(digits);
    return true;
}

bool dl_put_value(struct dl_text *text, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type)
        return dl_put_text(text, value);
    if (type == &PyLong_Type) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow == 0) {
            dl_put_number(text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0);
            return true;
        }
    } else if (type == &PyFloat_Type)
        return put_float(text, PyFloat_AsDouble(value));
    else if (value == Py_None) {
        DL_PUT(text, "null");
        return true;
    } else if (value == Py_True) {
        DL_PUT(text, "true");
        return true;
    } else if (value == Py_False) {
        DL_PUT(text, "false");
        return true;
    }
    return put_answer(text, ENCODE_VALUE, value, "\"<a value without a repr>\"");
}

/* ---- where an event comes from ----------------------------------------------------------------------- */

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
static bool put_kept(struct dl_text *text, enum encoder which, char *bytes, size_t *length, bool *kept)
{
    size_t before = text->length;
    if (!put_answer(text, which, NULL, ""))
        return false;
    *kept = !text->failed && text->length - before <= PART;
    if (*kept) {
        *length = text->length - before;
        memcpy(bytes, text->start + before, *length);
    }
    return true;
}

bool dl_put_process(struct dl_text *text)
{
    uint64_t process = dl_fork_token();
    if (DL_LABEL(origin:A, atomic_load_explicit(&home.process, memory_order_acquire)) == process) {
        dl_put(text, home.bytes, home.length);
        return true;
    }
    bool kept;
    if (!put_kept(text, PROCESS_PART, home.bytes, &home.length, &kept))
        return false;
    if (kept)
        DL_LABEL(origin:B, atomic_store_explicit(&home.process, process, memory_order_release));
    return true;
}

bool dl_put_thread(struct dl_text *text)
{
    if (!here.known)
        return put_kept(text, THREAD_PART, here.bytes, &here.length, &here.known);
    dl_put(text, here.bytes, here.length);
    return true;
}

/* A program that never imported asyncio pays for a look into sys.modules. */
bool dl_put_task(struct dl_text *text)
{
    static PyObject *name, *get_running_loop;
    if (name == NULL && (name = PyUnicode_InternFromString("asyncio")) == NULL)
        return dl_forget_error();
    PyObject *asyncio = PyDict_GetItemWithError(PyImport_GetModuleDict(), name);
    if (asyncio == NULL)
        return dl_forget_error();
    if (get_running_loop == NULL) {
        get_running_loop = PyObject_GetAttrString(asyncio, "_get_running_loop");
        if (get_running_loop == NULL) /* half imported */
            return dl_forget_error();
    }
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    bool is_running = loop != NULL && loop != Py_None;
    Py_DecRef(loop);
    return is_running ? put_answer(text, TASK_PART, NULL, "") : dl_forget_error();
}

static PyMethodDef encoder_functions[] = {
    {"use_parser", core_use_parser, METH_O, NULL},
    {"use_encoders", (PyCFunction)(void (*)(void))core_use_encoders, METH_VARARGS | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL}};

int dl_add_encoders(PyObject *module) { return PyModule_AddFunctions(module, encoder_functions); }
