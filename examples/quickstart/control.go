package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/weft-mesh/weft/xdsserver"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// control is an xdsserver that serves a policy file: what
// "xdsserver serve --policy policy.yaml" runs.
type control struct {
	addr, path string

	server  *xdsserver.Server
	stop    context.CancelFunc
	running sync.WaitGroup
	refused chan error // why an edit was not taken
}

// startControl writes the policy to a file of its own and serves it.
func startControl(text string) (*control, error) {
	dir, err := os.MkdirTemp("", "weft-quickstart-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &control{
		addr:    l.Addr().String(),
		path:    filepath.Join(dir, "policy.yaml"),
		server:  xdsserver.New(xdsserver.Options{Logger: slog.New(slog.DiscardHandler)}),
		stop:    stop,
		refused: make(chan error, 1),
	}
	if err := os.WriteFile(c.path, []byte(text), 0o600); err != nil {
		stop()
		return nil, errors.Join(err, l.Close(), os.RemoveAll(dir))
	}
	c.running.Go(func() { _ = c.server.Serve(l) })
	c.running.Go(func() { policy.Watch(ctx, c.path, c.changed) })
	return c, nil
}

// changed is called with each new content of the file.
func (c *control) changed(p *policy.Policy, err error) {
	if err == nil {
		var resources *policy.Resources
		if resources, err = p.Compile(); err == nil {
			err = c.server.Apply(resources)
		}
	}
	if err != nil {
		select {
		case c.refused <- err:
		default: // an earlier refusal is not read yet
		}
	}
}

// edit replaces the file's routes, as an editor does that writes a new file and
// renames it.
func (c *control) edit(routes string) error {
	old, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	head, _, _ := strings.Cut(string(old), "routes:\n")
	next := c.path + ".new"
	if err := os.WriteFile(next, []byte(head+routes), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.path)
}

// refusal waits for the server to refuse an edit.
func (c *control) refusal(ctx context.Context) (string, error) {
	select {
	case err := <-c.refused:
		return strings.ReplaceAll(err.Error(), filepath.Dir(c.path)+string(filepath.Separator), ""), nil
	case <-ctx.Done():
		return "", errors.New("the bad edit was not refused")
	}
}

func (c *control) close() error {
	c.stop()
	c.server.Close()
	c.running.Wait()
	return os.RemoveAll(filepath.Dir(c.path))
}
