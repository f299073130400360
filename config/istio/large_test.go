package istio

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/model"
)

func TestLargeValues(t *testing.T) {
	rule := func(action string) string {
		return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\n" +
			"spec:\n  hosts: [a.example.com]\n  gateways: [gw]\n  http:\n  - " + action + "\n"
	}
	headers := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString("h" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `: "1", `)
		}
		return "{route: [{destination: {host: b.c}}], headers: {response: {add: {" + b.String() + "}}}}"
	}
	for name, c := range map[string]struct {
		action string
		fault  bool
	}{
		"body of 1 MiB":        {"directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20) + "}}", false},
		"body beyond 1 MiB":    {"directResponse: {status: 200, body: {string: " + strings.Repeat("a", 1<<20+1) + "}}", true},
		"1,000 added headers":  {headers(1000), false},
		"1,001 added headers":  {headers(1001), true},
		"duration of a year":   {"{timeout: 8760h, route: [{destination: {host: b.c}}]}", false},
		"duration of nothing":  {"{timeout: \"\", route: [{destination: {host: b.c}}]}", true},
		"header beyond 16 KiB": {"{headers: {request: {set: {a: " + strings.Repeat("a", 16385) + "}}}, route: [{destination: {host: b.c}}]}", true},
	} {
		value, problems := decodeObject(t, object(t, []byte(rule(c.action))))
		routes, ok := value.(*model.RouteSet)
		if !ok || len(routes.HTTP) != 1 {
			t.Fatalf("%s: no rule, problems %v", name, problems)
		}
		if got := routes.HTTP[0].Fault != nil; got != c.fault || got != (len(problems) > 0) {
			t.Errorf("%s: fault %t, want %t; problems %v", name, got, c.fault, problems)
		}
	}
}
