package strict

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Duration returns nil for a field that is not set.
func Duration(d *durationpb.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	out := d.AsDuration()
	return &out
}

// Bool returns nil for a field that is not set.
func Bool(b *wrapperspb.BoolValue) *bool {
	if b == nil {
		return nil
	}
	out := b.GetValue()
	return &out
}

// Uint32 returns nil for a field that is not set.
func Uint32(n *wrapperspb.UInt32Value) *uint32 {
	if n == nil {
		return nil
	}
	out := n.GetValue()
	return &out
}

// Float returns 0 for a field that is not set, or what is said to be then.
func Float(n *wrapperspb.DoubleValue, unset float64) float64 {
	if n == nil {
		return unset
	}
	return n.GetValue()
}

// SortedKeys returns the keys of a map in order.
func SortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
