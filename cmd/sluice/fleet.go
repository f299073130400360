package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sluicegw/sluice/compile"
	"github.com/sluicegw/sluice/model"
)

// rootNamespace holds the objects that are for everybody, as in Istio.
const rootNamespace = "istio-system"

func namespaceFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "namespace", Value: "default", EnvVars: []string{"SLUICE_NAMESPACE"},
		Usage: "`NAMESPACE` in which the gateway stands, for exportTo and the choice of DestinationRules",
	}
}

func localityFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "locality", EnvVars: []string{"SLUICE_LOCALITY"},
		Usage: "`REGION/ZONE/SUBZONE` in which the gateway runs, for locality load balancing",
	}
}

// fleetOf reads what the flags say of the local proxy.
func fleetOf(c *cli.Context) (compile.Fleet, error) {
	f := compile.Fleet{Namespace: c.String("namespace"), RootNamespace: rootNamespace}
	parts := strings.Split(c.String("locality"), "/")
	if len(parts) > 3 {
		return f, cli.Exit(fmt.Sprintf("sluice: --locality %q is not region/zone/subzone", c.String("locality")), 2)
	}
	parts = append(parts, "", "")
	f.Locality = model.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
	return f, nil
}
