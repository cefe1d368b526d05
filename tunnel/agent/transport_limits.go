package agent

import "time"

// transportLimits bounds what others can make the transport do. The zero value of a field means its default.
type transportLimits struct {
	// Before the other side has proved who it is.
	Connections       int     // open connections in all
	SourceConnections int     // open connections from one source (/24, /56)
	Handshakes        float64 // per second, sources that proved nothing lately
	KnownHandshakes   float64 // per second, the rest: a flood of strangers leaves this share alone
	SourceHandshakes  float64 // per second, from one source
	Sources           int     // sources remembered

	// After it has.
	PeerConnections int     // open connections of one node; the oldest gives way
	PeerRequests    float64 // requests per second of one node
	PeerBurst       int
	Peers           int // nodes remembered
	Streams         int // requests at once on one connection

	HeaderBytes   int
	RequestTime   time.Duration // a handler's time
	ReadTime      time.Duration // for a request to arrive
	WriteTime     time.Duration // for an answer to leave
	IdleTime      time.Duration // a connection without requests
	HandshakeTime time.Duration

	// What we do to others.
	IdleConnections int           // kept open to other nodes
	Dials           float64       // per second, towards the underlay
	DialBurst       int           // of them
	RaceDelay       time.Duration // head start of HTTP/3 over HTTP/2
	DialTime        time.Duration
	BackoffMin      time.Duration // after the third failure in a row at one endpoint
	BackoffMax      time.Duration
}

// A full handshake costs both sides together 1.1 ms of CPU: strangers get a fifth of a core at most.
var defaultTransportLimits = transportLimits{
	Connections: 1024, SourceConnections: 64,
	Handshakes: 100, KnownHandshakes: 100, SourceHandshakes: 20, Sources: 4096,

	PeerConnections: 8, PeerRequests: 20, PeerBurst: 100, Peers: 4096, Streams: 32,

	HeaderBytes: 16 << 10,
	RequestTime: 10 * time.Second, ReadTime: 10 * time.Second, WriteTime: 20 * time.Second,
	IdleTime: 60 * time.Second, HandshakeTime: 5 * time.Second,

	IdleConnections: 64, Dials: 20, DialBurst: 60,
	RaceDelay: 300 * time.Millisecond, DialTime: 8 * time.Second,
	BackoffMin: time.Second, BackoffMax: 30 * time.Second,
}

func (l transportLimits) withDefaults() transportLimits {
	d := defaultTransportLimits
	for _, f := range []struct{ have, want *int }{
		{&l.Connections, &d.Connections},
		{&l.SourceConnections, &d.SourceConnections},
		{&l.Sources, &d.Sources},
		{&l.PeerConnections, &d.PeerConnections},
		{&l.PeerBurst, &d.PeerBurst},
		{&l.Peers, &d.Peers},
		{&l.Streams, &d.Streams},
		{&l.HeaderBytes, &d.HeaderBytes},
		{&l.IdleConnections, &d.IdleConnections},
		{&l.DialBurst, &d.DialBurst},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	for _, f := range []struct{ have, want *float64 }{
		{&l.Handshakes, &d.Handshakes},
		{&l.KnownHandshakes, &d.KnownHandshakes},
		{&l.SourceHandshakes, &d.SourceHandshakes},
		{&l.PeerRequests, &d.PeerRequests},
		{&l.Dials, &d.Dials},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	for _, f := range []struct{ have, want *time.Duration }{
		{&l.RequestTime, &d.RequestTime},
		{&l.ReadTime, &d.ReadTime},
		{&l.WriteTime, &d.WriteTime},
		{&l.IdleTime, &d.IdleTime},
		{&l.HandshakeTime, &d.HandshakeTime},
		{&l.RaceDelay, &d.RaceDelay},
		{&l.DialTime, &d.DialTime},
		{&l.BackoffMin, &d.BackoffMin},
		{&l.BackoffMax, &d.BackoffMax},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	return l
}
