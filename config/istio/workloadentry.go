package istio

import (
	"maps"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/sluicegw/sluice/config/istio/check"
	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

// workload gives a WorkloadEntry its meaning; nil when its endpoint has a fault.
// Labels of the object win over those of its spec, as in Istio.
func (r reader) workload(in *networking.WorkloadEntry) model.Value {
	spec := strict.Root("spec")
	w := &model.Workload{Meta: r.Meta, Endpoint: r.endpoint(spec, in)}
	w.Endpoint.Field = spec.String()
	if len(r.Meta.Labels) > 0 {
		labels := maps.Clone(r.Meta.Labels)
		for key, value := range w.Endpoint.Labels {
			if _, own := labels[key]; !own {
				labels[key] = value
			}
		}
		w.Endpoint.Labels = labels
	}
	if r.Broken(spec) != "" {
		return nil
	}
	return w
}

// endpoint reads one endpoint and reports its faults.
func (r reader) endpoint(at *strict.Path, in *networking.WorkloadEntry) model.Endpoint {
	e := model.Endpoint{
		Address: r.endpointAddress(at.Field("address"), in.GetAddress()),
		Labels:  in.GetLabels(),
		Weight:  in.GetWeight(),
	}
	e.Locality = r.locality(at.Field("locality"), in.GetLocality())
	ports := at.Field("ports")
	for _, name := range strict.SortedKeys(in.GetPorts()) {
		r.Fail(ports.Entry(name), check.Port(in.GetPorts()[name]))
	}
	e.Ports = in.GetPorts()
	return e
}

func (r reader) endpointAddress(at *strict.Path, address string) string {
	if r.At(at) {
		return ""
	}
	if address == "" {
		r.Fail(at, strict.Missing("address is missing; write an IP address or a DNS name"))
		return ""
	}
	if strings.HasPrefix(address, "unix:") {
		r.Fail(at, strict.NotYet("unix sockets are not supported yet and the endpoint is left out; write an IP address"))
		return ""
	}
	name, wrong := check.ParseName(address, check.Form{IP: true})
	r.Fail(at, wrong)
	return name
}

// locality reads "region/zone/subzone", of which the later parts may be absent.
func (r reader) locality(at *strict.Path, s string) model.Locality {
	if s == "" {
		return model.Locality{}
	}
	parts := strings.Split(s, "/")
	if len(parts) > 3 || parts[0] == "" {
		r.Note(at, strict.Invalid(`%s is no locality and is left out; write "region/zone/subzone"`, strict.Quote(s)))
		return model.Locality{}
	}
	parts = append(parts, "", "")
	return model.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
}
