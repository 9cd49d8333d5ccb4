/* A table of byte strings, each with a number in the order in which they came.  It must not know what they
 * are, and nothing of Python.
 */
#ifndef DL_TABLE_H
#define DL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DL_TABLE_NONE UINT32_MAX

struct dl_table {
    char *bytes; /* of all keys, one behind the other */
    size_t length, room;
    size_t *ends; /* the end of each key */
    uint32_t count;
    uint32_t *places; /* numbers + 1, by hash; 0: free */
    uint32_t size; /* of places: 0, or a power of two, at least twice the count */
};

/* The number of a key; DL_TABLE_NONE if it is not there. */
uint32_t dl_table_find(const struct dl_table *table, const char *key, size_t length);

/* The number of a key, which is added if it is not there; DL_TABLE_NONE if there is no memory. */
uint32_t dl_table_add(struct dl_table *table, const char *key, size_t length);

/* The key of that number. */
const char *dl_table_key(const struct dl_table *table, uint32_t number, size_t *length);

void dl_table_free(struct dl_table *table);

#endif
