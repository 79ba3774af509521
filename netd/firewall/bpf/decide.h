/* What calls and packets are asked alike. */
#pragma once
#include "tables.h"

/* `::ffff:a.b.c.d` for an address as on the wire. */
INLINE void mapped(u32 address[4], u32 ip4)
{
	address[0] = 0;
	address[1] = 0;
	address[2] = __builtin_bswap32(0xffff);
	address[3] = ip4;
}

INLINE int is_mapped(const u32 address[4])
{
	return address[0] == 0 && address[1] == 0 && address[2] == __builtin_bswap32(0xffff);
}

/* The kernel takes the unspecified address of a destination for loopback, and so do we. */
INLINE void unspecified_is_loopback(u32 address[4])
{
	if (address[3] != 0)
		return;
	if (is_mapped(address))
		address[3] = __builtin_bswap32(0x7f000001);
	else if (address[0] == 0 && address[1] == 0 && address[2] == 0)
		address[3] = __builtin_bswap32(1);
}

/* Two ends: the peer's address and port, and our own port. */
struct ends {
	u32 address[4];
	u16 peer, own;
	u8 protocol;
	u8 begins; /* the first packet of a TCP connection */
};

#define NOWHERE { .address = { 0, 0, 0, 0 }, .peer = 0, .own = 0, .protocol = 0, .begins = 0 }

INLINE struct rule *connect_rule(u32 uid, const struct app *app, const struct ends *to)
{
	struct key key = {
		.uid = uid,
		.generation = app->generation,
		.direction = CONNECT,
		.protocol = to->protocol,
		.port = to->peer,
		.address = { to->address[0], to->address[1], to->address[2], to->address[3] },
	};
	return map_lookup(&rules, &key);
}

INLINE struct rule *listen_rule(u32 uid, const struct app *app, const struct ends *at)
{
	struct key key = {
		.uid = uid,
		.generation = app->generation,
		.direction = LISTEN,
		.protocol = at->protocol,
		.port = at->own,
		.address = { 0, 0, 0, 0 },
	};
	return map_lookup(&rules, &key);
}

INLINE int live(const struct rule *rule)
{
	return rule && (rule->expiry_ns == 0 || ktime_ns() < rule->expiry_ns);
}

INLINE void slot_of(struct slot *slot, u32 uid, const struct ends *of)
{
	u32 mix = of->address[0] ^ of->address[1] ^ of->address[2] ^ of->address[3];
	mix ^= (u32)of->peer << 16 | of->own;
	slot->uid = uid;
	slot->index = (mix * 0x9e3779b1u) >> 24 & (SLOTS - 1);
}

INLINE int same_flow(const struct flow *flow, const struct ends *of)
{
	return flow->peer == of->peer && flow->own == of->own && flow->address[0] == of->address[0] &&
	       flow->address[1] == of->address[1] && flow->address[2] == of->address[2] &&
	       flow->address[3] == of->address[3];
}

/* Whether packets between the two are under way. */
INLINE int under_way(u32 uid, const struct ends *of)
{
	struct slot slot;
	slot_of(&slot, uid, of);
	struct flow *flow = map_lookup(&flows, &slot);
	if (!flow || of->own == 0 || !same_flow(flow, of))
		return 0;
	return !flow->answer || ktime_ns() - flow->seen_ns < ANSWER_NS;
}

/* Remembers it. One that the app began stays so. A full table forgets it: it fails closed. */
INLINE void remember(u32 uid, const struct ends *of, u32 answer)
{
	struct slot slot;
	slot_of(&slot, uid, of);
	struct flow *known = map_lookup(&flows, &slot);
	if (known && same_flow(known, of) && (answer || !known->answer)) {
		known->seen_ns = ktime_ns();
		return;
	}
	struct flow flow = {
		.address = { of->address[0], of->address[1], of->address[2], of->address[3] },
		.peer = of->peer,
		.own = of->own,
		.answer = answer,
		.seen_ns = ktime_ns(),
	};
	map_update(&flows, &slot, &flow, 0);
}

/* Tells netd, at most TOLD_MAX times a second for each app and for what comes from outside to it. */
INLINE void refuse(u32 uid, u8 direction, const struct ends *at)
{
	struct teller teller = { .uid = uid, .inbound = direction == INBOUND };
	struct pace *pace = map_lookup(&paces, &teller);
	u64 now = ktime_ns();
	u32 untold = 0;
	if (!pace) {
		struct pace first = { .since_ns = now, .told = 1, .untold = 0 };
		map_update(&paces, &teller, &first, 0);
	} else {
		if (now - pace->since_ns >= SECOND_NS) {
			pace->since_ns = now;
			pace->told = 0;
		}
		if (pace->told >= TOLD_MAX) {
			pace->untold++;
			return;
		}
		pace->told++;
		untold = pace->untold;
		pace->untold = 0;
	}
	struct refusal refusal = {
		.uid = uid,
		.direction = direction,
		.protocol = at->protocol,
		.port = direction == CONNECT ? at->peer : at->own,
		.address = { at->address[0], at->address[1], at->address[2], at->address[3] },
		.untold = untold,
	};
	ringbuf_output(&refusals, &refusal, sizeof refusal, 0);
}
