package node

import (
	"context"

	"re6st/internal/kernel"
)

// watchLinks tells Babel when a tunnel's device comes up, goes down or vanishes:
// it acts at once, and not when it next has something to send.
func (d *daemon) watchLinks(ctx context.Context) error {
	return d.eachLink(ctx, func(e kernel.LinkEvent) {
		d.speaker.LinkChanged(e.Link.Index, e.Link.Up && !e.Removed)
	})
}

// eachLink gives every link, and what changes, until ctx ends.
func (d *daemon) eachLink(ctx context.Context, heed func(kernel.LinkEvent)) error {
	links, err := d.host.SubscribeLinks()
	if err != nil {
		return err
	}
	defer links.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-links.C:
			for _, e := range links.Take() {
				heed(e)
			}
		}
	}
}
