/* JSON text under construction, see json_text.h. */
#include "json_text.h"

bool dl_text_grow(struct dl_text *text, size_t more)
{
    size_t room = 2 * (text->length + more);
    char *longer = text->failed ? NULL : malloc(room);
    if (longer == NULL) {
        text->failed = true;
        return false;
    }
    memcpy(longer, text->start, text->length);
    dl_text_end(text);
    text->start = longer;
    text->room = room;
    return true;
}

/* True if one of eight bytes has to be escaped: below a blank, a quote, a backslash. */
static inline bool any_special(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    return (((word - ones * 0x20) & ~word) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash))
           & high;
}

static __attribute__((noinline)) void put_escape(struct dl_text *text, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    bool is_short = byte >= 0x20 || letters[byte] != 0;
    if (is_short)
        escape[1] = byte >= 0x20 ? (char)byte : letters[byte];
    dl_put(text, escape, is_short ? 2 : 6);
}

void dl_put_escaped(struct dl_text *text, const char *bytes, size_t length)
{
    size_t done = 0, at = 0;
    while (at < length) {
        /* The last bytes of a string are looked at together with some before them. */
        const size_t word = length - at >= 8 ? at : length - 8;
        if (length >= 8 && !any_special(bytes + word)) {
            at = word + 8;
            continue;
        }
        unsigned char byte = (unsigned char)bytes[at];
        if (byte < 0x20 || byte == '"' || byte == '\\') {
            dl_put(text, bytes + done, at - done);
            put_escape(text, byte);
            done = at + 1;
        }
        at++;
    }
    dl_put(text, bytes + done, length - done);
}
