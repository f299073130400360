package istio

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/model"
)

// workload gives a WorkloadEntry its meaning; nil when its endpoint has a fault.
// Labels of the object win over those of its spec, as in Istio.
func (r *reader) workload(in *networking.WorkloadEntry) model.Value {
	spec := root("spec")
	w := &model.Workload{Meta: r.meta, Endpoint: r.endpoint(spec, in)}
	w.Endpoint.Field = spec.String()
	if len(r.meta.Labels) > 0 {
		labels := maps.Clone(r.meta.Labels)
		for key, value := range w.Endpoint.Labels {
			if _, own := labels[key]; !own {
				labels[key] = value
			}
		}
		w.Endpoint.Labels = labels
	}
	if r.broken(spec) != "" {
		return nil
	}
	return w
}

// endpoint reads one endpoint and reports its faults.
func (r *reader) endpoint(at *path, in *networking.WorkloadEntry) model.Endpoint {
	e := model.Endpoint{
		Address: r.endpointAddress(at.field("address"), in.GetAddress()),
		Labels:  in.GetLabels(),
		Weight:  in.GetWeight(),
	}
	e.Locality = r.locality(at.field("locality"), in.GetLocality())
	ports := at.field("ports")
	for _, name := range sortedKeys(in.GetPorts()) {
		r.fail(ports.entry(name), checkPort(in.GetPorts()[name]))
	}
	e.Ports = in.GetPorts()
	return e
}

func (r *reader) endpointAddress(at *path, address string) string {
	if r.at(at) {
		return ""
	}
	if address == "" {
		r.fail(at, missing("address is missing; write an IP address or a DNS name"))
		return ""
	}
	if strings.HasPrefix(address, "unix:") {
		r.fail(at, notYet("unix sockets are not supported yet and the endpoint is left out; write an IP address"))
		return ""
	}
	name, wrong := parseName(address, nameForm{ip: true})
	r.fail(at, wrong)
	return name
}

// locality reads "region/zone/subzone", of which the later parts may be absent.
func (r *reader) locality(at *path, s string) model.Locality {
	if s == "" {
		return model.Locality{}
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 || parts[0] == "" {
		r.note(at, invalid(`%s is no locality and is left out; write "region/zone/subzone"`, quote(s)))
		return model.Locality{}
	}
	parts = append(parts, "", "")
	return model.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
