/* Base64; no part of the library's interface.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef GABION_BASE64_H
#define GABION_BASE64_H

#include "internal.h"

/* Characters of so many bytes, and a NUL. */
#define BASE64_ROOM(bytes) (((bytes) + 2) / 3 * 4 + 1)

#pragma GCC visibility push(hidden)
void base64_encode(char *out, const uint8_t *bytes, size_t length);
/* How many bytes it is; -1 when it is no Base64, or more than there is room for. */
long base64_decode(uint8_t *out, size_t room, const char *text);
#pragma GCC visibility pop

#endif
