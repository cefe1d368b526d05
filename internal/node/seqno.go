package node

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// loadSeqno gives the first Babel seqno that this node has never used. Without a
// record it draws one: if that is below what neighbours remember, the engine
// hears its own router-id with a newer seqno and goes above it.
func (s *state) loadSeqno() uint16 {
	var seqno uint16
	ok := s.load(seqnoFile, func(data []byte) error {
		n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 16)
		if err != nil {
			return fmt.Errorf("%.20q is not a seqno", data)
		}
		seqno = uint16(n)
		return nil
	})
	if !ok {
		var b [2]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		seqno = binary.BigEndian.Uint16(b[:])
	}
	return seqno
}

// reserveSeqno records that every seqno before next may have been used.
func (s *state) reserveSeqno(next uint16) error {
	return s.write(seqnoFile, []byte(strconv.Itoa(int(next))+"\n"), 0o644)
}
