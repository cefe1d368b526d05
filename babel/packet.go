package babel

import "re6st/babel/wire"

// Announces says whether the packet holds an Update: such a packet must not
// leave before the Routes of its Output and of earlier ones are in the kernel.
// Hellos, acknowledgements and requests need not wait for that.
func (p *Packet) Announces() bool {
	if len(p.Data) < wire.HeaderLen {
		return false
	}
	for b := p.Data[wire.HeaderLen:]; len(b) > 0; {
		switch {
		case b[0] == byte(wire.TypePad1):
			b = b[1:]
			continue
		case b[0] == byte(wire.TypeUpdate):
			return true
		case len(b) < 2 || len(b) < 2+int(b[1]):
			return false
		}
		b = b[2+int(b[1]):]
	}
	return false
}
