package unread

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/model"
)

func TestProblem(t *testing.T) {
	read := map[config.GroupKind]config.Kind{
		{Group: "networking.istio.io", Kind: "Gateway"}: {}, {Group: "networking.istio.io", Kind: "VirtualService"}: {},
		{Group: "", Kind: "Service"}: {}, {Group: "", Kind: "Secret"}: {}, {Group: "sluice.dev", Kind: "Settings"}: {},
		{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: {},
	}
	for _, c := range []struct {
		apiVersion, kind string
		severity         model.Severity
		reason           model.Reason
		says             string
	}{
		{"apps/v1", "Deployment", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"v1", "Namespace", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"v1", "ServiceAccount", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"serving.knative.dev/v1", "Service", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"install.istio.io/v1alpha1", "IstioOperator", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"networking.k8s.io/v1", "NetworkPolicy", model.SeverityNote, model.ReasonUnknownKind, "not for Sluice"},
		{"networking.k8s.io/v1", "Ingress", model.SeverityWarning, model.ReasonNotYetSupported, "has no effect"},
		{"v1", "Secrets", model.SeverityError, model.ReasonUnknownKind, "did you mean Secret?"},
		{"v1", "Servcie", model.SeverityError, model.ReasonUnknownKind, "did you mean Service?"},
		{"v1", "Deployment", model.SeverityError, model.ReasonUnknownKind, `"v1" has no kind Deployment`},
		{"networking.istio.io/v1", "Gatewya", model.SeverityError, model.ReasonUnknownKind, "did you mean Gateway?"},
		{"networking.istio.io/v1", "AuthorisationPolicy", model.SeverityError, model.ReasonUnknownKind, "correct it"},
		{"security.istio.io/v1", "AuthorisationPolicy", model.SeverityError, model.ReasonUnknownKind, "did you mean AuthorizationPolicy?"},
		{"sluice.dev/v1", "Setting", model.SeverityError, model.ReasonUnknownKind, "did you mean Settings?"},
		{"discovery.k8s.io/v1", "EndpointSlices", model.SeverityError, model.ReasonUnknownKind, "did you mean EndpointSlice?"},
		{"networking.isito.io/v1", "VirtualService", model.SeverityError, model.ReasonUnknownKind, `"networking.istio.io"?`},
		{"security.istio.io/v1", "AuthorizationPolicy", model.SeverityError, model.ReasonNotYetSupported, "let through"},
		{"security.istio.io/v1", "PeerAuthentication", model.SeverityWarning, model.ReasonWaitingForMesh, "mesh"},
		{"networking.istio.io/v1alpha3", "EnvoyFilter", model.SeverityError, model.ReasonNotYetSupported, "as if it were not there"},
		{"telemetry.istio.io/v1", "Telemetry", model.SeverityWarning, model.ReasonNotYetSupported, "no effect"},
		{"gateway.networking.k8s.io/v1", "HTTPRoute", model.SeverityError, model.ReasonNotYetSupported, "VirtualService"},
	} {
		o := config.Object{Meta: model.Meta{Ref: model.Ref{Kind: c.kind, Namespace: "default", Name: "x"}}, APIVersion: c.apiVersion}
		p := Problem(o, read)
		if p.Object != o.Ref || p.Severity != c.severity || p.Reason != c.reason || !strings.Contains(p.Message, c.says) {
			t.Errorf("%s of %s: %+v\nwant %s, %s, %q", c.kind, c.apiVersion, p, c.severity, c.reason, c.says)
		}
	}
}
