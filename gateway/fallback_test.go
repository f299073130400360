package gateway_test

import (
	"regexp"
	"strings"
	"testing"

	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"

	"github.com/sluicegw/sluice/gateway"
)

// program returns the text that Envoy would run.
func program(t *testing.T, wildcards ...string) string {
	t.Helper()
	lua := new(luav3.Lua)
	if err := gateway.Fallback(wildcards).GetTypedConfig().UnmarshalTo(lua); err != nil {
		t.Fatal(err)
	}
	return lua.GetDefaultSourceCode().GetInlineString()
}

func TestValidScopeKey(t *testing.T) {
	for key, want := range map[string]bool{
		"http.80/*.example.com":      true,
		"http.80.::1/*.a-b_c.com":    true,
		"":                           false,
		"http.80/*.EXAMPLE.com":      false,
		`http.80/*"]=1}os.exit()--`:  false,
		"http.80/*.example.com\n":    false,
		"http.80/*.ex\\ample.com":    false,
		"http.80/*.bücher.de":        false,
		"http.80/*.example.com\x00":  false,
		"http.80/*.example.com]]":    false,
		"http.80.fe80::1%eth0/*.com": false,
	} {
		if got := gateway.ValidScopeKey(key); got != want {
			t.Errorf("ValidScopeKey(%q) = %v", key, got)
		}
	}
}

// FuzzFallback checks that no key can add anything to the program but itself as
// a constant of the list of wildcards.
func FuzzFallback(f *testing.F) {
	f.Add("http.80/*.example.com", "http.80/*.org")
	f.Add(`http.80/*"]=1} os.exit() --`, "]]")
	f.Add("a\nb", "\\")
	f.Add("", "\"")
	list := regexp.MustCompile(`^local W = \{(\["[a-z0-9.*_/:-]+"\]=1,)*\}\n`)
	f.Fuzz(func(t *testing.T, a, b string) {
		rest := strings.TrimPrefix(program(t), "local W = {}")
		text := program(t, a, b)
		head := list.FindString(text)
		if head == "" || strings.TrimPrefix(text, head) != strings.TrimPrefix(rest, "\n") {
			t.Fatalf("keys %q and %q changed the program:\n%s", a, b, text)
		}
		for _, key := range []string{a, b} {
			if listed := strings.Contains(head, `["`+key+`"]=1,`); listed != gateway.ValidScopeKey(key) && key != "" {
				t.Errorf("key %q: listed %v", key, listed)
			}
		}
		if again := program(t, a, b); again != text {
			t.Error("the same keys made another program")
		}
	})
}
