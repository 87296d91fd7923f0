package mesh_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestStreamEndsWhileSentAgain refuses a stream that has sent much, which grpc opens once more
// by itself, and ends the second before all can be sent again. The call ends with the status
// that it has, which grpc takes for the end of a response.
func TestStreamEndsWhileSentAgain(t *testing.T) {
	const messages, size = 5, 40_000
	refused := make(chan struct{}) // when the first stream may be
	addr := listen(t, func(c net.Conn) {
		defer c.Close()
		if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		_ = f.WriteWindowUpdate(0, 1<<30)
		const first = 1
		var came, again uint32
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			stream := frame.Header().StreamID
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				if stream == first {
					_ = f.WriteWindowUpdate(stream, 1<<20)
				}
			case *http2.DataFrame:
				if stream == first {
					if came += frame.Length; came > messages*size {
						<-refused
						_ = f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
					}
				} else if again += frame.Length; again == 65535 { // for more there is no window
					var block bytes.Buffer
					e := hpack.NewEncoder(&block)
					_ = e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
					_ = e.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
					_ = e.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "5"})
					_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
				}
			}
		}
	})
	m := meshtest.New(t, mesh.WithPolicy(fmt.Appendf(nil, "services: {orders: {protocol: grpc, %s, endpoints: [%q]}}\nroutes: {orders: [{to: orders, retry: {on: [unavailable]}}]}", inTime, addr)))
	s := openStream(t, within(t, long), dial(t, m, "orders"))
	for range messages {
		if err := s.SendMsg(wrapperspb.String(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	close(refused)
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.NotFound {
		t.Errorf("%v, want NotFound", err)
	}
}
