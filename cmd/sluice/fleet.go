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

func labelsFlag() cli.Flag {
	return &cli.StringSliceFlag{
		Name: "labels", EnvVars: []string{"SLUICE_LABELS"},
		Usage: "`KEY=VALUE[,...]` that the gateway carries, for failoverPriority, sourceLabels and the workloadSelector of DestinationRules; may be repeated",
	}
}

// fleetOf reads what the flags say of the local proxy.
func fleetOf(c *cli.Context) (compile.Fleet, error) {
	f := compile.Fleet{Namespace: c.String("namespace"), RootNamespace: rootNamespace}
	var err error
	if f.Labels, err = labelsOf(c.StringSlice("labels")); err != nil {
		return f, cli.Exit("sluice: --labels "+err.Error(), 2)
	}
	parts := strings.Split(c.String("locality"), "/")
	if len(parts) > 3 {
		return f, cli.Exit(fmt.Sprintf("sluice: --locality %q is not region/zone/subzone", c.String("locality")), 2)
	}
	parts = append(parts, "", "")
	f.Locality = model.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
	return f, nil
}

// labelsOf reads labels written as "key=value"; an error names the one at
// fault. Nothing between two commas, or in an empty variable, is no label.
func labelsOf(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not key=value", pair)
		}
		if have, twice := labels[key]; twice && have != value {
			return nil, fmt.Errorf("%q gives %s a second value; it is %q already", pair, key, have)
		}
		labels[key] = value
	}
	return labels, nil
}
