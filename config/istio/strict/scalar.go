package strict

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// MaxDuration bounds every duration of a user: Envoy adds them to the time of
// day, and nobody means a century.
const MaxDuration = 365 * 24 * time.Hour

// The well-known messages that are written as one value.
const (
	durationName    protoreflect.FullName = "google.protobuf.Duration"
	BoolValueName   protoreflect.FullName = "google.protobuf.BoolValue"
	uint32ValueName protoreflect.FullName = "google.protobuf.UInt32Value"
	doubleValueName protoreflect.FullName = "google.protobuf.DoubleValue"
)

// IsScalar reports whether a message is written as one value.
func IsScalar(m protoreflect.MessageDescriptor) bool {
	switch m.FullName() {
	case durationName, BoolValueName, uint32ValueName, doubleValueName:
		return true
	}
	return false
}

// readScalar returns the value of a field that is neither list, map nor
// object, or what is wrong with it.
func readScalar(value any, fd protoreflect.FieldDescriptor) (protoreflect.Value, *Finding) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		s, wrong := readString(value)
		return protoreflect.ValueOfString(s), wrong
	case protoreflect.BytesKind:
		b, wrong := readBytes(value)
		return protoreflect.ValueOfBytes(b), wrong
	case protoreflect.BoolKind:
		b, wrong := readBool(value)
		return protoreflect.ValueOfBool(b), wrong
	case protoreflect.EnumKind:
		n, wrong := readEnum(value, fd.Enum().Values())
		return protoreflect.ValueOfEnum(n), wrong
	case protoreflect.Int32Kind:
		n, wrong := readInteger(value, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(n)), wrong
	case protoreflect.Uint32Kind:
		n, wrong := readInteger(value, 0, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(n)), wrong
	case protoreflect.Uint64Kind:
		n, wrong := readUint64(value)
		return protoreflect.ValueOfUint64(n), wrong
	case protoreflect.DoubleKind:
		n, wrong := readNumber(value)
		return protoreflect.ValueOfFloat64(n), wrong
	case protoreflect.MessageKind:
		return readWrapped(value, fd.Message().FullName())
	}
	return protoreflect.Value{}, NotYet("values of type %s are not supported yet; remove the field", fd.Kind())
}

func readWrapped(value any, name protoreflect.FullName) (protoreflect.Value, *Finding) {
	switch name {
	case durationName:
		d, wrong := readDuration(value)
		return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), wrong
	case BoolValueName:
		b, wrong := readBool(value)
		return protoreflect.ValueOfMessage(wrapperspb.Bool(b).ProtoReflect()), wrong
	case uint32ValueName:
		n, wrong := readInteger(value, 0, math.MaxUint32)
		return protoreflect.ValueOfMessage(wrapperspb.UInt32(uint32(n)).ProtoReflect()), wrong
	case doubleValueName:
		n, wrong := readNumber(value)
		return protoreflect.ValueOfMessage(wrapperspb.Double(n).ProtoReflect()), wrong
	}
	return protoreflect.Value{}, NotYet("values of type %s are not supported yet; remove the field", name)
}

func readString(value any) (string, *Finding) {
	s, ok := value.(string)
	if !ok {
		return "", WrongType("%s is no string; put the value in quotes", describe(value))
	}
	return s, nil
}

func readBytes(value any) ([]byte, *Finding) {
	s, wrong := readString(value)
	if wrong != nil {
		return nil, wrong
	}
	// Both alphabets, with or without padding, as protojson reads them.
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, Invalid("the value is not base64; encode it")
	}
	return b, nil
}

func readBool(value any) (bool, *Finding) {
	b, ok := value.(bool)
	if !ok {
		return false, WrongType("%s is neither true nor false; write one of them without quotes", describe(value))
	}
	return b, nil
}

func readEnum(value any, values protoreflect.EnumValueDescriptors) (protoreflect.EnumNumber, *Finding) {
	names := make([]string, values.Len())
	for i := range names {
		names[i] = string(values.Get(i).Name())
	}
	s, ok := value.(string)
	if !ok {
		return 0, WrongType("%s is no word; write %s", describe(value), Listing(names))
	}
	if i := slices.Index(names, s); i >= 0 {
		return values.Get(i).Number(), nil
	}
	return 0, Invalid("%s is not known here; write %s", Quote(s), Listing(names))
}

// readInteger accepts whole numbers between low and high, both included.
func readInteger(value any, low, high int64) (int64, *Finding) {
	number, ok := value.(json.Number)
	if !ok || strings.ContainsAny(number.String(), ".eE") {
		return 0, WrongType("%s is no whole number; write one without quotes", describe(value))
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || n < low || n > high {
		return 0, Invalid("%s is out of range; write a number from %d to %d", describe(value), low, high)
	}
	return n, nil
}

// readUint64 accepts whole numbers; large ones may be quoted, as protojson
// writes them.
func readUint64(value any) (uint64, *Finding) {
	if s, quoted := value.(string); quoted {
		value = json.Number(s)
	}
	number, ok := value.(json.Number)
	if !ok {
		return 0, WrongType("%s is no whole number; write one without quotes", describe(value))
	}
	n, err := strconv.ParseUint(number.String(), 10, 64)
	if err != nil {
		return 0, Invalid("%s is no whole number of 0 or more; write one", Quote(number.String()))
	}
	return n, nil
}

// readNumber accepts numbers with or without a fraction.
func readNumber(value any) (float64, *Finding) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, WrongType("%s is no number; write one without quotes", describe(value))
	}
	n, err := strconv.ParseFloat(number.String(), 64)
	if err != nil {
		return 0, Invalid("%s is out of range; write a smaller number", describe(value))
	}
	return n, nil
}

// readDuration accepts what [time.ParseDuration] reads: "5s", "1.5s", "1m30s".
func readDuration(value any) (time.Duration, *Finding) {
	s, ok := value.(string)
	if !ok {
		return 0, WrongType(`%s is no duration; write one like "5s" or "100ms"`, describe(value))
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, Invalid(`%s is no duration; write one like "5s" or "100ms"`, Quote(s))
	case d < 0:
		return 0, Invalid("%s is negative; write a duration of 0 or more", Quote(s))
	case d > MaxDuration:
		return 0, Invalid("%s is more than a year; write at most %q", Quote(s), MaxDuration.String())
	}
	return d, nil
}

// describe returns what a JSON value is, for a message.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "an empty value"
	case string:
		return "the string " + Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		if s := v.String(); len(s) <= 30 {
			return "the number " + s
		}
		return "the number " + v.String()[:30] + "…"
	case []any:
		return "a list"
	}
	return "an object"
}
