/* Text that grows.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *text, size_t more)
{
    if (text->failed)
        return false;
    if (text->room - text->length > more)
        return true;
    size_t room = text->room == 0 ? 256 : text->room;
    while (room - text->length <= more)
        room *= 2;
    char *grown = realloc(text->bytes, room);
    text->failed = grown == NULL;
    if (grown == NULL)
        return false;
    text->bytes = grown;
    text->room = room;
    return true;
}

void text_add(struct text *text, const char *bytes, size_t length)
{
    if (!reserve(text, length))
        return;
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_str(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_quoted(struct text *text, const char *string)
{
    size_t length = gabion_json_quote(NULL, 0, string);
    if (!reserve(text, length))
        return;
    gabion_json_quote(text->bytes + text->length, length + 1, string);
    text->length += length;
}

void text_free(struct text *text)
{
    free(text->bytes);
    memset(text, 0, sizeof *text);
}
