/* Handle: what users call log() on.  It must not know how a producer logs. */
#include "handle.h"

#include "log_docs.h"
#include "producer.h"

/* What users call log() on: an object that holds a producer, and shows nothing else of it. */
typedef struct {
    PyObject_HEAD
    PyObject *producer; /* set once, when the object is made */
} Handle;

static PyObject *producer_of(PyObject *self)
{
    PyObject *producer = ((Handle *)self)->producer;
    if (producer == NULL)
        PyErr_SetString(PyExc_TypeError, "this object was not initialized: it has no producer");
    return producer;
}

static PyObject *handle_log(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *producer = producer_of(self);
    return producer == NULL ? NULL : dl_producer_log(producer, args, nargs, names);
}

static PyObject *handle_log_many(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *producer = producer_of(self);
    return producer == NULL ? NULL : dl_producer_log_many(producer, args, kwargs);
}

static PyObject *handle_hold(PyObject *self, PyObject *producer)
{
    if (!dl_is_session(producer) || ((Handle *)self)->producer != NULL) {
        PyErr_Format(PyExc_TypeError, "%R is no producer, or there is one already", producer);
        return NULL;
    }
    Py_IncRef(producer);
    ((Handle *)self)->producer = producer;
    Py_RETURN_NONE;
}

static void handle_dealloc(PyObject *self)
{
    Py_DecRef(((Handle *)self)->producer);
    dl_free_object(self);
}

static PyMethodDef handle_methods[] = {
    {"log", (PyCFunction)(void (*)(void))handle_log, METH_FASTCALL | METH_KEYWORDS, log_doc},
    {"log_many", (PyCFunction)(void (*)(void))handle_log_many, METH_VARARGS | METH_KEYWORDS, log_many_doc},
    {"_hold", handle_hold, METH_O, NULL},
    {NULL, NULL, 0, NULL}};
static PyType_Slot handle_slots[] = {{Py_tp_new, dl_plain_new},
                                     {Py_tp_dealloc, handle_dealloc},
                                     {Py_tp_methods, handle_methods},
                                     {0, NULL}};
static PyType_Spec handle_spec = {"disklog_mp._core.Handle", sizeof(Handle), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, handle_slots};

int dl_add_handle_type(PyObject *module)
{
    return dl_add_type(module, "Handle", &handle_spec, NULL) == NULL ? -1 : 0;
}
