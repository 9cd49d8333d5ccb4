/* What help() says about log and log_many, of Producer and of Handle. */
#ifndef DL_LOG_DOCS_H
#define DL_LOG_DOCS_H

PyDoc_STRVAR(log_doc,
             "log($self, data, /, *, tag=0)\n--\n\n"
             "Log one record and return its position.\n\n"
             "`data` is any bytes-like object, `tag` a number from 0 to 65535 kept beside it.  When this\n"
             "returns the record is committed: it survives the death of any process.  It does no I/O.\n"
             "With on_full=\"drop\" a record that was dropped returns -1.\n\n"
             "Raises TypeError for anything but bytes, RecordTooLargeError, RingFullError,\n"
             "LogFullError, SessionClosedError, LogNotFoundError.");
PyDoc_STRVAR(log_many_doc,
             "log_many($self, records, /, *, tag=0)\n--\n\n"
             "Log several records as one group and return the position of the first.\n\n"
             "All become visible together and stand next to each other, or none is logged.  Together\n"
             "they may take a quarter of the ring.  An empty iterable logs nothing and returns -1.\n\n"
             "Raises what log raises.");

#endif
