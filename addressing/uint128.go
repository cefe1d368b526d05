package addressing

import (
	"math/bits"
	"math/rand/v2"
)

// uint128 counts addresses. The zero value is 0.
type uint128 struct{ hi, lo uint64 }

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a uint128) isZero() bool { return a.hi|a.lo == 0 }

// add wraps around at 2^128, as sub does.
func (a uint128) add(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

func (a uint128) sub(b uint128) uint128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return uint128{hi, lo}
}

// shl and shr take 0 to 128: Go defines a shift by 64 and more as all out, and
// the shift by a negative count is avoided.
func (a uint128) shl(n int) uint128 {
	if n >= 64 {
		return uint128{hi: a.lo << (n - 64)}
	}
	return uint128{hi: a.hi<<n | a.lo>>(64-n), lo: a.lo << n}
}

func (a uint128) shr(n int) uint128 {
	if n >= 64 {
		return uint128{lo: a.hi >> (n - 64)}
	}
	return uint128{hi: a.hi >> n, lo: a.lo>>n | a.hi<<(64-n)}
}

func (a uint128) len() int {
	if a.hi != 0 {
		return 64 + bits.Len64(a.hi)
	}
	return bits.Len64(a.lo)
}

// powerOfTwo is 2^n, for n of 0 to 127.
func powerOfTwo(n int) uint128 { return uint128{lo: 1}.shl(n) }

// uniform draws below n, which is not 0. Drawing as many bits as n-1 has and
// throwing away what is too large has no bias and needs two draws on average.
func uniform(r *rand.Rand, n uint128) uint128 {
	unused := 128 - n.sub(uint128{lo: 1}).len()
	for {
		if v := (uint128{r.Uint64(), r.Uint64()}).shr(unused); v.less(n) {
			return v
		}
	}
}
