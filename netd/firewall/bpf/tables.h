/* The tables that the programs share with `netd`. The same layouts are in ../src/tables.rs; a test holds them together
 * by the object's own sizes. Ports are in the byte order of the host, addresses as on the wire, IPv4 as ::ffff:a.b.c.d. */
#pragma once
#include "kernel.h"

enum { CONNECT = 0, LISTEN = 1, INBOUND = 2 };

/* A box that is not filtered: netd itself, and boxes of the weak build that lack this layer. */
enum { APP_UNFILTERED = 1 };

/* By uid. One update of `generation` switches all rules of the app at once. */
struct app {
	u32 generation, flags;
	u64 policy[2]; /* of which grants the rules were made; for netd alone */
};

struct key {
	u32 uid, generation;
	u8 direction, protocol;
	u16 port;
	u32 address[4]; /* of the peer; all zero for LISTEN */
};

struct rule {
	u64 expiry_ns; /* CLOCK_MONOTONIC; 0 is never */
	u64 attempts, packets, bytes;
	u16 line;
	u8 local; /* LISTEN: from this device alone */
	u8 zero[5];
};

/* UDP has no connections, so those that are under way are remembered: answers of an app that listens, and packets to
 * an address whose time is up. A table of SLOTS places for each app, so that none can push out another's. */
enum { SLOTS = 256 };
#define ANSWER_NS 300000000000ULL
struct slot {
	u32 uid, index;
};
struct flow {
	u32 address[4];
	u16 peer, own;
	u32 answer; /* the other side began, so that only its packets keep the flow */
	u64 seen_ns;
};

/* How many refusals were told in this second, and how many were not. */
enum { TOLD_MAX = 32 };
#define SECOND_NS 1000000000ULL
struct teller {
	u32 uid, inbound;
};
struct pace {
	u64 since_ns;
	u32 told, untold;
};

/* One refusal, in the ring. `untold`: how many more of this app were not told before it. */
struct refusal {
	u32 uid;
	u8 direction, protocol;
	u16 port;
	u32 address[4];
	u32 untold;
};

/* Only their addresses are used: the loader puts the map's descriptor in their place. */
extern int apps, rules, flows, paces, refusals;
