package filter

import (
	"context"
	"net/http"
)

// ReplyIn returns the reply that a response of a client's stands for, or nil if a server
// answered. What errors.Is says of it is why: mesh.ErrOverloaded, resilience.ErrFault.
func ReplyIn(resp *http.Response) *Reply {
	if resp == nil || resp.Request == nil {
		return nil
	}
	if m, ok := resp.Request.Context().Value(markKey{}).(*mark); ok && m.of == resp.Request {
		return m.reply
	}
	return nil
}

// Mark has ReplyIn find the reply in resp, whose Request becomes a copy for that. The mesh
// marks the responses that it makes of replies.
func (r *Reply) Mark(resp *http.Response) {
	m := &mark{reply: r}
	m.of = resp.Request.WithContext(context.WithValue(resp.Request.Context(), markKey{}, m))
	resp.Request = m.of
}

// mark is found by the context of the request that a response names: that passes through
// what wraps the response's body, as http.Client does. A further request that is made of
// this one has the context too, but is another.
type mark struct {
	reply *Reply
	of    *http.Request
}

type markKey struct{}
