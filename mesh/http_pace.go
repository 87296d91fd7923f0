package mesh

import (
	"context"
	"io"
	"net/http"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/internal/pause"
)

// pacedBody is a response's body that a filter holds back. What it waits for ends with the
// request's context, and when it is closed.
type pacedBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // the request's, for Read has none
	cancel context.CancelFunc
	paced  filter.PacedFollower
}

func pace(ctx context.Context, body io.ReadCloser, paced filter.PacedFollower) *pacedBody {
	b := &pacedBody{ReadCloser: body, paced: paced}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b
}

func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.paced.Piece())])
	if n > 0 {
		if ended := pause.For(b.ctx, b.paced.Pace(n)); ended != nil {
			return 0, ended
		}
	}
	return n, err
}

func (b *pacedBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// pacedWriter is a server's response that a filter holds back.
type pacedWriter struct {
	w     *inboundWriter
	paced filter.PacedFollower
}

func (w pacedWriter) Write(p []byte) (int, error) { return w.w.writePaced(w.paced, p) }

// writePaced writes in pieces. What may go goes, before the rest waits.
func (w *inboundWriter) writePaced(paced filter.PacedFollower, p []byte) (written int, err error) {
	for len(p) > 0 {
		piece := p[:min(len(p), paced.Piece())]
		if wait := paced.Pace(len(piece)); wait > 0 {
			_ = http.NewResponseController(w.ResponseWriter).Flush() // or it comes with what is next
			if err := pause.For(w.req.Context(), wait); err != nil {
				return written, err
			}
		}
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}
