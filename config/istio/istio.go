// Package istio gives Istio's networking objects their meaning.
//
// What goes in: one [config.Object] of the group networking.istio.io. What
// comes out: the value of package model that it means, and the problems that
// its author should read. It alone decides what a field of these objects means,
// which fields are served, and what becomes of a part that is wrong.
//
// A broken part never widens what the object allows. A match with a fault takes
// no request, a rule with a fault answers 500, a server, subset or endpoint
// with a fault is left out; their neighbours stay. An unknown field costs only
// itself, except where the part without it would take more than was meant: in a
// match, a subset, a selector, and the bind and tls block of a server. A name that
// is nearly that of such a field counts as a fault of that field.
//
// Decoding goes in two passes. The first (package strict) holds the JSON against
// the descriptor of the message and keeps what fits. The second gives the
// message its meaning: here, and for the two large kinds in packages route and
// destination. Both report through one [strict.Reader], which remembers which
// parts have a fault.
//
// Source: the protos of istio.io/api v1.31, networking/v1alpha3.
package istio

import (
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio/destination"
	"github.com/sluicegw/sluice/config/istio/route"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// Group is the API group of the kinds of this package.
const Group = "networking.istio.io"

// Kinds returns the kinds that this package reads and how.
func Kinds() map[config.GroupKind]config.Kind {
	kinds := map[config.GroupKind]config.Kind{}
	for name, decode := range map[string]config.Decoder{
		"Gateway":         decodeGateway,
		"VirtualService":  decodeVirtualService,
		"DestinationRule": decodeDestinationRule,
		"ServiceEntry":    decodeServiceEntry,
		"WorkloadEntry":   decodeWorkloadEntry,
	} {
		kinds[config.GroupKind{Group: Group, Kind: name}] = config.Kind{
			Versions: []string{"v1", "v1beta1", "v1alpha3"},
			Decode:   decode,
		}
	}
	return kinds
}

func decodeGateway(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.Gateway{}, func(r *strict.Reader, in *networking.Gateway) model.Value {
		return reader{r}.gateway(in)
	})
}

func decodeVirtualService(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.VirtualService{}, route.Read)
}

func decodeDestinationRule(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.DestinationRule{}, destination.Read)
}

func decodeServiceEntry(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.ServiceEntry{}, func(r *strict.Reader, in *networking.ServiceEntry) model.Value {
		return reader{r}.service(in)
	})
}

func decodeWorkloadEntry(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.WorkloadEntry{}, func(r *strict.Reader, in *networking.WorkloadEntry) model.Value {
		return reader{r}.workload(in)
	})
}

// reader gives the kinds of this package their meaning.
type reader struct{ *strict.Reader }

// decode fills the message from the object's spec and hands it to mean, which
// may answer nil when nothing of it can be used.
func decode[M proto.Message](o config.Object, spec M, mean func(*strict.Reader, M) model.Value) (model.Value, []model.Problem) {
	r := strict.New(o.Meta)
	var value model.Value
	if r.ReadSpec(o.JSON, spec.ProtoReflect()) {
		value = mean(r, spec)
	}
	return value, r.Problems()
}
