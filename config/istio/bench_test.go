package istio

import (
	"path/filepath"
	"testing"
)

// BenchmarkDecode shows what one object of each golden kind costs.
func BenchmarkDecode(b *testing.B) {
	for _, g := range goldens(b) {
		switch filepath.Base(g.file) {
		case "virtualservice-reads-every-match.txtar", "virtualservice-reads-destinations-and-weights.txtar", "gateway-serves-every-http-protocol.txtar":
			b.Run(filepath.Base(g.file), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					decodeObject(b, g.object)
				}
			})
		}
	}
}
