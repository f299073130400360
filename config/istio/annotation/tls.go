package annotation

import (
	"slices"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// Like those of the other annotations, the faults of these are "" when there are
// none; what has a fault counts as not written.

// Issuance is how the servers of a gateway come to certificates that they do not
// name.
type Issuance string

// The ways; "" is none.
const (
	IssuanceAuto     Issuance = "auto"      // an ACME authority signs them
	IssuanceOnDemand Issuance = "on-demand" // and those for names below wildcards once clients ask for them
)

// ParseTLS reads how a gateway's servers come to certificates that they do not
// name: "auto" or "on-demand".
func ParseTLS(text string) (way Issuance, fault string) {
	switch way := Issuance(text); way {
	case IssuanceAuto, IssuanceOnDemand:
		return way, ""
	}
	return "", quote(text) + ` is not known here and is ignored; write "auto" for automatic certificates, or "on-demand" for some that are ordered when clients ask for names below wildcards`
}

// ParseTLSAllow reads for which names on-demand certificates may be ordered: hosts
// between commas, exact or "*.example.com". A word with a fault allows nothing; a
// list of which nothing is left has a host that covers no name.
func ParseTLSAllow(text string) (hosts, faults []string) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if len(word) > model.LongestHostName || !model.IsHostName(strings.TrimPrefix(word, "*.")) {
			faults = append(faults, quote(word)+` is no host and allows nothing; write names or wildcards between commas: "shop.example.com, *.example.org"`)
			continue
		}
		if !slices.Contains(hosts, word) {
			hosts = append(hosts, word)
		}
	}
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	return hosts, faults
}

// ParseTLSLayout reads how the TLS hosts of a gateway are spread over filter
// chains: "chains" or "on-demand".
func ParseTLSLayout(text string) (layout model.ChainLayout, fault string) {
	switch layout := model.ChainLayout(text); layout {
	case model.ChainLayoutChains, model.ChainLayoutOnDemand:
		return layout, ""
	}
	return model.ChainLayoutAuto, quote(text) + ` is no layout and is ignored; write "chains" or "on-demand"`
}

// ParseHTTP3 reads whether a gateway also serves HTTP/3: "true" or "false".
func ParseHTTP3(text string) (enabled bool, fault string) {
	if text != "true" && text != "false" {
		return false, quote(text) + ` is neither "true" nor "false" and HTTP/3 is not served; write one of them`
	}
	return text == "true", ""
}
