/* The sizes and places of the tables' fields as the compiler has them, for the test that holds ../src/tables.rs to them. */
#include "tables.h"

#define AT(type, field) __builtin_offsetof(struct type, field)

__attribute__((section("sizes"), used)) const u32 layout[] = {
	sizeof(struct app), AT(app, generation), AT(app, flags), AT(app, policy),
	sizeof(struct key), AT(key, uid), AT(key, generation), AT(key, direction), AT(key, protocol), AT(key, port),
	AT(key, address),
	sizeof(struct rule), AT(rule, expiry_ns), AT(rule, attempts), AT(rule, packets), AT(rule, bytes), AT(rule, line),
	AT(rule, local),
	sizeof(struct slot), AT(slot, uid), AT(slot, index), sizeof(struct flow), sizeof(struct teller), sizeof(struct pace),
	sizeof(struct refusal), AT(refusal, uid), AT(refusal, direction), AT(refusal, protocol), AT(refusal, port),
	AT(refusal, address), AT(refusal, untold), SLOTS, APP_UNFILTERED,
};
