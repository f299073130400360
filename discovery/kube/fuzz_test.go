package kube

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

// FuzzDecodeKube decodes anything as each kind: nothing panics, the same input
// has the same answer, every problem says whose and why, and every value keeps
// the promises of package model.
func FuzzDecodeKube(f *testing.F) {
	for _, document := range []string{
		serviceHead + "spec: {type: ExternalName, externalName: a.b, ports: [{name: http, port: 80, targetPort: web}]}",
		serviceHead + "spec: {clusterIPs: [10.0.0.1], ports: [{port: 0}, {port: 80, protocol: UDP, appProtocol: grpc}]}",
		sliceHead + "addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.1], zone: z, conditions: {ready: false, terminating: true}}]",
		"apiVersion: v1\nkind: Secret\ndata: {a: YQ==}\nstringData: {b: c}",
		"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\nbinaryData: {c: YQ==}",
		"null", "5",
	} {
		f.Add(objectJSON(f, document))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for gk, kind := range Kinds() {
			o := config.Object{JSON: text, Meta: model.Meta{
				Ref:    model.Ref{Group: gk.Group, Kind: gk.Kind, Namespace: "shop", Name: "x"},
				Labels: map[string]string{"kubernetes.io/service-name": "web"},
			}}
			value, problems := kind.Decode(o)
			again, problemsAgain := kind.Decode(o)
			if diff := cmp.Diff(value, again); diff != "" {
				t.Errorf("%s: two decodings differ\n%s", gk.Kind, diff)
			}
			if diff := cmp.Diff(problems, problemsAgain); diff != "" {
				t.Errorf("%s: the problems of two decodings differ\n%s", gk.Kind, diff)
			}
			for _, p := range problems {
				if p.Object != o.Ref || p.Reason == "" || p.Message == "" {
					t.Errorf("incomplete problem %+v", p)
				}
			}
			if value == nil && len(problems) == 0 {
				t.Errorf("%s: no value and no problem", gk.Kind)
			}
			checkValue(t, value)
		}
	})
}

func objectJSON(t testing.TB, document string) []byte {
	t.Helper()
	if document == "null" || document == "5" {
		return []byte(document)
	}
	return object(t, document).JSON
}

func checkValue(t *testing.T, value model.Value) {
	t.Helper()
	switch v := value.(type) {
	case *model.Service:
		for _, p := range v.Ports {
			if p.Number == 0 || p.Number > 65535 || p.TargetPort > 65535 || p.Protocol == "" {
				t.Errorf("port %+v", p)
			}
		}
		if (v.Resolution == model.ResolutionDNS) != (len(v.Endpoints) == 1) {
			t.Errorf("resolution %s with %d endpoints", v.Resolution, len(v.Endpoints))
		}
	case *model.EndpointSlice:
		for _, p := range v.Ports {
			if p.Number == 0 || p.Number > 65535 {
				t.Errorf("port %+v", p)
			}
		}
		for _, e := range v.Endpoints {
			if _, err := netip.ParseAddr(e.Address); err != nil || e.Field == "" {
				t.Errorf("endpoint %+v", e)
			}
		}
	case *model.Opaque:
		if v.Content == nil {
			t.Error("an opaque object without a map")
		}
	}
}
