package filter_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weft-mesh/weft/filter"
)

// TestReplyIn finds replies in the responses that were made of them, and in no others.
func TestReplyIn(t *testing.T) {
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	resp := &http.Response{Request: req}
	if r := filter.ReplyIn(resp); r != nil || errors.Is(r, io.EOF) {
		t.Errorf("of a server's response: %v", r)
	}
	reply := &filter.Reply{Status: 429, Err: io.EOF}
	reply.Mark(resp)
	if r := filter.ReplyIn(resp); r != reply || !errors.Is(r, io.EOF) {
		t.Errorf("%v, want the reply", r)
	}
	if resp.Request.URL != req.URL || filter.ReplyIn(&http.Response{Request: req}) != nil {
		t.Error("the request itself is marked")
	}
	if r := filter.ReplyIn(&http.Response{Request: resp.Request.Clone(resp.Request.Context())}); r != nil {
		t.Errorf("of a server's response to the same request, sent again: %v", r)
	}
	if filter.ReplyIn(nil) != nil || filter.ReplyIn(&http.Response{}) != nil {
		t.Error("of no response there is a reply")
	}
}
