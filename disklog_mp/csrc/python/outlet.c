/* Outlet: a session, and the level of loggers that have none of their own.  What to do when there is no
 * session, or the ring is full, its Python subclass decides.
 */
#include "outlet.h"

#include "log_record.h"
#include "objects.h"
#include "producer.h"

PyTypeObject *dl_outlet_type;

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

int dl_get_level(PyObject *value, int *level)
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
    return dl_get_level(value, &((Outlet *)self)->level);
}

static PyMethodDef outlet_methods[] = {{"_log_text", dl_outlet_log_text, METH_O, NULL},
                                       {"_log_record", dl_outlet_log_record, METH_O, NULL},
                                       {NULL, NULL, 0, NULL}};
static PyGetSetDef outlet_getset[] = {{"_session", outlet_get_session, outlet_set_session, NULL, NULL},
                                      {"_threshold", outlet_get_level, outlet_set_level, NULL, NULL},
                                      {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot outlet_slots[] = {{Py_tp_new, dl_plain_new},
                                     {Py_tp_dealloc, outlet_dealloc},
                                     {Py_tp_methods, outlet_methods},
                                     {Py_tp_getset, outlet_getset},
                                     {0, NULL}};
static PyType_Spec outlet_spec = {"disklog_mp._core.Outlet", sizeof(Outlet), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, outlet_slots};

int dl_add_outlet_type(PyObject *module)
{
    dl_outlet_type = dl_add_type(module, "Outlet", &outlet_spec, NULL);
    return dl_outlet_type == NULL ? -1 : dl_begin_log_records();
}
