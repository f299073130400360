package routing

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluicegw/sluice/model"
)

// addHeaders appends operations to those that a route already has. Envoy
// removes before it sets and adds, whatever the order here.
func addHeaders(out *routev3.Route, ops model.HeaderOperations) {
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, headersToAdd(ops.Request)...)
	out.RequestHeadersToRemove = append(out.RequestHeadersToRemove, ops.Request.Remove...)
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, headersToAdd(ops.Response)...)
	out.ResponseHeadersToRemove = append(out.ResponseHeadersToRemove, ops.Response.Remove...)
}

// headersToAdd returns the set operations, then the add operations.
func headersToAdd(c model.HeaderChanges) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, h := range c.Set {
		out = append(out, headerOption(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	for _, h := range c.Add {
		out = append(out, headerOption(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD))
	}
	return out
}

func headerOption(h model.HeaderValue, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: h.Name, Value: h.Value},
		AppendAction: action,
	}
}

func reasonHeader(reason model.Reason) *corev3.HeaderValueOption {
	return headerOption(model.HeaderValue{Name: model.HeaderReason, Value: string(reason)},
		corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
}
