package routing

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/sluicegw/sluice/model"
)

// checkHeaders returns a problem if Envoy would refuse an operation of ops, and
// with it the whole table. field is the rule or destination that owns ops.
func checkHeaders(by model.Ref, field string, ops model.HeaderOperations) *model.Problem {
	for _, side := range []struct {
		name    string
		changes model.HeaderChanges
	}{{".headers.request", ops.Request}, {".headers.response", ops.Response}} {
		if p := checkChanges(by, field+side.name, side.changes); p != nil {
			return p
		}
	}
	return nil
}

func checkChanges(by model.Ref, field string, c model.HeaderChanges) *model.Problem {
	for _, op := range []struct {
		name   string
		values []model.HeaderValue
	}{{".set.", c.Set}, {".add.", c.Add}} {
		for _, h := range op.values {
			if p := checkName(by, field+op.name+h.Name, h.Name); p != nil {
				return p
			}
			if err := checkFormat(h.Value); err != nil {
				return invalid(by, field+op.name+h.Name, model.ReasonInvalidValue,
					fmt.Sprintf("the value %q of header %q %v; write %%%% for a percent sign", h.Value, h.Name, err))
			}
		}
	}
	for _, name := range c.Remove {
		if p := checkName(by, field+".remove", name); p != nil {
			return p
		}
	}
	return nil
}

// checkName returns a problem for a header that Envoy lets nobody change this
// way, and for a name that is none. Setting the host is held in
// HeaderOperations.SetAuthority instead.
//
// Source: RFC 9110 section 5.6.2 (token); Envoy, HeaderValueOption.
func checkName(by model.Ref, field, name string) *model.Problem {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		return invalid(by, field, model.ReasonInvalidValue,
			fmt.Sprintf("the header %q cannot be changed here; rewrite.authority sets the host", name))
	}
	isToken := func(r rune) bool {
		return r > ' ' && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}
	if name == "" || strings.TrimFunc(name, isToken) != "" {
		return invalid(by, field, model.ReasonInvalidValue,
			fmt.Sprintf("%q is no header name; use letters, digits and dashes", name))
	}
	return nil
}

// checkFormat checks the commands in a header value, "%REQ(x-request-id)%" and
// the like: Envoy refuses a value with one that it does not know. The error
// reads on from "the value".
//
// Source: Envoy, "Custom request/response headers" and its substitution format.
func checkFormat(value string) error {
	if !strings.Contains(value, "%") {
		return nil
	}
	command := regexp.MustCompile(`^%([A-Z0-9_]+)(\(.*?\))?(:[0-9]+)?%`)
	for i := 0; i < len(value); {
		if value[i] != '%' {
			i++
			continue
		}
		if strings.HasPrefix(value[i:], "%%") {
			i += 2
			continue
		}
		m := command.FindStringSubmatch(value[i:])
		if m == nil {
			return fmt.Errorf("has a %% at byte %d that begins no command", i)
		}
		if !known(m[1], m[2] != "") {
			return fmt.Errorf("has the command %s, which Envoy does not know in this form", m[0])
		}
		i += len(m[0])
	}
	return nil
}

// known reports whether Envoy has the command in the form with arguments or in
// the one without. What stands in the arguments is not looked at.
//
// Source: Envoy 1.40, by trying each; see TestCommandsAreKnownToEnvoy.
func known(name string, arguments bool) bool {
	switch name {
	case "CEL", "CLUSTER_METADATA", "COMMON_DURATION", "DYNAMIC_METADATA", "ENVIRONMENT", "FILTER_STATE",
		"QUERY_PARAM", "REQ", "REQUEST_HEADER", "RESP", "RESPONSE_HEADER", "RESPONSE_TRAILER", "STREAM_INFO_REQ",
		"TRAILER", "UPSTREAM_FILTER_STATE", "UPSTREAM_METADATA":
		return arguments
	case "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
		"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_PEER_CERT_V_END", "DOWNSTREAM_PEER_CERT_V_START",
		"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "EMIT_TIME", "EMIT_TIME_LOCAL", "PATH",
		"RESPONSE_CODE_DETAILS",
		"START_TIME", "START_TIME_LOCAL", "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "UPSTREAM_PEER_CERT_V_END",
		"UPSTREAM_PEER_CERT_V_START", "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return true
	}
	return !arguments && (knownDownstream(name) || knownUpstream(name) || knownRequest(name))
}

// knownRequest lists the commands about the request and its answer.
func knownRequest(name string) bool {
	switch name {
	case "ACCESS_LOG_TYPE", "BYTES_RECEIVED", "BYTES_RETRANSMITTED", "BYTES_SENT", "CONNECTION_ID",
		"CONNECTION_TERMINATION_DETAILS", "CUSTOM_FLAGS", "DURATION", "FILTER_CHAIN_NAME", "GRPC_STATUS",
		"GRPC_STATUS_NUMBER", "HOSTNAME", "LISTENER_NAME", "LOCAL_REPLY_BODY", "PROTOCOL", "QUERY_PARAMS",
		"REQUESTED_SERVER_NAME", "REQUEST_DURATION", "REQUEST_HEADERS_BYTES", "REQUEST_TX_DURATION", "RESPONSE_CODE",
		"RESPONSE_DURATION", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", "RESPONSE_HEADERS_BYTES",
		"RESPONSE_TRAILERS_BYTES", "RESPONSE_TX_DURATION", "ROUNDTRIP_DURATION", "ROUTE_NAME",
		"ROUTE_RESOLUTION_COUNT", "ROUTE_RESOLUTION_TIME_US", "SPAN_ID", "STREAM_ID", "TLS_JA3_FINGERPRINT",
		"TLS_JA4_FINGERPRINT", "TRACE_ID", "UNIQUE_ID", "VIRTUAL_CLUSTER_NAME":
		return true
	}
	return false
}

// knownDownstream lists the commands about the client's connection.
func knownDownstream(name string) bool {
	switch name {
	case "DOWNSTREAM_CX_RTT", "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
		"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", "DOWNSTREAM_DETECTED_CLOSE_TYPE",
		"DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
		"DOWNSTREAM_DIRECT_LOCAL_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_PORT",
		"DOWNSTREAM_HANDSHAKE_DURATION", "DOWNSTREAM_HEADER_BYTES_RECEIVED", "DOWNSTREAM_HEADER_BYTES_SENT",
		"DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", "DOWNSTREAM_LOCAL_CLOSE_REASON",
		"DOWNSTREAM_LOCAL_DNS_SAN", "DOWNSTREAM_LOCAL_EMAIL_SAN", "DOWNSTREAM_LOCAL_IP_SAN",
		"DOWNSTREAM_LOCAL_OTHERNAME_SAN", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_LOCAL_SUBJECT",
		"DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
		"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", "DOWNSTREAM_PEER_CHAIN_SERIALS", "DOWNSTREAM_PEER_DNS_SAN",
		"DOWNSTREAM_PEER_EMAIL_SAN", "DOWNSTREAM_PEER_FINGERPRINT_1", "DOWNSTREAM_PEER_FINGERPRINT_256",
		"DOWNSTREAM_PEER_IP_SAN", "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
		"DOWNSTREAM_PEER_ISSUER_SERIAL", "DOWNSTREAM_PEER_OTHERNAME_SAN", "DOWNSTREAM_PEER_SERIAL",
		"DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_PORT",
		"DOWNSTREAM_TLS_CIPHER", "DOWNSTREAM_TLS_GROUP", "DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_VERSION",
		"DOWNSTREAM_TRANSPORT_FAILURE_REASON", "DOWNSTREAM_WIRE_BYTES_RECEIVED", "DOWNSTREAM_WIRE_BYTES_SENT":
		return true
	}
	return false
}

// knownUpstream lists the commands about the destination's connection.
func knownUpstream(name string) bool {
	switch name {
	case "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW", "UPSTREAM_CONNECTION_ID", "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
		"UPSTREAM_CONNECTION_POOL_READY_DURATION", "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
		"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", "UPSTREAM_DETECTED_CLOSE_TYPE", "UPSTREAM_HEADER_BYTES_RECEIVED",
		"UPSTREAM_HEADER_BYTES_SENT", "UPSTREAM_HOST", "UPSTREAM_HOSTS_ATTEMPTED",
		"UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", "UPSTREAM_HOST_NAME", "UPSTREAM_HOST_NAMES_ATTEMPTED",
		"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", "UPSTREAM_HOST_NAME_WITHOUT_PORT", "UPSTREAM_LOCAL_ADDRESS",
		"UPSTREAM_LOCAL_CLOSE_REASON", "UPSTREAM_LOCAL_DNS_SAN", "UPSTREAM_LOCAL_IP_SAN", "UPSTREAM_LOCAL_PORT",
		"UPSTREAM_LOCAL_URI_SAN", "UPSTREAM_PEER_CERT", "UPSTREAM_PEER_DNS_SAN", "UPSTREAM_PEER_IP_SAN",
		"UPSTREAM_PEER_ISSUER", "UPSTREAM_PEER_SUBJECT", "UPSTREAM_PEER_URI_SAN", "UPSTREAM_PROTOCOL",
		"UPSTREAM_REMOTE_ADDRESS", "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", "UPSTREAM_REMOTE_PORT",
		"UPSTREAM_REQUEST_ATTEMPT_COUNT", "UPSTREAM_SERVER_NAME", "UPSTREAM_TLS_CIPHER", "UPSTREAM_TLS_GROUP",
		"UPSTREAM_TLS_SESSION_ID", "UPSTREAM_TLS_VERSION", "UPSTREAM_TRANSPORT_FAILURE_REASON",
		"UPSTREAM_WIRE_BYTES_RECEIVED", "UPSTREAM_WIRE_BYTES_SENT":
		return true
	}
	return false
}
