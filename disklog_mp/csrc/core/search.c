/* Searching frames, see search.h.
 *
 * THE WALK OR THE MAPPING FIRST?  A needle could be looked for in the page's memory, and frames only around a
 * hit.  But frames lead forward only, and a record's number is known by counting: so each header is read in
 * any case, and it takes the processor as long to wait for the next header as to sum the bytes before it.
 * The walk with checksums takes about the time that grep takes for the same lines (bench: search).
 * It also keeps the reader's word: damage is found and told, whether or not a record near it is wanted.
 *
 * What is compared here is never more than a first look: where JSON may spell a key or a value in another
 * way, the record is given out, and a parser decides.
 */
#include "search.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- bytes ------------------------------------------------------------------------------------------ */

/* From usual to rare, in lines of JSON; bytes that are not there are rare. */
static const char usual[] = "\"0123456789,e: tainorslmdugpcfhv.bw_-ky{}[]/x";

static uint32_t rarity(uint8_t byte)
{
    const char *found = byte == 0 ? NULL : strchr(usual, byte);
    return found == NULL ? sizeof usual : (uint32_t)(found - usual);
}

void dl_term_choose(struct dl_term *term)
{
    uint64_t best = 0, second = term->length - 1;
    for (uint64_t i = 1; i < term->length; i++)
        if (rarity(term->bytes[i]) > rarity(term->bytes[best]))
            best = i;
    if (second == best)
        second = 0;
    for (uint64_t i = 0; i < term->length; i++)
        if (i != best && rarity(term->bytes[i]) > rarity(term->bytes[second]))
            second = i;
    term->rare[0] = best;
    term->rare[1] = second;
}

static const uint8_t *find_slowly(const uint8_t *bytes, uint64_t places, const struct dl_term *needle)
{
    const uint64_t at = needle->rare[0];
    const uint8_t *from = bytes, *end = bytes + places;
    while (from < end) {
        const uint8_t *hit = memchr(from + at, needle->bytes[at], (size_t)(end - from));
        if (hit == NULL)
            return NULL;
        if (memcmp(hit - at, needle->bytes, needle->length) == 0)
            return hit - at;
        from = hit - at + 1;
    }
    return NULL;
}

#ifdef __SSE2__
/* The places, of sixteen, at which both of the needle's rare bytes stand. */
static inline uint32_t both_at(const uint8_t *first, const uint8_t *second, __m128i a, __m128i b)
{
    const __m128i left = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)first), a);
    const __m128i right = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)second), b);
    return (uint32_t)_mm_movemask_epi8(_mm_and_si128(left, right));
}

const uint8_t *dl_find(const uint8_t *bytes, uint64_t length, const struct dl_term *needle)
{
    if (length < needle->length)
        return NULL;
    const uint64_t places = length - needle->length + 1;
    if (places < 16)
        return find_slowly(bytes, places, needle);
    const __m128i a = _mm_set1_epi8((char)needle->bytes[needle->rare[0]]);
    const __m128i b = _mm_set1_epi8((char)needle->bytes[needle->rare[1]]);
    for (uint64_t at = 0; at < places;) {
        if (places - at < 16)
            at = places - 16; /* the last ones are looked at together with some before them */
        const uint8_t *here = bytes + at;
        for (uint32_t hits = both_at(here + needle->rare[0], here + needle->rare[1], a, b); hits != 0;
             hits &= hits - 1) {
            const uint8_t *hit = here + __builtin_ctz(hits);
            if (memcmp(hit, needle->bytes, needle->length) == 0)
                return hit;
        }
        at += 16;
    }
    return NULL;
}
#else
const uint8_t *dl_find(const uint8_t *bytes, uint64_t length, const struct dl_term *needle)
{
    return length < needle->length ? NULL : find_slowly(bytes, length - needle->length + 1, needle);
}
#endif

/* ---- JSON, as far as a first look goes ---------------------------------------------------------------- */

static const uint8_t *past_blanks(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* The byte that a short escape stands for; 0: none, or \u. */
static uint8_t unescaped(uint8_t letter)
{
    static const uint8_t bytes[128] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                       ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    return letter < 128 ? bytes[letter] : 0;
}

/* True if the string behind the opening quote is, or begins with, the term's value; and if it may be. */
static bool is_text(const uint8_t *at, const uint8_t *end, const struct dl_term *term)
{
    for (uint64_t i = 0; i < term->value_length; i++) {
        if (at >= end)
            return false;
        uint8_t byte = *at++;
        if (byte == '"')
            return false;
        if (byte == '\\') {
            byte = at < end ? unescaped(*at++) : 0;
            if (byte == 0)
                return true; /* \u, or no JSON: the parser decides */
        }
        if (byte != term->value[i])
            return false;
    }
    return at < end && (*at == '"' || *at == '\\' || (term->kind == DL_TERM_BELOW && *at == '.'));
}

static bool is_bare(const uint8_t *at, const uint8_t *end, const struct dl_term *term)
{
    if ((uint64_t)(end - at) < term->value_length || memcmp(at, term->value, term->value_length) != 0)
        return false;
    at = past_blanks(at + term->value_length, end);
    return at < end && (*at == ',' || *at == '}');
}

/* True if the key that ends there has the value. */
static bool has_value(const uint8_t *at, const uint8_t *end, const struct dl_term *term)
{
    at = past_blanks(at, end);
    if (at >= end || *at != ':')
        return false;
    if (term->kind == DL_TERM_KEY)
        return true;
    at = past_blanks(at + 1, end);
    if (at >= end)
        return false;
    return *at == '"' ? is_text(at + 1, end, term) : term->kind == DL_TERM_EQUALS && is_bare(at, end, term);
}

static bool meets_term(const struct dl_term *term, const uint8_t *bytes, uint64_t length)
{
    const uint8_t *end = bytes + length, *at = bytes;
    while ((at = dl_find(at, (uint64_t)(end - at), term)) != NULL) {
        if (term->kind == DL_TERM_BYTES || has_value(at + term->length, end, term))
            return true;
        at++;
    }
    return false;
}

/* True if a character that could be written as itself may be written as \u; control characters cannot. */
static bool has_escape(const uint8_t *bytes, uint64_t length)
{
    static const uint8_t mark[] = {'\\', 'u'};
    static const struct dl_term escape = {.bytes = mark, .length = 2, .rare = {0, 1}};
    const uint8_t *end = bytes + length, *at = bytes;
    while ((at = dl_find(at, (uint64_t)(end - at), &escape)) != NULL) {
        if (end - at < 6 || memcmp(at + 2, "00", 2) != 0 || (at[4] != '0' && at[4] != '1'))
            return true;
        at += 2;
    }
    return false;
}

bool dl_meets(const struct dl_filter *filter, const uint8_t *bytes, uint64_t length)
{
    for (uint32_t i = 0; i < filter->clause_count; i++) {
        const struct dl_clause *clause = &filter->clauses[i];
        const struct dl_term *term = &filter->terms[clause->first];
        bool met = false;
        for (uint32_t t = 0; t < clause->count && !met; t++)
            met = meets_term(&term[t], bytes, length);
        if (!met && !(clause->may_escape && has_escape(bytes, length)))
            return false;
    }
    return true;
}

/* ---- records ------------------------------------------------------------------------------------------ */

static bool has_bit(const uint8_t *bits, uint32_t number) { return (bits[number / 8] >> number % 8 & 1) != 0; }

static bool has_pid(const struct dl_filter *filter, uint32_t pid)
{
    for (uint32_t i = 0; i < filter->pid_count; i++)
        if (filter->pids[i] == pid)
            return true;
    return filter->pid_count == 0;
}

static bool is_wanted(const struct dl_filter *filter, const struct dl_frame *frame, uint64_t number)
{
    const struct dl_frame_header *header = &frame->header;
    if (number < filter->start || header->time < filter->since || header->time > filter->latest)
        return false;
    if (header->kind == DL_GAP)
        return true;
    return (filter->tags == NULL || has_bit(filter->tags, header->tag)) && has_pid(filter, header->pid)
           && (filter->labels == NULL || has_bit(filter->labels, frame->label))
           && dl_meets(filter, frame->bytes, header->length);
}

/* One record: passed, and noted if it is wanted.  `checked`: the position of the frame that it stands in. */
static uint32_t take(const struct dl_filter *filter, struct dl_place *place, const struct dl_frame *frame,
                     uint64_t position, uint64_t checked, struct dl_found *found)
{
    const bool wanted = is_wanted(filter, frame, place->number);
    if (wanted)
        *found = (struct dl_found){.frame = *frame,
                                   .position = position,
                                   .number = place->number,
                                   .before = (uint32_t)(position - checked)};
    place->early |= frame->header.time <= filter->latest;
    place->time = frame->header.time;
    place->timed = ++place->number;
    return wanted;
}

/* The next inner frame of the group that the place is in; false: behind the last one. */
static bool next_inner(struct dl_place *place, struct dl_frame *frame, uint64_t *position)
{
    const uint64_t at = place->group_offset;
    if (place->group_length != 0
        && dl_group_next(place->group, place->group_length, &place->group_offset, frame)) {
        *position = place->group_position + DL_FRAME_HEADER + at;
        return true;
    }
    place->group_length = 0;
    return false;
}

enum dl_search_end dl_search(const struct dl_filter *filter, struct dl_place *place, uint64_t bytes,
                             struct dl_found *found, uint32_t most, uint32_t *count)
{
    struct dl_frame frame;
    uint64_t position;
    const uint64_t from = place->offset;
    *count = 0;
    for (;;) {
        if (place->number >= filter->stop)
            return DL_SEARCH_OVER;
        if (*count >= most || place->offset - from > bytes)
            return DL_SEARCH_PAUSED;
        if (place->group_length != 0) {
            if (next_inner(place, &frame, &position))
                *count += take(filter, place, &frame, position, place->group_position, &found[*count]);
            continue;
        }
        if (place->offset >= place->end)
            return DL_SEARCH_OVER;
        position = place->origin + place->offset;
        if (dl_frame_check(place->memory + place->offset, place->end - place->offset, position, place->seed,
                           &frame)
            != DL_FRAME_VALID)
            return DL_SEARCH_BAD;
        place->offset += frame.span;
        if (frame.header.kind == DL_RECORD || frame.header.kind == DL_GAP)
            *count += take(filter, place, &frame, position, position, &found[*count]);
        else if (frame.header.kind == DL_GROUP) {
            place->group = frame.bytes;
            place->group_length = frame.header.length;
            place->group_offset = DL_GROUP_HEADER;
            place->group_position = position;
        }
    }
}
