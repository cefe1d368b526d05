package gateway

import (
	"fmt"

	"github.com/google/nftables"
)

// writing begins a conversation in which something is to change. A kernel without
// nftables answers a batch with one error, where the library waits for an answer to
// each message, for ever. Asked for something it answers at once.
func writing() (*nftables.Conn, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("opening netlink for nftables: %w", err)
	}
	if _, err := conn.ListTablesOfFamily(nftables.TableFamilyINet); isMissing(err) {
		return nil, fmt.Errorf("asking nftables for its tables: %w", err)
	}
	return conn, nil
}
