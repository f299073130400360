package check

import (
	"strings"

	"github.com/sluicegw/sluice/config/istio/strict"
)

// HeaderValue checks the value that a route gives a header. Envoy fills in
// commands such as %DOWNSTREAM_REMOTE_ADDRESS% or %REQ(x-id)%; a percent sign
// that is none is written twice.
func HeaderValue(value string) *strict.Finding {
	if wrong := HeaderText(value); wrong != nil {
		return wrong
	}
	for rest := value; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			return nil
		}
		n := commandLength(rest[i:])
		if n == 0 {
			return strict.Invalid("%s holds a percent sign that starts no command known here; write %%%% for the sign itself", strict.Quote(value))
		}
		rest = rest[i+n:]
	}
}

// commandLength returns the length of the command at the start of s, which is a
// percent sign; 0 if there is none. Forms: "%%", "%NAME%", "%NAME(argument)%",
// "%NAME(argument):length%", the last for some only.
func commandLength(s string) int {
	i := 1
	for i < len(s) && isCommandByte(s[i]) {
		i++
	}
	name := s[1:i]
	switch {
	case strings.HasPrefix(s, "%%"):
		return 2
	case i < len(s) && s[i] == '%' && isPlainCommand(name):
		return i + 1
	case i == len(s) || s[i] != '(':
		return 0
	}
	end := strings.IndexByte(s[i:], ')')
	if end < 0 || !takesArgument(name, s[i+1:i+end]) {
		return 0
	}
	i += end + 1
	switch name {
	case "REQ", "RESP", "TRAILER", "QUERY_PARAM", "DYNAMIC_METADATA":
		i += limitLength(s[i:])
	}
	if i < len(s) && s[i] == '%' {
		return i + 1
	}
	return 0
}

func isCommandByte(c byte) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// limitLength returns the length of the limit ":10" at the start of s, 0 if
// there is none.
func limitLength(s string) int {
	if s == "" || s[0] != ':' {
		return 0
	}
	n := 1
	for n < len(s) && n < 6 && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	if n == 1 {
		return 0
	}
	return n
}

// takesArgument reports whether a command with this argument is served. Left
// out on purpose: ENVIRONMENT, which would show the proxy's environment to
// clients, and commands whose argument is a language of its own (CEL, COALESCE,
// FILTER_STATE).
func takesArgument(command, argument string) bool {
	switch command {
	case "REQ", "RESP", "TRAILER": // a header, or one header ? another
		first, second, two := strings.Cut(argument, "?")
		return isCommandHeader(first) && (!two || isCommandHeader(second))
	case "QUERY_PARAM":
		return IsToken(argument)
	case "START_TIME", "START_TIME_LOCAL", "DYNAMIC_METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA":
		return argument != ""
	}
	return false
}

func isCommandHeader(name string) bool { return IsToken(strings.TrimPrefix(name, ":")) }

// plainCommands are the commands without argument that are served. Source: what
// Envoy 1.40 accepts in a header of a route.
const plainCommands = `
ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS
DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT
DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT
DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED
DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID
DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN
DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_LOCAL_PORT
DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CERT_V_END
DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1
DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_OTHERNAME_SAN
DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS
DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID
DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
DOWNSTREAM_WIRE_BYTES_SENT DURATION FILTER_CHAIN_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME
PACKETS_RETRANSMITTED PROTOCOL QUERY_PARAMS REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_HEADERS_BYTES
REQUEST_TX_DURATION RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG
RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION ROUTE_NAME SPAN_ID
START_TIME START_TIME_LOCAL STREAM_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID
UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED
UPSTREAM_CONNECTION_POOL_READY_DURATION UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED
UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED
UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
UPSTREAM_HOST_NAME UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT
UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT
UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START
UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN
UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID
UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME
UPSTREAM_TLS_CIPHER UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON
UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME
`

func isPlainCommand(name string) bool {
	for command := range strings.FieldsSeq(plainCommands) {
		if command == name {
			return true
		}
	}
	return false
}
