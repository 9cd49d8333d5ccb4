/* The tracepoint: one field of 100 bytes. */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER bench

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "./lttng_probe.h"

#if !defined(LTTNG_PROBE_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define LTTNG_PROBE_H

#include <lttng/tracepoint.h>

LTTNG_UST_TRACEPOINT_EVENT(bench, record, LTTNG_UST_TP_ARGS(const char *, bytes),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_array(char, data, bytes, 100)))
#endif

#include <lttng/tracepoint-event.h>
