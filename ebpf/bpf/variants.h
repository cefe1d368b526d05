/* SPDX-License-Identifier: Apache-2.0 */
/* Other ways to look up, which BenchmarkLookups compares. They are in no product. */
#pragma once

#ifdef VARIANT_TRIE
struct trie_key {
	__u32 len; /* with the table's 32 bits */
	__u32 table;
	struct address address;
};

struct {
	MAP_INT(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_INT(max_entries, MAX_ROUTES);
	MAP_INT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct trie_key);
	MAP_TYPE(value, struct route);
} routes SEC(".maps");

static inline_always struct route *find(__u32 table, const struct address *a, __u32 list)
{
	struct trie_key k = {.len = 32 + 128, .table = table, .address = *a};

	return bpf_map_lookup_elem(&routes, &k);
}

static inline_always struct route *route_of(struct __sk_buff *skb, const struct packet *p)
{
	struct route *r = find(TABLE_DESTINATIONS, &p->dst, 0);

	if (r && r->sources) {
		struct route *special = find(r->sources, &p->src, 0);

		if (special)
			return special;
	}
	return r;
}
#endif

#ifdef VARIANT_KERNEL
struct {
	MAP_INT(type, BPF_MAP_TYPE_HASH);
	MAP_INT(max_entries, MAX_ROUTES);
	MAP_TYPE(key, __u32); /* the interface that the kernel finds */
	MAP_TYPE(value, struct route);
} routes SEC(".maps");

/* Sources are not told apart. */
static inline_always struct route *find(__u32 table, const struct address *a, __u32 list)
{
	return bpf_map_lookup_elem(&routes, &table);
}

static inline_always struct route *route_of(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_fib_lookup f = {};

	f.ifindex = skb->ifindex;
	f.tot_len = skb->gso_size ? 0 : p->len;
	f.l4_protocol = p->protocol;
	if (p->family == IPV6) {
		f.family = 10;
		f.src[0] = p->src.hi;
		f.src[1] = p->src.hi >> 32;
		f.src[2] = p->src.lo;
		f.src[3] = p->src.lo >> 32;
		f.dst[0] = p->dst.hi;
		f.dst[1] = p->dst.hi >> 32;
		f.dst[2] = p->dst.lo;
		f.dst[3] = p->dst.lo >> 32;
	} else {
		f.family = 2;
		f.src[0] = p->src.lo >> 32;
		f.dst[0] = p->dst.lo >> 32;
	}
	long outcome = bpf_fib_lookup(skb, &f, sizeof(f), 0);

	/* 7: no neighbour, which a tunnel has none of. */
	if (outcome && outcome != 7)
		return 0;
	return bpf_map_lookup_elem(&routes, &f.ifindex);
}
#endif
