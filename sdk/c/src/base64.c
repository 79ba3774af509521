/* Base64 (RFC 4648, section 4, with padding), as it stands in the bus's messages.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#include "base64.h"

#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0)
                         | (left > 2 ? bytes[i + 2] : 0);
        *out++ = ALPHABET[three >> 18];
        *out++ = ALPHABET[three >> 12 & 63];
        *out++ = left > 1 ? ALPHABET[three >> 6 & 63] : '=';
        *out++ = left > 2 ? ALPHABET[three & 63] : '=';
    }
    *out = '\0';
}

long base64_decode(uint8_t *out, size_t room, const char *text)
{
    size_t length = strlen(text), written = 0;
    if (length % 4 != 0)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        uint32_t four = 0;
        size_t bytes = 3;
        if (i + 4 == length && text[i + 3] == '=')
            bytes = text[i + 2] == '=' ? 1 : 2;
        for (size_t n = 0; n < 4; n++) {
            const char *at = n <= bytes ? strchr(ALPHABET, text[i + n]) : ALPHABET;
            if (at == NULL)
                return -1;
            four = four << 6 | (uint32_t)(at - ALPHABET);
        }
        /* One text for each value: what is cut off has to be zero. */
        if (room - written < bytes || (four & ((1u << (24 - 8 * bytes)) - 1)) != 0)
            return -1;
        for (size_t n = 0; n < bytes; n++)
            out[written++] = (uint8_t)(four >> (16 - 8 * n));
    }
    return (long)written;
}
