package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
}

func TestTasksStopInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		obedient := func(name string) task {
			return task{name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				r.add(name)
				return nil
			}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := runTasks(ctx, slog.New(slog.DiscardHandler), []task{obedient("kernel"), obedient("tunnels"), obedient("routes")}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"routes", "tunnels", "kernel"}, r.lines); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestOneFailingTaskStopsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		tasks := []task{
			{"kernel", func(ctx context.Context) error { <-ctx.Done(); r.add("kernel"); return nil }},
			{"tunnels", func(context.Context) error { return errors.New("no more sockets") }},
		}
		err := runTasks(t.Context(), slog.New(slog.DiscardHandler), tasks)
		if err == nil || !strings.Contains(err.Error(), "tunnels: no more sockets") {
			t.Errorf("error %v, want the cause", err)
		}
		if diff := cmp.Diff([]string{"kernel"}, r.lines); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestHangingTaskKeepsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		release := make(chan struct{})
		tasks := []task{
			{"kernel", func(ctx context.Context) error { <-ctx.Done(); r.add("kernel"); return nil }},
			{"hangs", func(context.Context) error { <-release; return nil }},
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := runTasks(ctx, slog.New(slog.DiscardHandler), tasks); err != nil {
			t.Fatal(err)
		}
		close(release)
		if diff := cmp.Diff([]string{"kernel"}, r.lines); diff != "" {
			t.Errorf("stopped (-want +got):\n%s", diff)
		}
	})
}
