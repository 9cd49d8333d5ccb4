/* Labels for atomic accesses: each access to a word that several threads or processes use carries one, and
 * ring.h lists them all, with the orderings and their pairs.  A test compares the list with the code.
 */
#ifndef DL_LABELS_H
#define DL_LABELS_H

/* A test build gives this a body: a point at which to kill, freeze or reschedule. */
#ifndef DL_POINT
#define DL_POINT(label) ((void)0)
#endif

/* An access with a point before it, and one without. */
#define DL_ATOMIC(label, access) (DL_POINT(#label), access)
#define DL_LABEL(label, access) (access)

#endif
