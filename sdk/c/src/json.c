/* A reader of JSON (RFC 8259) for messages that somebody hostile may have written.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Refused are: what is not UTF-8, control characters, "\u0000", lone surrogates, numbers in other forms than the
 * grammar's, two members of one name, anything behind the value, nesting beyond JSON_DEPTH_MAX, more than JSON_VALUES_MAX values.
 * Nothing is allocated but the list of values.
 */
#include "internal.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* Longest number that is read, bytes. */
#define NUMBER_MAX 64

struct reader {
    struct json_values *values;
    char *at;
    char *end;
};

static int read_value(struct reader *r, const char *name, int depth);

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool next_is(struct reader *r, char c)
{
    if (r->at < r->end && *r->at == c) {
        r->at++;
        return true;
    }
    return false;
}

/* A new value; its index, or an error. */
static long add_value(struct json_values *values, const char *name, enum gabion_json_kind kind)
{
    if (values->count == values->room) {
        size_t room = values->room == 0 ? 64 : values->room * 2;
        if (values->room >= JSON_VALUES_MAX)
            return -EBADMSG;
        struct gabion_json *grown = realloc(values->values, room * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        values->values = grown;
        values->room = room;
    }
    struct gabion_json *value = &values->values[values->count];
    memset(value, 0, sizeof *value);
    value->name = name;
    value->kind = (uint8_t)kind;
    value->size = 1;
    return (long)values->count++;
}

/* ------------------------------------------------------------------------------------------------------------- texts */

static int hex4(const char *at, const char *end, unsigned *out)
{
    if (end - at < 4)
        return -EBADMSG;
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (unsigned)(c - 'A' + 10);
        else
            return -EBADMSG;
        value = value * 16 + digit;
    }
    *out = value;
    return 0;
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* \uXXXX, or two of them; behind the 'u'. */
static int read_unicode(struct reader *r, char **out)
{
    unsigned high, low;
    if (hex4(r->at, r->end, &high) < 0 || high == 0 || (high >= 0xdc00 && high <= 0xdfff))
        return -EBADMSG;
    r->at += 4;
    if (high >= 0xd800 && high <= 0xdbff) {
        if (!next_is(r, '\\') || !next_is(r, 'u') || hex4(r->at, r->end, &low) < 0 || low < 0xdc00 || low > 0xdfff)
            return -EBADMSG;
        r->at += 4;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = put_utf8(*out, high);
    return 0;
}

static int read_escape(struct reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end)
        return -EBADMSG;
    char c = *r->at++;
    if (c == 'u')
        return read_unicode(r, out);
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found == NULL)
        return -EBADMSG;
    *(*out)++ = to[found - from];
    return 0;
}

/* How many bytes the character at `at` has (Unicode 15, table 3-7); 0 when it is none. */
static int utf8_length(const unsigned char *at, const unsigned char *end)
{
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    int more;
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        more = 1;
    else if ((first & 0xf0) == 0xe0)
        more = 2;
    else if (first >= 0xf0 && first <= 0xf4)
        more = 3;
    else
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    if (first == 0xed)
        high = 0x9f;
    if (first == 0xf0)
        low = 0x90;
    if (first == 0xf4)
        high = 0x8f;
    if (end - at <= more || at[1] < low || at[1] > high)
        return 0;
    for (int i = 2; i <= more; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return more + 1;
}

/* Behind the first quote. What it becomes is never longer than what it was, so it is written where it lies. */
static int read_text(struct reader *r, const char **text)
{
    char *out = r->at;
    *text = out;
    while (r->at < r->end) {
        unsigned char c = (unsigned char)*r->at;
        if (c == '"') {
            r->at++;
            *out = '\0';
            return 0;
        }
        if (c < 0x20)
            return -EBADMSG;
        if (c == '\\') {
            r->at++;
            if (read_escape(r, &out) < 0)
                return -EBADMSG;
            continue;
        }
        int length = utf8_length((const unsigned char *)r->at, (const unsigned char *)r->end);
        if (length == 0)
            return -EBADMSG;
        memmove(out, r->at, (size_t)length);
        out += length;
        r->at += length;
    }
    return -EBADMSG;
}

/* ----------------------------------------------------------------------------------------------------------- numbers */

static bool skip_digits(struct reader *r)
{
    char *before = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > before;
}

/* strtod() takes what the program's locale has for a point. */
static double to_double(const char *digits, size_t length)
{
    char copy[NUMBER_MAX + 16];
    const char *point = localeconv()->decimal_point;
    size_t out = 0, point_length = strlen(point);
    for (size_t i = 0; i < length; i++) {
        if (digits[i] == '.' && point_length > 0 && point_length <= 8) {
            memcpy(copy + out, point, point_length);
            out += point_length;
        } else {
            copy[out++] = digits[i];
        }
    }
    copy[out] = '\0';
    return strtod(copy, NULL);
}

static void to_integer(struct gabion_json *value, const char *digits, size_t length)
{
    bool negative = digits[0] == '-';
    uint64_t whole = 0, most = negative ? (uint64_t)1 << 63 : INT64_MAX;
    for (size_t i = negative ? 1 : 0; i < length; i++) {
        unsigned digit = (unsigned)(digits[i] - '0');
        if (whole > (most - digit) / 10)
            return;
        whole = whole * 10 + digit;
    }
    value->whole = true;
    value->integer = negative ? (int64_t)(0 - whole) : (int64_t)whole;
}

static int read_number(struct reader *r, const char *name)
{
    char *begin = r->at;
    bool whole = true;
    next_is(r, '-');
    if (!next_is(r, '0') && !skip_digits(r))
        return -EBADMSG;
    if (next_is(r, '.')) {
        whole = false;
        if (!skip_digits(r))
            return -EBADMSG;
    }
    if (next_is(r, 'e') || next_is(r, 'E')) {
        whole = false;
        if (!next_is(r, '+'))
            next_is(r, '-');
        if (!skip_digits(r))
            return -EBADMSG;
    }
    size_t length = (size_t)(r->at - begin);
    if (length > NUMBER_MAX)
        return -EBADMSG;
    long index = add_value(r->values, name, GABION_JSON_NUMBER);
    if (index < 0)
        return (int)index;
    struct gabion_json *value = &r->values->values[index];
    value->is.number = to_double(begin, length);
    if (whole)
        to_integer(value, begin, length);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------ values */

static int read_word(struct reader *r, const char *word, const char *name, enum gabion_json_kind kind, bool truth)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        return -EBADMSG;
    r->at += length;
    long index = add_value(r->values, name, kind);
    if (index < 0)
        return (int)index;
    r->values->values[index].is.truth = truth;
    return 0;
}

/* Whether the object at `index` has a member of this name among those that are read. */
static bool has_member(const struct json_values *values, size_t index, const char *name)
{
    for (size_t i = index + 1; i < values->count; i += values->values[i].size)
        if (strcmp(values->values[i].name, name) == 0)
            return true;
    return false;
}

static int read_member(struct reader *r, size_t index, int depth)
{
    const char *name;
    skip_space(r);
    if (!next_is(r, '"') || read_text(r, &name) < 0)
        return -EBADMSG;
    skip_space(r);
    if (r->values->values[index].is.count >= JSON_MEMBERS_MAX || has_member(r->values, index, name))
        return -EBADMSG;
    return next_is(r, ':') ? read_value(r, name, depth) : -EBADMSG;
}

static int read_list(struct reader *r, const char *name, int depth, enum gabion_json_kind kind, char close)
{
    long index = add_value(r->values, name, kind);
    if (index < 0)
        return (int)index;
    r->at++;
    skip_space(r);
    bool over = next_is(r, close);
    while (!over) {
        int result = kind == GABION_JSON_OBJECT ? read_member(r, (size_t)index, depth) : read_value(r, NULL, depth);
        if (result < 0)
            return result;
        r->values->values[index].is.count++;
        skip_space(r);
        over = next_is(r, close);
        if (!over && !next_is(r, ','))
            return -EBADMSG;
    }
    r->values->values[index].size = (uint32_t)(r->values->count - (size_t)index);
    return 0;
}

static int read_value(struct reader *r, const char *name, int depth)
{
    if (depth == 0)
        return -EBADMSG;
    skip_space(r);
    if (r->at == r->end)
        return -EBADMSG;
    switch (*r->at) {
    case '{':
        return read_list(r, name, depth - 1, GABION_JSON_OBJECT, '}');
    case '[':
        return read_list(r, name, depth - 1, GABION_JSON_ARRAY, ']');
    case 't':
        return read_word(r, "true", name, GABION_JSON_BOOL, true);
    case 'f':
        return read_word(r, "false", name, GABION_JSON_BOOL, false);
    case 'n':
        return read_word(r, "null", name, GABION_JSON_NULL, false);
    case '"': {
        const char *text;
        r->at++;
        if (read_text(r, &text) < 0)
            return -EBADMSG;
        long index = add_value(r->values, name, GABION_JSON_TEXT);
        if (index < 0)
            return (int)index;
        r->values->values[index].is.text = text;
        return 0;
    }
    default:
        return read_number(r, name);
    }
}

int json_read(struct json_values *values, char *text, size_t length)
{
    struct reader r = {values, text, text + length};
    values->count = 0;
    int result = read_value(&r, NULL, JSON_DEPTH_MAX);
    if (result < 0)
        return result;
    skip_space(&r);
    return r.at == r.end ? 0 : -EBADMSG;
}

void json_free(struct json_values *values)
{
    free(values->values);
    memset(values, 0, sizeof *values);
}

/* ------------------------------------------------------------------------------------------------------ what is asked */

enum gabion_json_kind gabion_json_kind(const gabion_json *value)
{
    return value == NULL ? GABION_JSON_NULL : (enum gabion_json_kind)value->kind;
}

size_t gabion_json_count(const gabion_json *value)
{
    enum gabion_json_kind kind = gabion_json_kind(value);
    return kind == GABION_JSON_ARRAY || kind == GABION_JSON_OBJECT ? value->is.count : 0;
}

const gabion_json *gabion_json_element(const gabion_json *value, size_t index)
{
    if (index >= gabion_json_count(value))
        return NULL;
    const gabion_json *element = value + 1;
    while (index-- > 0)
        element += element->size;
    return element;
}

const gabion_json *gabion_json_member(const gabion_json *object, const char *name)
{
    if (gabion_json_kind(object) != GABION_JSON_OBJECT)
        return NULL;
    const gabion_json *member = object + 1;
    for (uint32_t i = 0; i < object->is.count; i++, member += member->size)
        if (strcmp(member->name, name) == 0)
            return member;
    return NULL;
}

const char *gabion_json_text(const gabion_json *value)
{
    return gabion_json_kind(value) == GABION_JSON_TEXT ? value->is.text : NULL;
}

int64_t gabion_json_int(const gabion_json *value, int64_t otherwise)
{
    return gabion_json_kind(value) == GABION_JSON_NUMBER && value->whole ? value->integer : otherwise;
}

double gabion_json_double(const gabion_json *value, double otherwise)
{
    return gabion_json_kind(value) == GABION_JSON_NUMBER ? value->is.number : otherwise;
}

bool gabion_json_bool(const gabion_json *value, bool otherwise)
{
    return gabion_json_kind(value) == GABION_JSON_BOOL ? value->is.truth : otherwise;
}

/* ------------------------------------------------------------------------------------------------------------ writing */

struct cut {
    char *out;
    size_t room, length;
};

static void put(struct cut *cut, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++, cut->length++)
        if (cut->length + 1 < cut->room)
            cut->out[cut->length] = bytes[i];
}

size_t gabion_json_quote(char *out, size_t room, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    struct cut cut = {out, room, 0};
    const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
    put(&cut, "\"", 1);
    while (at < end) {
        int length = utf8_length(at, end);
        if (length == 0) {
            put(&cut, "\xef\xbf\xbd", 3);
            at++;
            continue;
        }
        if (*at == '"' || *at == '\\') {
            put(&cut, (const char[]){'\\', (char)*at}, 2);
        } else if (*at < 0x20) {
            put(&cut, (const char[]){'\\', 'u', '0', '0', hex[*at >> 4], hex[*at & 15]}, 6);
        } else {
            put(&cut, (const char *)at, (size_t)length);
        }
        at += length;
    }
    put(&cut, "\"", 1);
    if (room > 0)
        out[cut.length < room ? cut.length : room - 1] = '\0';
    return cut.length;
}
