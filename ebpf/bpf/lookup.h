/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a packet goes: hash lookups, one for each length of prefix that exists.
 * That beats a trie and the kernel's own lookup (docs/benchmarks.md), as plans of
 * addresses have few lengths; see variants.h.
 */
#pragma once

struct {
	MAP_INT(type, BPF_MAP_TYPE_HASH);
	MAP_INT(max_entries, MAX_ROUTES);
	MAP_TYPE(key, struct key);
	MAP_TYPE(value, struct route);
} routes SEC(".maps");

/* find gives the entry of the longest prefix. */
static inline_always struct route *find(__u32 table, const struct address *a, __u32 list)
{
	__u32 at = (generation & 1) * LISTS + list;
	const struct lengths *l;
	struct key k;

	/* The compiler knows that the mask changes nothing, and Linux 6.1's verifier
	 * does not: it must be there. */
	asm volatile("" : "+r"(at));
	l = &prefix_lengths[at & (2 * LISTS - 1)];
	k.table = table;
	for (__u32 i = 0; i < MAX_LENGTHS; i++) {
		if (i >= l->count)
			break;
		k.address.hi = a->hi & l->of[i].mask.hi;
		k.address.lo = a->lo & l->of[i].mask.lo;
		k.len = l->of[i].len;
		struct route *r = bpf_map_lookup_elem(&routes, &k);
		if (r)
			return r;
	}
	return 0;
}

static inline_always struct route *route_of(struct __sk_buff *skb, const struct packet *p)
{
	struct route *r = find(TABLE_DESTINATIONS, &p->dst, DESTINATIONS + p->family);

	if (r && r->sources) {
		struct route *special = find(r->sources, &p->src, SOURCES + p->family);

		if (special)
			return special;
	}
	return r;
}
