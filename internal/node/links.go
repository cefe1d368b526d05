package node

import "context"

// watchLinks tells Babel when a tunnel's device comes up, goes down or vanishes:
// it acts at once, and not when it next has something to send.
func (d *daemon) watchLinks(ctx context.Context) error {
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
				d.speaker.LinkChanged(e.Link.Index, e.Link.Up && !e.Removed)
			}
		}
	}
}
