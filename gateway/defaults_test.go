package gateway_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/gateway"
	"github.com/sluicegw/sluice/model"
)

// TestDefaultsPage reads the second table of docs/defaults.md and compares its
// rows on listeners and route tables with what this package makes.
func TestDefaultsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/defaults.md")
	if err != nil {
		t.Fatal(err)
	}
	listener := gateway.Listener(gateway.ListenerInput{
		Bind: model.Bind{Address: model.AnyAddress, Port: 80}, Table: "http.80", Settings: model.DefaultSettings(),
	})
	filters := listener.GetFilterChains()[0].GetFilters()
	manager := new(hcmv3.HttpConnectionManager)
	if err := filters[len(filters)-1].GetTypedConfig().UnmarshalTo(manager); err != nil {
		t.Fatal(err)
	}
	router := new(routerv3.Router)
	if err := manager.GetHttpFilters()[len(manager.GetHttpFilters())-1].GetTypedConfig().UnmarshalTo(router); err != nil {
		t.Fatal(err)
	}
	table := new(routev3.RouteConfiguration)
	if err := proto.Unmarshal(gateway.PlainTable("http.80", nil, 0), table); err != nil {
		t.Fatal(err)
	}
	made := map[string]proto.Message{"listener": listener, "http": manager, "route": table, "router": router}
	row := regexp.MustCompile("(?m)^\\| `(listener|http|route|router)[.]([a-z0-9_.]+)` \\| (`[^`]+`|not set[^|]*) \\|")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 15 {
		t.Fatalf("the page has only %d rows", len(rows))
	}
	for _, cells := range rows {
		got, ok := lookUp(t, made[cells[1]], cells[2])
		want := strings.Trim(cells[3], "`")
		if strings.HasPrefix(want, "not set") {
			if ok {
				t.Errorf("the page says that %s.%s is not set, the code %s", cells[1], cells[2], got)
			}
			continue
		}
		if !sameJSON(t, got, want) {
			t.Errorf("the page says that %s.%s is %s, the code %q", cells[1], cells[2], want, got)
		}
	}
}

// lookUp returns the JSON of the field at path in m, and whether it is set.
func lookUp(t *testing.T, m proto.Message, path string) (string, bool) {
	t.Helper()
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		var level map[string]json.RawMessage
		if err := json.Unmarshal(text, &level); err != nil {
			t.Fatal(err)
		}
		inner, ok := level[name]
		if !ok {
			return "", false
		}
		text = inner
	}
	return string(text), true
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return cmp.Equal(x, y)
}
