package main

import (
	"maps"

	"github.com/sluicegw/sluice/config"
	"github.com/sluicegw/sluice/config/istio"
	"github.com/sluicegw/sluice/config/settings"
	"github.com/sluicegw/sluice/discovery/kube"
)

// kinds are the kinds of objects that Sluice reads.
func kinds() map[config.GroupKind]config.Kind {
	all := map[config.GroupKind]config.Kind{}
	maps.Copy(all, istio.Kinds())
	maps.Copy(all, kube.Kinds())
	maps.Copy(all, settings.Kinds())
	return all
}
