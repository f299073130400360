package check

import (
	"strings"
	"testing"

	"github.com/sluicegw/sluice/config/istio/strict"
	"github.com/sluicegw/sluice/model"
)

func TestCredential(t *testing.T) {
	for written, want := range map[string]string{
		"a":                             "a",
		"a.b-1.2024":                    "a.b-1.2024",
		"kubernetes://a":                "a",
		"kubernetes://shop/a":           "a",
		"kubernetes://other/a":          "NotYetSupported",
		"configmap://shop/a":            "NotYetSupported",
		"sds://a":                       "NotYetSupported",
		"kubernetes-gateway://shop/a":   "NotYetSupported",
		"":                              "InvalidValue",
		"shop/a":                        "InvalidValue",
		"kubernetes://":                 "InvalidValue",
		"kubernetes://shop/":            "InvalidValue",
		"kubernetes://shop/a/b":         "InvalidValue",
		"a..b":                          "InvalidValue",
		"a b":                           "InvalidValue",
		strings.Repeat("a.", 127) + "a": "InvalidValue",
	} {
		name, wrong := Credential(written, "shop")
		compare(t, written, want, name, wrong)
	}
}

func TestDigests(t *testing.T) {
	hex := strings.Repeat("0f", 32)
	colons := strings.TrimSuffix(strings.Repeat("0F:", 32), ":")
	for written, want := range map[string]string{
		hex: hex, strings.ToUpper(hex): hex, colons: hex,
		"":                                   "InvalidValue",
		hex[2:]:                              "InvalidValue",
		hex + "0f":                           "InvalidValue",
		hex[1:] + "g":                        "InvalidValue",
		colons[3:]:                           "InvalidValue",
		"0:F" + colons[3:] + "":              "InvalidValue",
		colons[:93] + ":0":                   "InvalidValue",
		strings.Repeat(":", 95):              "InvalidValue",
		strings.Replace(hex, "0f", "0f:", 1): "InvalidValue",
	} {
		digest, wrong := CertificateDigest(written)
		compare(t, written, want, digest, wrong)
	}

	for written, want := range map[string]string{
		strings.Repeat("+/", 21) + "s=": strings.Repeat("+/", 21) + "s=",
		strings.Repeat("-_", 21) + "s":  strings.Repeat("+/", 21) + "s=",
		strings.Repeat("+/", 21) + "t=": "InvalidValue", // bits after the last byte
		hex:                             "InvalidValue", "": "InvalidValue", "====": "InvalidValue",
		strings.Repeat("+/", 21) + "s=\n": "InvalidValue",
	} {
		digest, wrong := KeyDigest(written)
		compare(t, written, want, digest, wrong)
	}
}

func compare(t *testing.T, written, want, got string, wrong *strict.Finding) {
	t.Helper()
	if wrong != nil {
		got = string(wrong.Reason)
	} else if model.Reason(want) == model.ReasonInvalidValue {
		t.Errorf("%q is taken as %q", written, got)
	}
	if got != want {
		t.Errorf("%q: %q, want %q", written, got, want)
	}
}
