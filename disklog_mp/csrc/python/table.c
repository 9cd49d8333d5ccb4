/* A table of byte strings, see table.h. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64u

static uint64_t hash_of(const char *key, size_t length)
{
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length;
    for (; length >= 8; key += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, key, sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    uint64_t word = 0;
    memcpy(&word, key, length);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    return hash ^ hash >> 29;
}

const char *dl_table_key(const struct dl_table *table, uint32_t number, size_t *length)
{
    const size_t start = number == 0 ? 0 : table->ends[number - 1];
    *length = table->ends[number] - start;
    return table->bytes + start;
}

/* The place of a key, or the free one where it belongs. */
static uint32_t place_of(const struct dl_table *table, const char *key, size_t length)
{
    uint32_t place = (uint32_t)hash_of(key, length) & (table->size - 1);
    while (table->places[place] != 0) {
        size_t known_length;
        const char *known = dl_table_key(table, table->places[place] - 1, &known_length);
        if (known_length == length && memcmp(known, key, length) == 0)
            break;
        place = (place + 1) & (table->size - 1);
    }
    return place;
}

uint32_t dl_table_find(const struct dl_table *table, const char *key, size_t length)
{
    if (table->size == 0)
        return DL_TABLE_NONE;
    return table->places[place_of(table, key, length)] - 1; /* a free one has 0 */
}

static bool grow_places(struct dl_table *table)
{
    const uint32_t size = table->size == 0 ? FIRST_SIZE : 2 * table->size;
    uint32_t *places = size == 0 ? NULL : calloc(size, sizeof *places);
    size_t *ends = places == NULL ? NULL : realloc(table->ends, size / 2 * sizeof *ends);
    if (ends == NULL) {
        free(places);
        return false;
    }
    free(table->places);
    table->ends = ends;
    table->places = places;
    table->size = size;
    for (uint32_t number = 0; number < table->count; number++) {
        size_t length;
        const char *key = dl_table_key(table, number, &length);
        table->places[place_of(table, key, length)] = number + 1;
    }
    return true;
}

static bool grow_bytes(struct dl_table *table, size_t more)
{
    if (table->room - table->length >= more && table->bytes != NULL)
        return true;
    const size_t room = 2 * (table->length + more) + FIRST_SIZE;
    char *bytes = realloc(table->bytes, room);
    if (bytes == NULL)
        return false;
    table->bytes = bytes;
    table->room = room;
    return true;
}

uint32_t dl_table_add(struct dl_table *table, const char *key, size_t length)
{
    const uint32_t known = dl_table_find(table, key, length);
    if (known != DL_TABLE_NONE)
        return known;
    if ((table->count >= table->size / 2 && !grow_places(table)) || !grow_bytes(table, length))
        return DL_TABLE_NONE;
    table->places[place_of(table, key, length)] = table->count + 1;
    memcpy(table->bytes + table->length, key, length);
    table->length += length;
    table->ends[table->count] = table->length;
    return table->count++;
}

void dl_table_free(struct dl_table *table)
{
    free(table->bytes);
    free(table->ends);
    free(table->places);
}
