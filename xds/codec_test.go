package xds

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
)

// encoded returns a request with more values of a field, as they are.
func encoded(t *testing.T, req *discovery.DeltaDiscoveryRequest, num protowire.Number, values ...string) []byte {
	t.Helper()
	b, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range values {
		b = protowire.AppendTag(b, num, protowire.BytesType)
		b = protowire.AppendString(b, value)
	}
	return b
}

func decoded(b []byte) (*discovery.DeltaDiscoveryRequest, error) {
	req := &discovery.DeltaDiscoveryRequest{}
	return req, newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, req)
}

func TestNamesThatAreNoTextAreNotRead(t *testing.T) {
	req := &discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "n1"}, TypeUrl: string(model.TypeSecret), ResponseNonce: "7",
		ResourceNamesSubscribe: []string{"a"}, ResourceNamesUnsubscribe: []string{"a"},
	}
	for num, name := range map[protowire.Number]string{subscribeField: "resource_names_subscribe", unsubscribeField: "resource_names_unsubscribe"} {
		got, err := decoded(encoded(t, req, num, "\xff.b", "ü", "\xc3"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := decoded(encoded(t, req, num, "ü"))
		if err != nil || !proto.Equal(want, got) {
			t.Errorf("%s: read %v, want %v (%v)", name, got, want, err)
		}
		if field := got.ProtoReflect().Descriptor().Fields().ByNumber(num).Name(); string(field) != name {
			t.Errorf("field %d is %s, want %s", num, field, name)
		}
	}
	const nonceField = 6
	for name, b := range map[string][]byte{
		"a nonce that is no text": encoded(t, req, nonceField, "\xff"),
		"and a name too":          append(encoded(t, req, nonceField, "\xff"), encoded(t, req, subscribeField, "\xff")...),
		"half a message":          encoded(t, req, subscribeField, "\xff")[:20],
		"no message":              {0xff, 0xff},
	} {
		if got, err := decoded(b); err == nil {
			t.Errorf("%s is read as %v", name, got)
		}
	}
}
