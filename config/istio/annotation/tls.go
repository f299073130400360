package annotation

import "github.com/sluicegw/sluice/model"

// Like those of the other annotations, the faults of these are "" when there are
// none; what has a fault counts as not written.

// ParseTLS reads how a gateway's servers come to certificates that they do not
// name: "auto" has them signed by an ACME authority.
func ParseTLS(text string) (automatic bool, fault string) {
	if text != "auto" {
		return false, quote(text) + ` is not known here and is ignored; write "auto" for automatic certificates`
	}
	return true, ""
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
