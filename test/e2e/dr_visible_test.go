package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

// within puts objects that say nothing of a namespace into one.
func within(namespace, objects string) string {
	return strings.ReplaceAll(objects, "metadata: {", "metadata: {namespace: "+namespace+", ")
}

// signs makes rules that tell who they are: the server is asked for the name of
// the rule that is in force.
type signs struct {
	ca     *authority
	server *origin
}

func newSigns(t *testing.T) signs {
	t.Helper()
	ca := newAuthority(t)
	return signs{ca, secureOrigin(t, "secure", &tls.Config{Certificates: []tls.Certificate{ca.issue("secure.internal").Certificate}})}
}

// rule is one of a namespace, with the rest of its spec and a name that no
// other rule of the namespace has.
func (s signs) rule(namespace, name, host, spec string) string {
	return within(namespace, named(name, host, spec+
		"  trafficPolicy: {tls: {mode: SIMPLE, subjectAltNames: [secure.internal], caCertificates: "+s.ca.file+", sni: "+name+".rule}}\n"))
}

// service is one of the namespace shop, reachable as name.test.
func (s signs) service(name string) string {
	host := name + ".internal"
	return within("shop", fleet(host, []*origin{s.server})) + "---\n" + routes(name, name+".test", to(host))
}

// inForce waits until the rule of that name is in force; "" is none.
func (w *world) inForce(service, name string) {
	w.t.Helper()
	if name == "" {
		w.answers(service+".test", "/", http.StatusBadRequest, "HTTP request to an HTTPS server")
		return
	}
	w.answers(service+".test", "/", http.StatusOK, "secure sni="+name+".rule ")
}

// A rule has an effect where it is exported to the gateway's namespace, and
// stands there, with the service or in the root namespace; the nearest does.
func TestVisibilityOfRules(t *testing.T) {
	t.Parallel()
	s := newSigns(t)
	exported := func(to string) string { return "  exportTo: [" + to + "]\n" }
	type placed struct{ namespace, export string }
	cases := []struct {
		service string
		rules   []placed
		want    string // the namespace whose rule is in force
		unused  string // those whose rule is said to do nothing
	}{
		{"plain", nil, "", ""},
		{"unsaid", []placed{{"shop", ""}}, "shop", ""},
		{"everybody", []placed{{"shop", exported("'*'")}}, "shop", ""},
		{"called", []placed{{"shop", exported("other, default")}}, "shop", ""},
		{"private", []placed{{"shop", exported("'.'")}}, "", "shop"},
		{"nobody", []placed{{"shop", exported("'~'")}}, "", "shop"},
		{"elsewhere", []placed{{"shop", exported("other")}}, "", "shop"},
		{"stranger", []placed{{"other", exported("'*'")}}, "", "other"},
		{"own", []placed{{"default", exported("'.'")}}, "default", ""},
		{"root", []placed{{"istio-system", ""}}, "istio-system", ""},
		{"rootprivate", []placed{{"istio-system", exported("'.'")}}, "", "istio-system"},
		{"servicefirst", []placed{{"istio-system", ""}, {"shop", ""}}, "shop", "istio-system"},
		{"clientfirst", []placed{{"istio-system", ""}, {"shop", ""}, {"default", ""}}, "default", "istio-system shop"},
		{"past", []placed{{"istio-system", ""}, {"shop", exported("'.'")}}, "istio-system", "shop"},
	}
	files := map[string]string{"gateway.yaml": edge("*")}
	for _, c := range cases {
		files[c.service+"/service.yaml"] = s.service(c.service)
		for _, r := range c.rules {
			files[c.service+"/"+r.namespace+".yaml"] = s.rule(r.namespace, c.service+"-"+r.namespace, c.service+".internal", r.export)
		}
	}
	// A wildcard that is near goes before a name that is far.
	files["wild/service.yaml"] = strings.ReplaceAll(s.service("wild"), "wild.internal", "a.wild.internal")
	files["wild/near.yaml"] = s.rule("shop", "near", "'*.wild.internal'", "")
	files["wild/far.yaml"] = s.rule("istio-system", "far", "a.wild.internal", "")
	w := newWorld(t, files).run()
	unused := 1 // far
	for _, c := range cases {
		want := ""
		if c.want != "" {
			want = c.service + "-" + c.want
		}
		w.inForce(c.service, want)
		for _, namespace := range strings.Fields(c.unused) {
			w.problem("NotAttached", c.service+"/"+namespace+".yaml", "DestinationRule "+namespace+"/"+c.service+"-"+namespace)
			unused++
		}
	}
	w.inForce("wild", "near")
	w.unexpectedProblems("NotAttached")
	if got := w.status().all(); len(got) != unused {
		t.Errorf("there are %d problems, want %d: %v", len(got), unused, got)
	}
	// As the nearer ones leave, the farther take their place, and back.
	w.remove("clientfirst/default.yaml")
	w.inForce("clientfirst", "clientfirst-shop")
	w.remove("clientfirst/shop.yaml")
	w.inForce("clientfirst", "clientfirst-istio-system")
	w.remove("clientfirst/istio-system.yaml")
	w.inForce("clientfirst", "")
	for _, namespace := range []string{"istio-system", "shop", "default"} {
		name := "clientfirst-" + namespace
		w.write("clientfirst/"+namespace+".yaml", s.rule(namespace, name, "clientfirst.internal", ""))
		w.inForce("clientfirst", name)
	}
	// A rule that is shown to the gateway later has its effect then.
	w.write("private/shop.yaml", s.rule("shop", "private-shop", "private.internal", exported("default")))
	w.inForce("private", "private-shop")
	w.write("private/shop.yaml", s.rule("shop", "private-shop", "private.internal", exported("'.'")))
	w.inForce("private", "")
}
