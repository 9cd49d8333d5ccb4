/* Searching the frames of a page for records that meet conditions.  No shared state, no Python, no
 * allocation; a frame is checked as frames.h does before a byte of it is looked at.
 */
#ifndef DL_SEARCH_H
#define DL_SEARCH_H

#include "frames.h"

/* One thing that a record may hold. */
enum dl_term_kind {
    DL_TERM_BYTES, /* these bytes, anywhere */
    DL_TERM_KEY, /* these bytes, and behind them a colon: a key of JSON, with its quotes */
    DL_TERM_EQUALS, /* such a key, and behind the colon this value: in quotes, or as it stands */
    DL_TERM_BELOW, /* such a key, and behind the colon this text in quotes, or it and a dot and more */
};

struct dl_term {
    enum dl_term_kind kind;
    const uint8_t *bytes;
    uint64_t length;
    const uint8_t *value; /* EQUALS, BELOW: the text, without escapes */
    uint64_t value_length;
    uint64_t rare[2]; /* two offsets in `bytes`: its least usual ones; see dl_term_choose */
};

/* Terms of which one must be met.  In JSON a key may be spelt with \u escapes: such a record is given out
 * all the same where `may_escape` is set, and the caller's parser decides. */
struct dl_clause {
    uint32_t first, count; /* among the terms */
    bool may_escape;
};

/* All of it must hold.  A gap record needs to meet numbers and times alone. */
struct dl_filter {
    const struct dl_term *terms;
    const struct dl_clause *clauses;
    uint32_t clause_count;
    uint32_t pid_count; /* 0: all */
    const uint32_t *pids;
    const uint8_t *tags; /* a bit for each of 65,536; NULL: all */
    const uint8_t *labels; /* a bit for each of DL_LABEL_MAX + 1 indices; NULL: all */
    uint64_t since, latest; /* time >= since and <= latest */
    uint64_t start, stop; /* number >= start; the search ends at `stop` */
};

/* Where a search is in a page. */
struct dl_place {
    const uint8_t *memory; /* the page, from its first byte */
    uint64_t offset; /* of the next frame */
    uint64_t end; /* readable up to here */
    uint64_t origin; /* position - offset, the same for the whole page */
    uint64_t number; /* of the next record */
    uint64_t time; /* of the last record passed, 0: none */
    uint64_t timed; /* the number behind that record */
    uint32_t seed;
    bool early; /* a record not later than `latest` was passed */
    const uint8_t *group; /* inside a group: its bytes, their length and the next inner frame */
    uint64_t group_length; /* 0: not inside */
    uint64_t group_offset;
    uint64_t group_position;
};

struct dl_found {
    struct dl_frame frame;
    uint64_t position;
    uint64_t number;
    uint32_t before; /* inside a group: bytes from the header of its frame, which was checked; else 0 */
};

enum dl_search_end {
    DL_SEARCH_OVER, /* the end, or number `stop` */
    DL_SEARCH_PAUSED, /* as many found, or as many bytes passed, as were asked for */
    DL_SEARCH_BAD, /* at the offset stands no valid frame */
};

/* Search on from the place, which moves on; at most `most` records, and somewhat more than so many bytes. */
enum dl_search_end dl_search(const struct dl_filter *filter, struct dl_place *place, uint64_t bytes,
                             struct dl_found *found, uint32_t most, uint32_t *count);

/* True if a record of those bytes meets the clauses. */
bool dl_meets(const struct dl_filter *filter, const uint8_t *bytes, uint64_t length);

/* Choose the bytes by which a term is looked for.  A term has at least one byte. */
void dl_term_choose(struct dl_term *term);

/* The first place where `needle` stands in so many bytes, NULL if there is none. */
const uint8_t *dl_find(const uint8_t *bytes, uint64_t length, const struct dl_term *needle);

#endif
