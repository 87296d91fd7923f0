package xds

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Client subscribes to resources and keeps what was accepted. It is safe for
// concurrent use. It connects to a server when the first resource of that server
// is watched and stays connected until Close.
type Client struct {
	config Config
	node   *corev3.Node
	types  map[string]ResourceType
	log    *slog.Logger

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup // the goroutines below
	// due wakes the delivering goroutine: there is mail, or the deadline moved.
	due chan struct{}

	// mu guards all that follows, and the servers with what hangs on them. It is
	// never held while a resource is decoded, a message sent or a watcher called.
	mu      sync.Mutex
	closed  bool
	servers map[string]*server // by ServerConfig.key
	order   []*server          // in the order in which they were first needed
	queue   []delivery
	// deadline is not after the first deadline of any entry; zero if there is none.
	deadline time.Time
}

// New returns a client, or an error that names what is missing in config. It
// does not connect.
func New(config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.WatchExpiry <= 0 {
		config.WatchExpiry = 15 * time.Second
	}
	if config.Backoff == nil {
		config.Backoff = ExponentialBackoff(time.Second, 30*time.Second)
	}
	c := &Client{
		config:  config,
		node:    introduce(config.Node),
		types:   make(map[string]ResourceType, len(config.Types)),
		log:     config.Logger,
		due:     make(chan struct{}, 1),
		servers: make(map[string]*server),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	for _, t := range config.Types {
		c.types[t.URL] = t
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.wg.Go(c.deliverAll)
	return c, nil
}

// Close ends all streams and returns when every goroutine of the client has
// ended, and with them the last call to a watcher. It must therefore not be
// called by a watcher. Further calls do nothing.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.wg.Wait()
}

// serverFor returns the one server for a configuration. Called with mu held.
func (c *Client) serverFor(config ServerConfig) *server {
	key := config.key()
	s, ok := c.servers[key]
	if !ok {
		s = newServer(c, config)
		c.servers[key] = s
		c.order = append(c.order, s)
	}
	return s
}
