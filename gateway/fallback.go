package gateway

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"

	"github.com/sluicegw/sluice/model"
)

// The fallback gives the scoped layout what Envoy's own host matching gives the
// plain one. It runs only for requests whose key has no scope; the table of every
// scope disables it. Per request it
//
//  1. takes the scope of the whole table if that is in the plain layout: what was
//     not told so comes over QUIC, or over a connection that is older;
//  2. writes the host as Envoy's matching would read it: lower case, nothing
//     from the last colon on (unless a "]" follows it), no trailing dot. A
//     connection that is older than the scoped layout of its table asks for the
//     whole table: the host is that of the request then;
//  3. if that changed the key, tries the host's own scope. A look-up happens when
//     the filter reads the route's metadata, once per filter; every route of a
//     scoped table is named, so an empty name means that no scope has the host;
//  4. takes the longest wildcard that the table has;
//  5. else the table's "*", which may not exist: then the answer is 404.
//
// Envoy decides about an upgrade by the route, before the filters run, and so
// before the host is found: it lets all pass. Every route allows the same
// upgrades, so the program decides for it.
//
// Only x-sluice-scope changes: the Host header stays as the client wrote it. The
// program is fixed; of the configuration it holds nothing but scope keys made
// of the characters that [ValidScopeKey] allows.
const fallbackProgram = `
local KEY = "x-sluice-scope"
local function use(h, k)
  h:headers():replace(KEY, k)
  h:clearRouteCache()
end
function envoy_on_request(h)
  local up = h:headers():get("upgrade")
  if up ~= nil and string.lower(up) ~= "websocket" then
    h:respond({[":status"] = "403"}, "")
    return
  end
  local key = h:headers():get(KEY)
  if key == nil then return end
  local t, a = string.match(key, "^([^/]*/)(.*)$")
  if t == nil then return end
  if W[t .. "@"] then
    use(h, t .. "@")
    return
  end
  local n = string.lower(a == "@" and h:headers():get(":authority") or a)
  n = string.gsub(n, ":[^:%]]*$", "")
  n = string.gsub(n, "%.$", "")
  if n ~= a then
    use(h, t .. n)
    h:metadata()
    if h:streamInfo():routeName() ~= "" then return end
  end
  local i = string.find(n, ".", 2, true)
  while i do
    local k = t .. "*" .. string.sub(n, i)
    if W[k] then
      use(h, k)
      return
    end
    i = string.find(n, ".", i + 1, true)
  end
  use(h, t .. "*")
end
`

// Fallback returns the program that finds the scope of a request whose key has
// none. Keys are those of all wildcard hosts of all scoped tables,
// "http.80/*.example.com", and of all plain tables, "http.80/@", sorted. Those that
// [ValidScopeKey] refuses are left out: their hosts answer 404, nothing else changes.
func Fallback(keys []string) *corev3.TypedExtensionConfig {
	var b strings.Builder
	b.WriteString("local W = {")
	for _, key := range keys {
		if ValidScopeKey(key) {
			b.WriteString(`["` + key + `"]=1,`)
		}
	}
	b.WriteString("}")
	b.WriteString(fallbackProgram)
	return luaConfig(model.ExtensionFallback, b.String())
}

// ValidScopeKey reports whether key may stand in the fallback program: not
// empty, and made of a-z, 0-9 and ". * @ _ / : -" only.
func ValidScopeKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(".*@_/:-", c) < 0 {
			return false
		}
	}
	return key != ""
}

func luaConfig(name, program string) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{
		Name: name,
		TypedConfig: pack(&luav3.Lua{DefaultSourceCode: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: program},
		}}),
	}
}
