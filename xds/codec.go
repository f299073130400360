package xds

import (
	"unicode/utf8"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The fields of names in a request, as numbers.
//
// Source: service.discovery.v3.DeltaDiscoveryRequest.
const (
	subscribeField   = 3
	unsubscribeField = 4
)

// codec reads requests without the names that are no UTF-8. Envoy asks for a
// secret by the name that a client sent, and sends its bytes as they are; the
// usual codec refuses such a message and with it the stream, again and again, as
// Envoy asks again on the next one. Those names get no answer: Envoy would refuse
// to read it.
//
// Source: measured on Envoy 1.40, in both directions.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Unmarshal implements [encoding.CodecV2].
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	req, ok := v.(*discovery.DeltaDiscoveryRequest)
	if err == nil || !ok {
		return err
	}
	text, changed := textOnly(data.Materialize())
	if !changed {
		return err
	}
	return proto.Unmarshal(text, req)
}

// textOnly returns an encoded request without names that are no UTF-8, and
// whether there were any.
func textOnly(b []byte) ([]byte, bool) {
	var out []byte
	changed := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil, false
		}
		field := b[:n]
		b = b[n:]
		if typ == protowire.BytesType && (num == subscribeField || num == unsubscribeField) {
			_, _, tag := protowire.ConsumeTag(field)
			if name, m := protowire.ConsumeBytes(field[tag:]); m < 0 || !utf8.Valid(name) {
				changed = true
				continue
			}
		}
		out = append(out, field...)
	}
	return out, changed
}
