package addressing

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func (a uint128) big() *big.Int {
	n := new(big.Int).SetUint64(a.hi)
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(a.lo))
}

// Clever against dumb: math/big knows what the answers are.
func TestUint128(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) uint128 {
		return uint128{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
	})
	modulus := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(t *rapid.T) {
		a, b, n := draw.Draw(t, "a"), draw.Draw(t, "b"), rapid.IntRange(0, 128).Draw(t, "n")
		want := func(name string, got uint128, want *big.Int) {
			if want.Mod(want, modulus); got.big().Cmp(want) != 0 {
				t.Errorf("%s(%v, %v, %d) = %v, want %v", name, a, b, n, got.big(), want)
			}
		}
		want("add", a.add(b), new(big.Int).Add(a.big(), b.big()))
		want("sub", a.sub(b), new(big.Int).Sub(a.big(), b.big()))
		want("shl", a.shl(n), new(big.Int).Lsh(a.big(), uint(n)))
		want("shr", a.shr(n), new(big.Int).Rsh(a.big(), uint(n)))
		if a.less(b) != (a.big().Cmp(b.big()) < 0) || a.len() != a.big().BitLen() || a.isZero() != (a.big().Sign() == 0) {
			t.Errorf("less, len or isZero of %v, %v", a, b)
		}
	})
}

func TestUniform(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []uint128{{lo: 1}, {lo: 2}, {lo: 3}, {lo: 1 << 63}, {hi: 1}, {hi: 1, lo: 1}, {hi: 1 << 63}} {
		for range 100 {
			if v := uniform(r, n); !v.less(n) {
				t.Fatalf("uniform(%v) = %v", n.big(), v.big())
			}
		}
	}
	var seen [5]int
	for range 5000 {
		seen[uniform(r, uint128{lo: 5}).lo]++
	}
	for v, times := range seen {
		if times < 850 || times > 1150 { // five standard deviations
			t.Errorf("%d was drawn %d times of 5000, want about 1000", v, times)
		}
	}
}
