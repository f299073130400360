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
// Decoding goes in two passes. The first (strict.go) holds the JSON against the
// descriptor of the message and keeps what fits. The second (one file per kind)
// gives the message its meaning. Both report through one [reader], which
// remembers which parts have a fault.
//
// Source: the protos of istio.io/api v1.31, networking/v1alpha3.
package istio

import (
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config"
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
	return decode(o, &networking.Gateway{}, (*reader).gateway)
}

func decodeVirtualService(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.VirtualService{}, (*reader).routeSet)
}

func decodeDestinationRule(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.DestinationRule{}, (*reader).destinationPolicy)
}

func decodeServiceEntry(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.ServiceEntry{}, (*reader).service)
}

func decodeWorkloadEntry(o config.Object) (model.Value, []model.Problem) {
	return decode(o, &networking.WorkloadEntry{}, (*reader).workload)
}

// decode fills the message from the object's spec and hands it to mean, which
// may answer nil when nothing of it can be used.
func decode[M proto.Message](o config.Object, spec M, mean func(*reader, M) model.Value) (model.Value, []model.Problem) {
	r := &reader{meta: o.Meta, faults: map[string]fault{}}
	var value model.Value
	if r.readSpec(o.JSON, spec.ProtoReflect()) {
		value = mean(r, spec)
	}
	return value, r.sorted()
}
