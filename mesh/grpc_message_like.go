package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weft-mesh/weft/internal/message"
)

// messageLike is what messages of a stream are made like: the first that was sent, or is to
// be received into.
type messageLike struct {
	once  sync.Once
	known chan struct{} // closed when of is set
	of    any
}

func newMessageLike() *messageLike { return &messageLike{known: make(chan struct{})} }

func (l *messageLike) set(m any) {
	l.once.Do(func() {
		if message.Replicable(m) {
			l.of = message.New(m) // m is the application's to change
		}
		close(l.known)
	})
}

// wait waits until it is known, within ctx.
func (l *messageLike) wait(ctx context.Context) error {
	select {
	case <-l.known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decode is a message of a filter's.
func (l *messageLike) decode(piece []byte) (any, error) {
	select {
	case <-l.known:
	default:
		return nil, errors.New("a filter sends a message before the application does, whose type is not known")
	}
	if l.of == nil {
		return nil, errUnlike
	}
	m := message.New(l.of)
	if err := message.Decode(piece, m); err != nil {
		return nil, fmt.Errorf("a filter's message: %w", err)
	}
	return m, nil
}

var errUnlike = errors.New("filters of bodies cannot make messages of the application's type")
