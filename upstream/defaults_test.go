package upstream_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluicegw/sluice/model"
	"github.com/sluicegw/sluice/test/envoytest"
	"github.com/sluicegw/sluice/upstream"
)

// TestDefaultsPage reads the second table of docs/defaults.md and compares its
// rows on clusters with what this package makes.
func TestDefaultsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/defaults.md")
	if err != nil {
		t.Fatal(err)
	}
	cluster := upstream.Cluster(upstream.ClusterInput{
		Destination: model.Destination{Host: "a.example.com", Port: 80},
		Port:        model.ServicePort{Name: "http", Number: 80, Protocol: model.ProtocolHTTP},
		Resolution:  model.ResolutionDNS,
		Settings:    model.DefaultSettings(),
	})
	dns := new(dnsv3.DnsCluster)
	if err := cluster.GetClusterType().GetTypedConfig().UnmarshalTo(dns); err != nil {
		t.Fatal(err)
	}
	made := map[string]proto.Message{"cluster": cluster, "dns": dns}
	row := regexp.MustCompile("(?m)^\\| `(cluster|dns)[.]([a-z0-9_.]+)` \\| (`[^`]+`|not set[^|]*) \\|")
	rows := row.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 7 {
		t.Fatalf("the page has only %d rows", len(rows))
	}
	for _, cells := range rows {
		got, ok := envoytest.LookUp(t, made[cells[1]], cells[2])
		want := strings.Trim(cells[3], "`")
		if strings.HasPrefix(want, "not set") {
			if ok {
				t.Errorf("the page says that %s.%s is not set, the code %s", cells[1], cells[2], got)
			}
			continue
		}
		if !envoytest.SameJSON(t, got, want) {
			t.Errorf("the page says that %s.%s is %s, the code %q", cells[1], cells[2], want, got)
		}
	}
}
