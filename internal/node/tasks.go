package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stopPatience is how long one task may take to end before the next is told to:
// whoever hangs must not keep the kernel from being put back.
const stopPatience = 15 * time.Second

// A task is one part of the daemon. Run returns when ctx ends, and before that
// only if the part cannot go on.
type task struct {
	name string
	run  func(ctx context.Context) error
}

// runTasks starts the tasks in order and, when ctx ends or one of them fails,
// stops them in the reverse order, each after the one before it has ended: the
// first ones carry what the later ones rely on.
func runTasks(ctx context.Context, log *slog.Logger, tasks []task) error {
	type running struct {
		task
		stop context.CancelFunc
		done chan error
	}
	failed := make(chan error, len(tasks)) // each task sends once at most
	all := make([]running, 0, len(tasks))
	for _, t := range tasks {
		// Not a child of ctx: the order of the end is ours to choose.
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := running{task: t, stop: stop, done: make(chan error, 1)}
		all = append(all, r)
		go func() {
			err := t.run(own)
			if own.Err() == nil {
				failed <- fmt.Errorf("%s: %w", t.name, orUnexpectedEnd(err))
			}
			r.done <- err
		}()
	}
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
		log.Error("a part of the node cannot go on; stopping", "err", cause)
	}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].stop()
		select {
		case <-all[i].done:
		case <-time.After(stopPatience):
			log.Error("a part of the node does not stop", "part", all[i].name)
		}
	}
	return cause
}

func orUnexpectedEnd(err error) error {
	if err == nil {
		return errors.New("it ended unasked")
	}
	return err
}
