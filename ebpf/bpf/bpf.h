/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our programs need of the kernel's interface, and no more. System headers
 * are not used: their versions would show in the objects, which must come out
 * the same on every machine that has the right clang.
 */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

#define SEC(name) __attribute__((section(name), used))
#define inline_always inline __attribute__((always_inline))

/* A map as cilium/ebpf and libbpf find it in the BTF of section .maps. */
#define MAP_INT(name, value) int (*name)[value]
#define MAP_TYPE(name, value) typeof(value) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_INGRESS = 1,
	BPF_F_MMAPABLE = 1 << 10,
};

/* struct __sk_buff of <linux/bpf.h>; fields have their place for ever. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys;
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk;
	__u32 gso_size;
};

/* struct bpf_fib_lookup of <linux/bpf.h>. */
struct bpf_fib_lookup {
	__u8 family, l4_protocol;
	__u16 sport, dport;
	__u16 tot_len; /* in; out: the MTU of the route */
	__u32 ifindex; /* in: ingress; out: egress */
	__u32 flowinfo;
	__u32 src[4];
	__u32 dst[4]; /* out: the next hop */
	__u32 vlan;
	__u8 smac[6], dmac[6];
};

/* Helpers, by the numbers of <linux/bpf.h>. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_skb_store_bytes)(struct __sk_buff *, __u32 offset, const void *from, __u32 len, __u64 flags) = (void *)9;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*const bpf_skb_load_bytes)(const void *, __u32 offset, void *to, __u32 len) = (void *)26;
static long (*const bpf_skb_pull_data)(struct __sk_buff *, __u32 len) = (void *)39;
static __s64 (*const bpf_csum_update)(struct __sk_buff *, __u32 sum) = (void *)40;
static long (*const bpf_fib_lookup)(void *, struct bpf_fib_lookup *, int len, __u32 flags) = (void *)69;
